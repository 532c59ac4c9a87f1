//! How figures of a sample are written for people: with units, beside their limits, and `–` where nobody knows.

use carnot_bench::exposition::Quantile;
use carnot_report::units;

/// What stands for what is not known.
pub const UNKNOWN: &str = "–";

/// `f` of what is known.
pub fn known<T>(value: Option<T>, written: impl Fn(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), written)
}

/// `61 %`.
pub fn share(value: Option<f64>) -> String {
    known(value, units::whole_percent)
}

/// `2.05 GB`.
pub fn bytes(value: Option<u64>) -> String {
    known(value, |bytes| units::bytes(bytes as f64))
}

/// `2.05 of 8.20 GB`.
pub fn bytes_of(part: Option<u64>, all: Option<u64>) -> String {
    format!("{} of {}", bytes(part), bytes(all))
}

/// `1.25 MB/s`.
pub fn rate(value: Option<f64>) -> String {
    known(value, units::bytes_per_s)
}

/// `735 tok/s`.
pub fn tokens(value: Option<f64>) -> String {
    known(value, units::tokens_per_s)
}

/// `18.4 ms`, or `> 250 s` beyond what the server's buckets tell apart.
pub fn latency(value: Option<Quantile>) -> String {
    known(value, |quantile| match quantile {
        Quantile::At(seconds) => units::duration(1e9 * seconds),
        Quantile::Above(seconds) => format!("> {}", units::duration(1e9 * seconds)),
    })
}

/// A number of things.
pub fn count(value: Option<f64>) -> String {
    known(value, |value| units::count(value as u64))
}

/// `1.52  0.80  0.25`.
pub fn load(value: Option<[f64; 3]>) -> String {
    known(value, |load| {
        load.map(|load| format!("{load:.2}")).join("  ")
    })
}

/// `1 core`, `2 cores`.
pub fn cores(count: usize) -> String {
    format!("{count} core{}", if count == 1 { "" } else { "s" })
}

/// The time of day, UTC.
pub fn clock(unix_s: f64) -> String {
    let seconds = unix_s as u64 % 86_400;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}Z", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_told_as_such() {
        assert_eq!(share(None), "–");
        assert_eq!(share(Some(0.0)), "0 %");
        assert_eq!(bytes_of(Some(2_050_000_000), None), "2.05 GB of –");
        assert_eq!(latency(Some(Quantile::Above(250.0))), "> 250 s");
        assert_eq!(clock(1_790_000_000.25), "14:13:20Z");
    }
}
