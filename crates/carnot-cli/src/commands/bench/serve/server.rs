//! What the server said of itself during a load: as series of the record, as a table, and what to warn of.

use std::fmt::Write as _;

use carnot_bench::load::{MetricLine, Role, ServerMetrics};
use carnot_bench::quantile;
use carnot_record::Series;
use carnot_report::units;

use super::Level;

/// What runs to the right of all that is told over time.
pub const SINCE: &str = "since the load began, s";

/// The lines of a server, those of a metric on one plot.
pub fn series(metrics: &ServerMetrics) -> Vec<Series> {
    let line = |line: &MetricLine| Series {
        plot: format!("Server: {}", line.metric),
        name: if line.labels.is_empty() {
            line.metric.clone()
        } else {
            line.labels.clone()
        },
        x: SINCE.to_owned(),
        y: unit(line).to_owned(),
        points: line.points.clone(),
    };
    metrics.lines.iter().map(line).collect()
}

fn unit(line: &MetricLine) -> &'static str {
    let name = line.metric.trim_end_matches("_total");
    match (line.is_rate, name.rsplit('_').next()) {
        (false, Some("ratio" | "perc")) => "share, share",
        (false, Some("bytes")) => "bytes, bytes",
        (false, Some("seconds")) => "seconds, s",
        (false, _) => "value",
        // Seconds in a second.
        (true, Some("seconds")) => "share of the time, share",
        (true, Some("tokens")) => "tokens a second, tokens/s",
        (true, _) => "a second",
    }
}

/// Over several loads, what the server had of requests and cache.
pub fn over_loads(levels: &[&Level], size: impl Fn(&Level) -> f64, x: &str) -> Vec<Series> {
    let roles = [Role::Running, Role::Waiting, Role::CacheUsed];
    let lines = roles.into_iter().flat_map(|role| {
        let line = |(name, index): (&str, usize)| Series {
            plot: format!("Server: {}", label(role)),
            name: name.to_owned(),
            x: x.to_owned(),
            y: match role {
                Role::CacheUsed => "share, share".to_owned(),
                Role::Running | Role::Waiting => "requests, ".to_owned(),
            },
            points: levels
                .iter()
                .filter_map(|level| {
                    let values = spread(level.server.as_ref()?, role)?;
                    Some([size(level), values[index]])
                })
                .collect(),
        };
        [("median", 1), ("most", 2)].map(line)
    });
    lines.filter(|line| !line.points.is_empty()).collect()
}

fn label(role: Role) -> &'static str {
    match role {
        Role::Running => "requests running",
        Role::Waiting => "requests waiting",
        Role::CacheUsed => "KV cache used",
    }
}

/// Least, median and most; nothing where the server does not tell.
fn spread(metrics: &ServerMetrics, wanted: Role) -> Option<[f64; 3]> {
    let (_, points) = metrics.roles.iter().find(|(role, _)| *role == wanted)?;
    let values: Vec<f64> = points.iter().map(|point| point[1]).collect();
    let of = |share| quantile(&values, share);
    Some([of(0.0)?, of(0.5)?, of(1.0)?])
}

/// Requests that run and wait, and the cache's use, as far as the server tells; and what to warn of.
pub fn table(metrics: &ServerMetrics) -> String {
    let mut out = String::new();
    let mut rows = Vec::new();
    for role in [Role::Running, Role::Waiting, Role::CacheUsed] {
        let Some(values) = spread(metrics, role) else {
            continue;
        };
        let cells = values.map(|value| match role {
            Role::CacheUsed => units::percent(value),
            Role::Running | Role::Waiting => value.to_string(),
        });
        rows.push((label(role), cells));
    }
    if !rows.is_empty() {
        let _ = writeln!(
            out,
            "\n{:<28}{:>10}{:>10}{:>10}",
            "server", "min", "median", "max"
        );
    }
    for (name, [least, median, most]) in rows {
        let _ = writeln!(out, "{name:<28}{least:>10}{median:>10}{most:>10}");
    }
    for warning in warnings(metrics) {
        let _ = writeln!(out, "\nwarning: {warning}");
    }
    out
}

/// What was not told, or is left out.
pub fn warnings(metrics: &ServerMetrics) -> Vec<String> {
    let mut told = Vec::new();
    let (failed, all) = (metrics.failed, metrics.scrapes);
    if let Some(failure) = &metrics.failure {
        told.push(format!(
            "server metrics: {failed} of {all} scrapes failed: {failure}"
        ));
    } else if metrics.lines.is_empty() {
        told.push("server metrics: expected gauges or counters that change, got none".to_owned());
    }
    if metrics.left_out > 0 {
        let (kept, left_out) = (metrics.lines.len(), metrics.left_out);
        told.push(format!(
            "server metrics: {left_out} more series changed than the {kept} that are kept"
        ));
    }
    told
}
