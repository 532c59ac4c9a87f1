//! What was found about records, for people and for programs.

use std::fmt::Write as _;

use carnot_bench::{
    MovedLoss, MovedOperation, MovedSite, OperationTimes, RecordComparison, Row, Shift, Verdict,
};
use carnot_report::columns::Columns;
use carnot_report::units;
use serde_json::{Value, json};

/// Losses and operations that moved less are not told.
const MOST_MOVED: usize = 8;
/// Rows that the conclusion names.
const MOST_NAMED: usize = 6;

/// The tables of one pair of records.
pub struct Told {
    pub metrics: Columns,
    pub losses: Columns,
    pub operations: Columns,
    pub sites: Columns,
}

impl Told {
    pub fn of(comparison: &RecordComparison) -> Self {
        let mut metrics = Columns::new(&[
            "metric",
            "baseline:",
            "current:",
            "change:",
            "interval",
            "verdict",
        ]);
        for row in &comparison.rows {
            metrics.push([
                name(row),
                value(row.baseline, &row.unit),
                value(row.current, &row.unit),
                signed(row.change.estimate),
                interval(row.change, signed),
                verdict(row),
            ]);
        }
        let mut losses = Columns::new(&[
            "what moved most",
            "baseline:",
            "current:",
            "change:",
            "interval",
            "of the baseline's time:",
        ]);
        for loss in comparison.losses.iter().take(MOST_MOVED) {
            losses.push([
                loss.name.clone(),
                units::duration(loss.baseline_ns),
                units::duration(loss.current_ns),
                longer(loss.shift_ns.estimate),
                interval(loss.shift_ns, longer),
                signed(loss.share),
            ]);
        }
        Self {
            metrics,
            losses,
            operations: operations(&comparison.operations),
            sites: sites(&comparison.sites, ["baseline:", "current:"]),
        }
    }

    /// Those that have rows.
    fn tables(&self) -> impl Iterator<Item = &Columns> {
        let all = [&self.metrics, &self.losses, &self.operations, &self.sites];
        all.into_iter().filter(|table| !table.is_empty())
    }
}

/// Who allocates more or less, under the headings of the two sides.
pub fn sites(moved: &[MovedSite], [was, is]: [&'static str; 2]) -> Columns {
    let mut rows = Columns::new(&["who allocates", was, is, "change:", "of all:"]);
    for site in moved.iter().take(MOST_MOVED) {
        let told = |(count, bytes): (f64, f64)| {
            format!("{} in {}", units::bytes(bytes), units::digits(count))
        };
        let more = site.current.1 - site.baseline.1;
        let sign = if more < 0.0 { "-" } else { "+" };
        rows.push([
            site.site.clone(),
            told(site.baseline),
            told(site.current),
            format!("{sign}{}", units::bytes(more.abs())),
            signed(site.share),
        ]);
    }
    rows
}

fn operations(moved: &[MovedOperation]) -> Columns {
    let mut rows = Columns::new(&[
        "operation",
        "count:",
        "median:",
        "total:",
        "self:",
        "of the baseline's time:",
    ]);
    let moved = moved.iter().filter(|operation| operation.share != 0.0);
    for operation in moved.take(MOST_MOVED) {
        let both = |told: &dyn Fn(&OperationTimes) -> Option<String>| {
            let told = |times: &Option<OperationTimes>| times.as_ref().and_then(told);
            match (told(&operation.baseline), told(&operation.current)) {
                (None, None) => "–".to_owned(),
                (was, is) => {
                    let known = |side: Option<String>| side.unwrap_or_else(|| "–".to_owned());
                    format!("{} → {}", known(was), known(is))
                }
            }
        };
        rows.push([
            operation.name.clone(),
            both(&|times| Some(times.count.to_string())),
            both(&|times| times.median_ns.map(units::duration)),
            both(&|times| Some(units::duration(times.total_ns))),
            both(&|times| Some(units::duration(times.self_ns))),
            signed(operation.share),
        ]);
    }
    rows
}

/// What a reader should know after one line.
pub fn conclusion(comparisons: &[RecordComparison], threshold: f64) -> String {
    let rows = || comparisons.iter().flat_map(|comparison| &comparison.rows);
    let named = |wanted: fn(&Verdict) -> bool| -> Vec<String> {
        let rows = rows().filter(|row| wanted(&row.verdict));
        let mut names: Vec<String> = rows
            .map(|row| format!("{} {}", name(row), signed(row.change.estimate)))
            .collect();
        if names.len() > MOST_NAMED {
            let more = names.len() - MOST_NAMED;
            names.truncate(MOST_NAMED);
            names.push(format!("{more} more"));
        }
        names
    };
    let worse = named(|verdict| *verdict == Verdict::Worse);
    let better = named(|verdict| *verdict == Verdict::Better);
    if !worse.is_empty() {
        return format!("worse: {}{}", worse.join(", "), grown(comparisons));
    }
    if let Some(Verdict::Inconclusive { wanted }) = rows().next().map(|row| row.verdict) {
        return format!("inconclusive: {}", would_tell(wanted));
    }
    if !better.is_empty() {
        return format!("better: {}", better.join(", "));
    }
    format!("no difference of more than {threshold} % is certain")
}

/// The loss that took most more, if any certainly did.
fn grown(comparisons: &[RecordComparison]) -> String {
    let losses = comparisons.iter().flat_map(|comparison| &comparison.losses);
    let grew = |loss: &&MovedLoss| {
        loss.shift_ns.low > 0.0 || (loss.shift_ns.confidence == 0.0 && loss.share > 0.0)
    };
    match losses
        .filter(grew)
        .max_by(|one, other| one.share.total_cmp(&other.share))
    {
        None => String::new(),
        Some(loss) => format!(
            "; {} grew most, by {} of the baseline's time",
            loss.name,
            units::percent(loss.share)
        ),
    }
}

/// The document of `--format json`.
pub fn document(comparisons: &[RecordComparison], threshold: f64) -> Value {
    let records = comparisons.iter().map(|comparison| {
        json!({
            "title": comparison.title,
            "metrics": comparison.rows.iter().map(metric).collect::<Vec<_>>(),
            "losses": comparison.losses.iter().map(loss).collect::<Vec<_>>(),
            "operations": comparison.operations.iter().map(operation).collect::<Vec<_>>(),
            "allocations": comparison.sites.iter().map(site).collect::<Vec<_>>(),
            "warnings": comparison.warnings,
        })
    });
    json!({
        "threshold_percent": threshold,
        "conclusion": conclusion(comparisons, threshold),
        "records": records.collect::<Vec<_>>(),
    })
}

fn metric(row: &Row) -> Value {
    json!({
        "name": row.metric,
        "unit": row.unit,
        "quantile": row.quantile,
        "values": [row.counts.0, row.counts.1],
        "baseline": row.baseline,
        "current": row.current,
        "change": shift(row.change),
        "p": row.p,
        "verdict": word(row.verdict),
    })
}

fn loss(loss: &MovedLoss) -> Value {
    json!({
        "name": loss.name,
        "baseline_ns": loss.baseline_ns,
        "current_ns": loss.current_ns,
        "shift_ns": shift(loss.shift_ns),
        "share": loss.share,
    })
}

fn operation(operation: &MovedOperation) -> Value {
    let times = |times: OperationTimes| {
        json!({
            "count": times.count,
            "median_ns": times.median_ns,
            "total_ns": times.total_ns,
            "self_ns": times.self_ns,
        })
    };
    json!({
        "name": operation.name,
        "baseline": operation.baseline.map(times),
        "current": operation.current.map(times),
        "share": operation.share,
    })
}

pub fn site(site: &MovedSite) -> Value {
    let of = |(allocations, bytes): (f64, f64)| json!({"allocations": allocations, "bytes": bytes});
    json!({
        "site": site.site,
        "baseline": of(site.baseline),
        "current": of(site.current),
        "share": site.share,
    })
}

/// What is not finite has no number in JSON: `null`.
pub fn shift(shift: Shift) -> Value {
    json!({
        "estimate": shift.estimate,
        "low": shift.low,
        "high": shift.high,
        "confidence": shift.confidence,
    })
}

/// Such as `request p95`; without the quantile where it is the median of repetitions.
fn name(row: &Row) -> String {
    let percentile = 100.0 * row.quantile;
    if row.quantile == 0.5 {
        row.metric.clone()
    } else {
        format!("{} p{percentile}", row.metric)
    }
}

/// With the unit in which people read it.
pub fn value(value: f64, unit: &str) -> String {
    match unit {
        "s" => units::duration(1e9 * value),
        "bytes" => units::bytes(value),
        "tokens/s" => units::tokens_per_s(value),
        "share" => units::percent(value),
        unit => format!("{} {unit}", units::digits(value)),
    }
}

fn interval(shift: Shift, written: fn(f64) -> String) -> String {
    match (shift.low.is_finite(), shift.high.is_finite()) {
        (true, true) => format!("{} to {}", written(shift.low), written(shift.high)),
        (true, false) => format!("above {}", written(shift.low)),
        (false, true) => format!("below {}", written(shift.high)),
        (false, false) => "–".to_owned(),
    }
}

fn verdict(row: &Row) -> String {
    match row.verdict {
        Verdict::Inconclusive { wanted } => format!("inconclusive: {}", would_tell(wanted)),
        other => word(other).to_owned(),
    }
}

fn would_tell(wanted: usize) -> String {
    // Beyond this, more of the same is no advice.
    if wanted > 1_000_000 {
        "no number of values would tell".to_owned()
    } else {
        format!("about {wanted} values in each would tell")
    }
}

/// A time with its sign.
fn longer(ns: f64) -> String {
    let sign = if ns < 0.0 { "-" } else { "+" };
    sign.to_owned() + &units::duration(ns.abs())
}

/// A change with its sign.
pub fn signed(change: f64) -> String {
    if change.is_finite() {
        format!("{:+.2} %", 100.0 * change)
    } else {
        "–".to_owned()
    }
}

pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Same => "no difference",
        Verdict::Inconclusive { .. } => "inconclusive",
    }
}

/// The tables for a terminal.
pub fn text(comparisons: &[RecordComparison], heading: &str, threshold: f64) -> String {
    let mut out = format!("carnot compare   {heading}\n");
    for comparison in comparisons {
        let told = Told::of(comparison);
        let title = carnot_report::columns::plain(&comparison.title);
        let _ = writeln!(out, "\n{title}");
        for table in told.tables() {
            let _ = write!(out, "\n{}", table.text());
        }
        for warning in &comparison.warnings {
            let _ = writeln!(out, "\nwarning: {}", carnot_report::columns::plain(warning));
        }
    }
    let _ = writeln!(
        out,
        "\n{}",
        carnot_report::columns::plain(&conclusion(comparisons, threshold))
    );
    out
}

/// The same for a merge request.
pub fn markdown(comparisons: &[RecordComparison], heading: &str, threshold: f64) -> String {
    use carnot_report::columns::escaped;
    let mut out = format!(
        "# carnot compare\n\n{}\n\n**{}**\n",
        escaped(heading),
        escaped(&conclusion(comparisons, threshold))
    );
    for comparison in comparisons {
        let told = Told::of(comparison);
        let _ = writeln!(out, "\n## {}", escaped(&comparison.title));
        for table in told.tables() {
            let _ = write!(out, "\n{}", table.markdown());
        }
        for warning in &comparison.warnings {
            let _ = write!(out, "\n- {}\n", escaped(warning));
        }
    }
    out
}
