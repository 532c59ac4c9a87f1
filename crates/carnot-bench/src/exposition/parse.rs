//! Reads the text format 0.0.4 of Prometheus, and OpenMetrics as far as it says the same: no exemplars, no times of samples.

use super::{Exposition, Family, Kind, Sample};

/// A line that is none of the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {expected}, got `{got}`")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// What should have been there.
    pub expected: &'static str,
    /// What was, at most its first sixty characters.
    pub got: String,
}

const SAMPLE: &str = "a sample such as `name{label=\"value\"} 1`";

impl Exposition {
    /// Reads a page of metrics. What a comment says that is neither `HELP` nor `TYPE` is left out.
    ///
    /// # Errors
    /// The first line that is no comment and no sample.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut exposition = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let refused = |expected| ParseError {
                line: index + 1,
                expected,
                got: line.chars().take(60).collect(),
            };
            if let Some(comment) = line.strip_prefix('#') {
                exposition.comment(comment.trim_start());
            } else if !line.is_empty() {
                exposition.push(sample(line).ok_or_else(|| refused(SAMPLE))?);
            }
        }
        exposition.families.iter_mut().for_each(Family::settle);
        // What was only described has no values to tell.
        let has_samples = |family: &Family| !family.samples.is_empty();
        exposition.families.retain(has_samples);
        Ok(exposition)
    }

    fn comment(&mut self, comment: &str) {
        let mut words = comment.splitn(3, ' ');
        let (Some(word), Some(name)) = (words.next(), words.next()) else {
            return;
        };
        let rest = words.next().unwrap_or_default();
        match word {
            "HELP" => self.described(name).help = unescaped(rest),
            "TYPE" => self.described(name).kind = kind(rest.trim()),
            _ => (),
        }
    }

    /// The family of that name, a new one if there is none.
    fn described(&mut self, name: &str) -> &mut Family {
        let known = self.families.iter().position(|family| family.name == name);
        let index = known.unwrap_or_else(|| {
            self.families.push(Family {
                name: name.to_owned(),
                kind: Kind::Untyped,
                help: String::new(),
                samples: Vec::new(),
            });
            self.families.len() - 1
        });
        &mut self.families[index]
    }

    /// Samples of a family stand together, so that it is most often the last.
    fn push(&mut self, sample: Sample) {
        let owner = self.families.iter().rposition(|of| of.owns(&sample.name));
        let family = match owner {
            Some(index) => &mut self.families[index],
            None => self.described(&sample.name),
        };
        family.samples.push(sample);
    }
}

impl Family {
    fn owns(&self, sample: &str) -> bool {
        let Some(ending) = sample.strip_prefix(&self.name) else {
            return false;
        };
        let (kind, is_histogram) = (self.kind, self.kind == Kind::Histogram);
        match ending {
            "" => true,
            "_total" => kind == Kind::Counter,
            "_created" => is_histogram || kind == Kind::Counter,
            "_bucket" => is_histogram,
            "_sum" | "_count" => is_histogram || kind == Kind::Summary,
            _ => false,
        }
    }

    /// OpenMetrics describes a counter without its ending, and tells when it began; neither is so in the older form.
    fn settle(&mut self) {
        let begun = format!("{}_created", self.name);
        self.samples.retain(|sample| sample.name != begun);
        let whole = format!("{}_total", self.name);
        if self.samples.iter().any(|sample| sample.name == whole) {
            self.name = whole;
        }
    }
}

fn kind(word: &str) -> Kind {
    match word {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        "summary" => Kind::Summary,
        _ => Kind::Untyped,
    }
}

/// `name{label="value",…} value`, and behind it whatever.
fn sample(line: &str) -> Option<Sample> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':');
    let end = line.find(|letter| !is_part(letter))?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?;
    (!name.is_empty()).then_some(Sample {
        name: name.to_owned(),
        labels,
        value: number(value)?,
    })
}

/// What stands between braces, and what comes behind them.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, value) = rest.split_once('=')?;
        let value = value.trim_start().strip_prefix('"')?;
        let end = closing_quote(value)?;
        labels.push((name.trim().to_owned(), unescaped(&value[..end])));
        rest = &value[end + 1..];
    }
}

/// Where the quote is that no backslash protects.
fn closing_quote(text: &str) -> Option<usize> {
    let mut is_protected = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !is_protected;
        is_protected = byte == b'\\' && !is_protected;
        closes
    })
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => match letters.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            (letter, false) => out.push(letter),
        }
    }
    out
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        // The standard library also reads `inf` and `nan` in any case, which the format does not have.
        _ if text.ends_with(|last: char| last.is_ascii_digit() || last == '.') => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnot_statistics::Dice;

    #[track_caller]
    fn check_refused(text: &str, line: usize) {
        let error = Exposition::parse(text).unwrap_err();
        assert_eq!((error.line, error.expected), (line, SAMPLE), "{error}");
    }

    #[test]
    fn families_own_their_samples() {
        let text = "\
# HELP a_total Things that happened, \\\\ and more.
# TYPE a_total counter
a_total{of=\"x\"} 3
a_total{of=\"y\"} 4
# TYPE b gauge
b -2.5e-1 1700000000
# TYPE c_seconds histogram
c_seconds_bucket{le=\"0.1\"} 1
c_seconds_bucket{le=\"+Inf\"} 2
c_seconds_sum 5
c_seconds_count 2
nobody_described_me NaN
";
        let read = Exposition::parse(text).unwrap();
        let names: Vec<&str> = read.families.iter().map(|of| of.name.as_str()).collect();
        assert_eq!(names, ["a_total", "b", "c_seconds", "nobody_described_me"]);
        assert_eq!(read.families[0].help, "Things that happened, \\ and more.");
        assert_eq!(read.families[2].samples.len(), 4);
        assert_eq!(read.families[3].kind, Kind::Untyped);
        assert!(read.families[3].samples[0].value.is_nan());
        assert_eq!(read.sum("a_total"), Some(7.0));
        assert_eq!(
            read.sum_where("a_total", |of| of.label("of") == Some("y")),
            Some(4.0)
        );
        assert_eq!(read.sum("b"), Some(-0.25));
        assert_eq!(read.sum("absent"), None);
        let by = [("x".to_owned(), 3.0), ("y".to_owned(), 4.0)];
        assert_eq!(read.by("a_total", "of"), by);
    }

    #[test]
    fn both_forms_say_the_same() {
        let plain = "# HELP a_total Times.\n# TYPE a_total counter\na_total 3\n";
        let open = "# HELP a Times.\n# TYPE a counter\na_total 3.0 # {trace=\"f\"} 1 1700.5\na_created 1700.0\n# EOF\n";
        assert_eq!(Exposition::parse(plain), Exposition::parse(open));
    }

    #[test]
    fn values_of_labels_may_hold_anything() {
        let read = Exposition::parse(r#"a{b="x\"},\\",c="\n{=}", } 1"#).unwrap();
        let sample = &read.families[0].samples[0];
        assert_eq!(sample.label("b"), Some("x\"},\\"));
        assert_eq!(sample.label("c"), Some("\n{=}"));
    }

    #[test]
    fn what_is_no_sample_is_told_with_its_line() {
        check_refused("a 1\n<html>", 2);
        check_refused("a", 1);
        check_refused("a one", 1);
        check_refused("a nan", 1);
        check_refused("a{b=\"c} 1", 1);
        check_refused("a{b} 1", 1);
        check_refused("{} 1", 1);
        let long = format!("<{}", "ä".repeat(100));
        let error = Exposition::parse(&long).unwrap_err();
        assert_eq!(error.got.chars().count(), 60);
    }

    #[test]
    fn nothing_that_is_cut_anywhere_is_more_than_refused() {
        let text =
            "# TYPE a histogram\na_bucket{le=\"+Inf\",b=\"ä\\\"\"} 2 # {x=\"y\"} 1\na_sum 1\n# EOF";
        for (end, _) in text.char_indices() {
            let (Ok(_) | Err(ParseError { .. })) = Exposition::parse(&text[..end]);
        }
    }

    #[test]
    fn what_is_read_of_damaged_pages_can_be_written_and_read_again() {
        let page = "# HELP a_total A \\\\ b\n# TYPE a_total counter\na_total{b=\"c\",d=\"\\\"\"} 1\n# TYPE e histogram\ne_bucket{le=\"+Inf\"} 2\ne_sum NaN\ne_count 2\n";
        let mut dice = Dice(1);
        let mut read = 0;
        for _ in 0..20_000 {
            let mut bytes = page.as_bytes().to_vec();
            for _ in 0..3 {
                let at = (dice.uniform() * bytes.len() as f64) as usize;
                let from = (dice.uniform() * bytes.len() as f64) as usize;
                bytes[at % page.len()] = bytes[from % page.len()];
            }
            let text = String::from_utf8(bytes).unwrap();
            let Ok(exposition) = Exposition::parse(&text) else {
                continue;
            };
            read += 1;
            for written in [exposition.prometheus(), exposition.open_metrics()] {
                let again = Exposition::parse(&written);
                assert!(
                    again.is_ok(),
                    "{again:?}\n{text}\nwas written as\n{written}"
                );
            }
        }
        assert!(
            read > 1000,
            "{read}: the damage is too great to say anything"
        );
    }
}
