//! Writes metrics in the two text forms that Prometheus reads.

use std::fmt::Write as _;

use super::{Exposition, Family, Kind, Sample};

/// How the two forms differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Prometheus,
    OpenMetrics,
}

impl Exposition {
    /// The text format 0.0.4.
    pub fn prometheus(&self) -> String {
        self.write(Form::Prometheus)
    }

    /// OpenMetrics 1.0: a counter is described without its ending, bounds are written as fractions, and the end is told.
    pub fn open_metrics(&self) -> String {
        self.write(Form::OpenMetrics) + "# EOF\n"
    }

    fn write(&self, form: Form) -> String {
        let mut out = String::new();
        for family in &self.families {
            family.write(form, &mut out);
        }
        out
    }
}

impl Family {
    fn write(&self, form: Form, out: &mut String) {
        let base = self.name.strip_suffix("_total").unwrap_or(&self.name);
        let is_open_counter = form == Form::OpenMetrics && self.kind == Kind::Counter;
        let name = if is_open_counter { base } else { &self.name };
        if !self.help.is_empty() {
            let _ = writeln!(out, "# HELP {name} {}", escaped(&self.help, form));
        }
        let kind = match (form, self.kind) {
            (Form::OpenMetrics, Kind::Untyped) => "unknown",
            (_, kind) => kind.name(),
        };
        let _ = writeln!(out, "# TYPE {name} {kind}");
        for sample in &self.samples {
            let whole = if is_open_counter {
                &format!("{base}_total")
            } else {
                &sample.name
            };
            let labels = sample.written_labels(form);
            let _ = writeln!(out, "{whole}{labels} {}", number(sample.value));
        }
    }
}

impl Sample {
    fn written_labels(&self, form: Form) -> String {
        if self.labels.is_empty() {
            return String::new();
        }
        let labels = self.labels.iter().map(|(name, value)| {
            let is_bound = matches!(name.as_str(), "le" | "quantile");
            match value.parse::<f64>() {
                Ok(bound) if is_bound && bound.is_finite() && form == Form::OpenMetrics => {
                    format!("{name}=\"{bound:?}\"")
                }
                _ => format!("{name}=\"{}\"", escaped(value, Form::OpenMetrics)),
            }
        });
        format!("{{{}}}", labels.collect::<Vec<String>>().join(","))
    }
}

/// In the older form, quotes of a description stay as they are.
fn escaped(text: &str, form: Form) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    match form {
        Form::Prometheus => text,
        Form::OpenMetrics => text.replace('"', "\\\""),
    }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "\
# HELP a_total A \"count\".
# TYPE a_total counter
a_total{of=\"x \\\"y\\\"\"} 3
# TYPE b_seconds histogram
b_seconds_bucket{le=\"1\"} 1
b_seconds_bucket{le=\"+Inf\"} 2
b_seconds_sum 5.5
b_seconds_count 2
# TYPE c untyped
c NaN
";

    #[test]
    fn what_was_read_is_written_again() {
        let read = Exposition::parse(PLAIN).unwrap();
        assert_eq!(read.prometheus(), PLAIN);
    }

    #[test]
    fn open_metrics_has_its_own_ways() {
        let open = Exposition::parse(PLAIN).unwrap().open_metrics();
        let expected = "\
# HELP a A \\\"count\\\".
# TYPE a counter
a_total{of=\"x \\\"y\\\"\"} 3
# TYPE b_seconds histogram
b_seconds_bucket{le=\"1.0\"} 1
b_seconds_bucket{le=\"+Inf\"} 2
b_seconds_sum 5.5
b_seconds_count 2
# TYPE c unknown
c NaN
# EOF
";
        assert_eq!(open, expected);
        let again = Exposition::parse(&open).unwrap();
        assert_eq!(again.sum("a_total"), Some(3.0));
        assert_eq!(again.families[0].help, "A \"count\".");
    }

    #[test]
    fn a_counter_without_its_ending_gets_it() {
        let read = Exposition::parse("# TYPE a counter\na 3\n").unwrap();
        assert_eq!(read.open_metrics(), "# TYPE a counter\na_total 3\n# EOF\n");
    }
}
