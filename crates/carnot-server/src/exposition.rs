//! The two text forms that Prometheus reads: OpenMetrics, and the older one for all who do not ask for it.

use std::fmt::{self, Write as _};

/// Media types.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub(crate) const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether who accepts these media types reads OpenMetrics.
pub(crate) fn is_open_metrics(accept: &str) -> bool {
    accept.contains("application/openmetrics-text")
}

/// The older form of an OpenMetrics text: counters are described under their whole name, and there are no units and no end.
pub(crate) fn plain(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for whole in open_metrics.lines() {
        let words: Vec<&str> = whole.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "EOF"] | ["#", "UNIT", ..] => (),
            ["#", "HELP", name, what] => help = Some((*name, *what)),
            ["#", "TYPE", name, kind] => {
                let ending = if *kind == "counter" { "_total" } else { "" };
                if let Some((_, what)) = help.take().filter(|(of, _)| of == name) {
                    line(&mut text, format_args!("# HELP {name}{ending} {what}"));
                }
                line(&mut text, format_args!("# TYPE {name}{ending} {kind}"));
            }
            _ => line(&mut text, format_args!("{whole}")),
        }
    }
    text
}

fn line(text: &mut String, content: fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{content}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_their_whole_name() {
        let open_metrics = "# HELP a_requests Requests.\n# TYPE a_requests counter\na_requests_total{b=\"c\"} 1\n# HELP a_seconds Time.\n# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 2\n# EOF\n";
        assert_eq!(
            plain(open_metrics),
            "# HELP a_requests_total Requests.\n# TYPE a_requests_total counter\na_requests_total{b=\"c\"} 1\n# HELP a_seconds Time.\n# TYPE a_seconds gauge\na_seconds 2\n"
        );
    }
}
