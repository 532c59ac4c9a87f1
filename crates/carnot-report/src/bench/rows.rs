//! The figures of a record as cells: what all forms for people print.

use carnot_record::{BenchRecord, Better, Metric};

use crate::units;

/// A metric in words.
pub(super) struct MetricRow {
    pub name: String,
    pub median: String,
    /// The 95th and 99th percentile where they matter.
    pub tail: [String; 2],
    /// How far the values are spread: half of the range of their middle half, over their median.
    pub spread: String,
    pub limit: String,
    /// How near the limit it is.
    pub of_limit: String,
}

/// A loss in words, with its share of the wall.
pub(super) struct LossRow {
    pub name: String,
    pub time: String,
    pub share: f64,
}

/// Nothing to say.
const NONE: &str = "–";

pub(super) fn metric(metric: &Metric) -> MetricRow {
    let written = |value: Option<f64>| {
        value.map_or_else(|| NONE.to_owned(), |value| amount(value, &metric.unit))
    };
    let median = metric.quantile(0.5);
    let tail = [0.95, 0.99].map(|share| {
        let matters = metric.quantiles.iter().any(|&known| known >= share);
        written(metric.quantile(share).filter(|_| matters))
    });
    let of_limit = median.zip(metric.limit).map(|(value, limit)| {
        units::whole_percent(match metric.better {
            Better::Higher => value / limit,
            Better::Lower => limit / value,
        })
    });
    MetricRow {
        name: metric.name.replace('_', " "),
        median: written(median),
        tail,
        spread: spread(metric).unwrap_or_else(|| NONE.to_owned()),
        limit: written(metric.limit),
        of_limit: of_limit.unwrap_or_else(|| NONE.to_owned()),
    }
}

fn spread(metric: &Metric) -> Option<String> {
    let of = |share| metric.quantile(share);
    let (low, median, high) = (of(0.25)?, of(0.5)?, of(0.75)?);
    (metric.values.len() > 1 && median > 0.0)
        .then(|| format!("±{}", units::percent((high - low) / 2.0 / median)))
}

/// A value with its unit.
pub(super) fn amount(value: f64, unit: &str) -> String {
    match unit {
        "s" => units::duration(1e9 * value),
        "bytes" => units::bytes(value),
        "share" => units::percent(value),
        "tokens/s" => units::tokens_per_s(value),
        "requests/s" => format!("{} req/s", units::digits(value)),
        _ => format!("{} {unit}", units::digits(value))
            .trim_end()
            .to_owned(),
    }
}

/// The losses, each with the median of its repetitions; the floor first, then the largest, those under 2 in 1000 put together.
pub(super) fn losses(record: &BenchRecord) -> Vec<LossRow> {
    const SMALL: f64 = 0.002;
    let mut rows: Vec<(String, f64)> = record
        .losses
        .iter()
        .map(|loss| {
            let values = Metric::latencies("", loss.ns.clone());
            (loss.name.clone(), values.quantile(0.5).unwrap_or(0.0))
        })
        .collect();
    let wall: f64 = rows.iter().map(|(_, ns)| ns).sum();
    rows.sort_by(|(a, x), (b, y)| (b == "floor").cmp(&(a == "floor")).then(y.total_cmp(x)));
    let is_small = |ns: f64| ns.abs() < SMALL * wall;
    let small: Vec<f64> = rows
        .iter()
        .map(|(_, ns)| *ns)
        .filter(|ns| is_small(*ns))
        .collect();
    rows.retain(|(_, ns)| !is_small(*ns));
    if !small.is_empty() {
        rows.push((format!("{} smaller", small.len()), small.iter().sum()));
    }
    let row = |(name, ns)| LossRow {
        name,
        time: units::duration(ns),
        share: if wall > 0.0 { ns / wall } else { 0.0 },
    };
    rows.into_iter().map(row).collect()
}

/// Rows of a table of places in the code: its headings, and for each place as many cells.
pub(super) struct Places {
    pub headings: [&'static str; 5],
    pub rows: Vec<[String; 5]>,
}

/// Functions and allocations, those that were looked for; at most this many of each.
pub(super) fn places(record: &BenchRecord) -> Vec<Places> {
    const MOST: usize = 15;
    let functions = record.functions.iter().map(|one| {
        let [own, total] = [one.own, one.total].map(units::percent);
        [
            own,
            total,
            String::new(),
            one.function.clone(),
            one.file.clone(),
        ]
    });
    let allocations = record.allocations.iter().map(|one| {
        let [bytes, kept] = [one.bytes, one.kept_bytes].map(units::bytes);
        let often = units::digits(one.allocations);
        [bytes, often, kept, one.function.clone(), one.place.clone()]
    });
    let places = [
        Places {
            headings: ["self", "total", "", "where processor time went", ""],
            rows: functions.take(MOST).collect(),
        },
        Places {
            headings: ["allocated", "times", "kept", "where memory came from", ""],
            rows: allocations.take(MOST).collect(),
        },
    ];
    places
        .into_iter()
        .filter(|places| !places.rows.is_empty())
        .collect()
}

/// What was measured, where, for how long.
pub(super) fn subject(record: &BenchRecord) -> String {
    let mut parts = Vec::new();
    if let Some(model) = &record.model {
        let parameters = units::amount(model.parameters as f64);
        parts.push(format!(
            "{}, {parameters} parameters, {}",
            model.name, model.file_type
        ));
    }
    parts.extend(record.url.clone());
    if record.machine.threads > 0 {
        parts.push(format!("{} threads", record.machine.threads));
    }
    parts.push(format!("{} s", units::digits(record.took_s)));
    parts.join(" · ")
}
