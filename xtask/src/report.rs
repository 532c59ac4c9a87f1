//! The one door for output. Everything goes to standard output, in the order in which it happens, but for the progress of what takes
//! long and whose result is wanted alone.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the door"
)]

use std::time::Duration;

/// One line, or several.
pub fn line(text: &str) {
    println!("{text}");
}

/// How far something has come, on standard error.
pub fn progress(text: &str) {
    eprintln!("{text}");
}

/// Says that a step begins, and what it runs.
pub fn step(name: &str, what: &str) {
    println!("\n▸ {name}: {what}");
}

/// Says that a step has ended well.
pub fn passed(name: &str, time: Duration) {
    println!("✓ {name}  {}", duration(time));
}

/// Says that a step has failed.
pub fn failed(name: &str, time: Duration) {
    println!("✗ {name}  {}", duration(time));
}

/// Says what is not done, and how to get it.
pub fn skipped(what: &str, how: &str) {
    println!("– {what}: {how}");
}

/// Says why the command failed, with its causes.
pub fn error(error: &anyhow::Error) {
    println!("\nxtask: {error:#}");
}

/// `850 ms`, `12.3 s`, `4 min 05 s`.
pub fn duration(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let cases = [(850, "850 ms"), (12_340, "12.3 s"), (245_000, "4 min 05 s")];
        for (milliseconds, expected) in cases {
            assert_eq!(duration(Duration::from_millis(milliseconds)), expected);
        }
    }
}
