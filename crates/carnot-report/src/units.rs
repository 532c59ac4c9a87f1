//! Numbers for people: three digits that mean something, a unit that fits, and one spelling everywhere.

/// A time: `412 ns`, `8.31 µs`, `61.9 ms`, `2.04 s`.
pub fn duration(ns: f64) -> String {
    scaled(ns, &[(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")])
}

/// A size in decimal units: `6.20 MB`.
pub fn bytes(bytes: f64) -> String {
    scaled(
        bytes,
        &[
            (1.0, "B"),
            (1e3, "kB"),
            (1e6, "MB"),
            (1e9, "GB"),
            (1e12, "TB"),
        ],
    )
}

/// A rate of bytes: `21.3 GB/s`.
pub fn bytes_per_s(rate: f64) -> String {
    scaled(
        rate,
        &[
            (1.0, "B/s"),
            (1e3, "kB/s"),
            (1e6, "MB/s"),
            (1e9, "GB/s"),
            (1e12, "TB/s"),
        ],
    )
}

/// A rate of arithmetic operations: `412 GOP/s`.
pub fn operations_per_s(rate: f64) -> String {
    scaled(
        rate,
        &[
            (1.0, "OP/s"),
            (1e3, "kOP/s"),
            (1e6, "MOP/s"),
            (1e9, "GOP/s"),
            (1e12, "TOP/s"),
        ],
    )
}

/// A large number in words: `5.80 M`.
pub fn amount(value: f64) -> String {
    scaled(
        value,
        &[(1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "B"), (1e12, "T")],
    )
    .trim_end()
    .to_owned()
}

/// A whole number with thousands apart: `20,984`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Tokens a second: `20,984 tok/s`, `9.31 tok/s`.
pub fn tokens_per_s(rate: f64) -> String {
    if rate < 1e3 {
        format!("{} tok/s", digits(rate))
    } else {
        format!("{} tok/s", count(rate as u64))
    }
}

/// A share of one: `15.8 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A share of one without a fraction: `61 %`.
pub fn whole_percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// Three significant digits: `0.61`, `9.31`, `61.9`, `412`.
pub fn digits(value: f64) -> String {
    match value.abs() {
        ..0.005 => "0".to_owned(),
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    // 999.6 would print as 1000: it belongs to the next unit.
    let fits = |scale: f64| value.abs() / scale >= 0.9995;
    let (scale, unit) = units
        .iter()
        .rev()
        .find(|(scale, _)| fits(*scale))
        .unwrap_or(&units[0]);
    let whole = *scale == 1.0 && value.fract() == 0.0;
    let number = if whole {
        format!("{value:.0}")
    } else {
        digits(value / scale)
    };
    format!("{number} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit_that_fits() {
        let cases = [
            (duration(0.0), "0 ns"),
            (duration(7.0), "7 ns"),
            (duration(31.44), "31.4 ns"),
            (duration(999.0), "999 ns"),
            (duration(999.7), "1.00 µs"),
            (duration(8_312.0), "8.31 µs"),
            (duration(61_940_000.0), "61.9 ms"),
            (duration(2.04e9), "2.04 s"),
            (duration(-1_500.0), "-1.50 µs"),
            (bytes(6_200_000.0), "6.20 MB"),
            (bytes_per_s(21.34e9), "21.3 GB/s"),
            (operations_per_s(1.1e12), "1.10 TOP/s"),
            (amount(5_800_000.0), "5.80 M"),
            (amount(12.0), "12"),
            (count(20_984), "20,984"),
            (count(999), "999"),
            (count(1_000_000), "1,000,000"),
            (tokens_per_s(9.31), "9.31 tok/s"),
            (tokens_per_s(20_984.4), "20,984 tok/s"),
            (percent(0.1584), "15.8 %"),
            (duration(f64::NAN), "–"),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
    }
}
