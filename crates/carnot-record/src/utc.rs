//! When a record was made: the seconds since 1970 that it carries as a date, in UTC, and a date as seconds.
//!
//! After Howard Hinnant's "chrono-compatible low-level date algorithms": years begin in March, so that the leap day is the last, and 400 years have
//! 146,097 days.

use std::fmt;

/// Days from the first of March of the year 0 to the first of January 1970.
const TO_1970: u64 = 719_468;
const DAYS_OF_400_YEARS: u64 = 146_097;
const SECONDS_OF_A_DAY: u64 = 86_400;

/// A second in UTC. Written as RFC 3339 has it: `2026-11-22T05:40:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc {
    /// Such as 2026.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
}

impl Utc {
    /// So many seconds after 1970 began.
    pub fn of(unix_s: u64) -> Self {
        let (days, second) = (
            unix_s / SECONDS_OF_A_DAY + TO_1970,
            unix_s % SECONDS_OF_A_DAY,
        );
        let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        // Counted from March.
        let month = (5 * day + 2) / 153;
        Self {
            year: era * 400 + year + u64::from(month >= 10),
            month: if month < 10 { month + 3 } else { month - 9 },
            day: day - (153 * month + 2) / 5 + 1,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }

    /// The day `2026-11-22`, in seconds from 1970 to its begin. `None` of a text of another form, and of a day that no calendar has.
    pub fn begin_of_day(text: &str) -> Option<u64> {
        let mut parts = text.split('-').zip([4, 2, 2]).map(|(part, digits)| {
            let is_number = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u64>().ok().filter(|_| is_number)
        });
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        if text.len() != 10 || year < 1970 || !(1..=12).contains(&month) || day == 0 {
            return None;
        }
        let from_march = if month > 2 { month - 3 } else { month + 9 };
        let year = year - u64::from(month <= 2);
        let of_era = year % 400;
        let of_year = (153 * from_march + 2) / 5 + day - 1;
        let days = year / 400 * DAYS_OF_400_YEARS + 365 * of_era + of_era / 4 - of_era / 100;
        let unix_s = (days + of_year - TO_1970) * SECONDS_OF_A_DAY;
        // The 30th of February would be the 2nd of March.
        let begin = Self::of(unix_s);
        ((begin.month, begin.day) == (month, day)).then_some(unix_s)
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self;
        write!(
            out,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_dates_of_the_calendar() {
        // From `date -u -d @SECONDS +%FT%TZ`.
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_795_376_040, "2026-11-22T19:34:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(Utc::of(seconds).to_string(), expected);
        }
    }

    #[test]
    fn every_day_of_four_centuries_is_read_as_it_is_written() {
        for day in 0..146_097 {
            let begin = day * SECONDS_OF_A_DAY;
            let text = Utc::of(begin + 86_399).to_string();
            assert_eq!(Utc::begin_of_day(&text[..10]), Some(begin), "{text}");
        }
    }

    #[test]
    fn what_is_no_day_has_no_begin() {
        for text in [
            "",
            "2026",
            "2026-11",
            "2026-11-1",
            "2026-11-31",
            "2026-02-29",
            "2100-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-01-00",
            "1969-12-31",
            "2026-+1-01",
            "2026-11-22T",
            "2026-11-22-",
            "26-11-2026",
        ] {
            assert_eq!(Utc::begin_of_day(text), None, "{text}");
        }
    }
}
