//! A run as the record that `carnot compare` and `carnot history` read: `docs/bench-json.md`. It stands in front of the turns that it is made of, in the same file.

use anyhow::Context;
use carnot_record::{BandwidthPoint, BenchRecord, Better, MachineSummary, Metric, Utc};

use super::definition::Phase;
use super::engines::CARNOT;
use super::machine::Machine;
use super::results::{Results, Round, RowResults, Sample};

/// What the record says was measured.
const SUITE: &str = "peers";

/// The record of `run`: for each row the speed of each engine, `ROW/MODEL/ENGINE`, and `ROW/MODEL/ratio`, the time of the best peer over Carnot's, a
/// value for each round that counts.
///
/// # Errors
/// If the run does not say when it began.
pub fn of(run: &Results) -> anyhow::Result<BenchRecord> {
    let begun_unix_s = unix_s(&run.begun).with_context(|| {
        format!(
            "begun: expected a time such as 2026-11-22T05:40:00Z, got {}",
            run.begun
        )
    })?;
    let mut record = BenchRecord {
        suite: SUITE.to_owned(),
        begun_unix_s,
        took_s: run.rows.iter().flat_map(samples).map(took_s).sum(),
        carnot: version(run, CARNOT).replace("Carnot ", ""),
        commit: Some(run.commit.hash.clone()).filter(|hash| !hash.is_empty()),
        machine: machine(&run.machine, run.threads),
        ..BenchRecord::default()
    };
    let conditions = &mut record.conditions;
    conditions.insert("definition".to_owned(), run.definition.clone());
    let peer = run.engines.keys().find(|key| *key != CARNOT);
    conditions.extend(peer.map(|key| ("peer".to_owned(), version(run, key))));
    for row in &run.rows {
        record.metrics.extend(metrics(row, &run.machine));
        record.warnings.extend(warnings(row, run.widest));
    }
    if run.commit.dirty {
        let warning = "files differed from the commit".to_owned();
        record.warnings.push(warning);
    }
    Ok(record)
}

/// Seconds from 1970 to `2026-11-22T05:40:00Z`.
fn unix_s(text: &str) -> Option<u64> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut parts = time.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    Some(Utc::begin_of_day(day)? + 3600 * hour + 60 * minute + second)
}

fn version(run: &Results, key: &str) -> String {
    let facts = run.engines.get(key);
    facts.map_or_else(String::new, |facts| facts.version.clone())
}

fn samples(row: &RowResults) -> impl Iterator<Item = &Sample> {
    let rounds = row.rounds.iter().chain(&row.disturbed);
    rounds.flat_map(|round| round.samples.values())
}

fn took_s(sample: &Sample) -> f64 {
    sample.prepare_seconds + sample.seconds
}

fn machine(machine: &Machine, threads: usize) -> MachineSummary {
    let ceilings = &machine.ceilings;
    let points = ceilings.bandwidth.iter();
    let points = points.map(|&(bytes, bytes_per_s)| BandwidthPoint {
        bytes: bytes as u64,
        bytes_per_s,
    });
    MachineSummary {
        cpu: machine.cpu.clone(),
        threads: threads as u32,
        read_bandwidth_bytes_per_s: ceilings.bandwidth.last().map_or(0.0, |point| point.1),
        bandwidth_curve: points.collect(),
        peak_int8_ops_per_s: ceilings.int8_ops_per_s,
        peak_f32_flops: ceilings.f32_flops,
    }
}

/// Of the rounds that count.
fn metrics(row: &RowResults, machine: &Machine) -> Vec<Metric> {
    let mut keys: Vec<&String> = row
        .rounds
        .iter()
        .flat_map(|round| round.samples.keys())
        .collect();
    keys.sort();
    keys.dedup();
    let floor = row.sizes.as_ref();
    let floor = floor.and_then(|sizes| machine.ceilings.floor_seconds(&row.work, sizes));
    let name = |what: &str| format!("{}/{}/{what}", row.row, row.model);
    let of_engine = |key: &&String| {
        let samples = row
            .rounds
            .iter()
            .filter_map(|round| round.samples.get(*key));
        let samples: Vec<&Sample> = samples.collect();
        if row.work.phase == Phase::FirstToken {
            let seconds = samples.iter().map(|sample| sample.seconds);
            return Metric::repeated(&name(key), "s", Better::Lower, seconds.collect());
        }
        let rates = samples
            .iter()
            .map(|sample| sample.tokens as f64 / sample.seconds);
        let metric = Metric::repeated(&name(key), "tokens/s", Better::Higher, rates.collect());
        let tokens = samples.first().map(|sample| sample.tokens as f64);
        match floor.zip(tokens) {
            Some((floor, tokens)) => metric.with_limit(tokens / floor),
            None => metric,
        }
    };
    let mut metrics: Vec<Metric> = keys.iter().map(of_engine).collect();
    let ratios: Vec<f64> = row.rounds.iter().filter_map(Round::ratio).collect();
    if !ratios.is_empty() {
        let ratio = Metric::repeated(&name("ratio"), "×", Better::Higher, ratios);
        metrics.push(ratio);
    }
    metrics
}

fn warnings(row: &RowResults, widest: f64) -> Vec<String> {
    let summary = row.summary(widest);
    let disturbed = row.disturbed.len();
    let told = [
        (!summary.is_sharp && summary.rounds > 0)
            .then(|| "the median lies in too wide an interval to be reported".to_owned()),
        (!summary.agree)
            .then(|| "the engines differ in the likeliest token after the last row".to_owned()),
        (disturbed > 0).then(|| format!("{disturbed} more rounds were disturbed by others")),
        row.failure
            .as_ref()
            .map(|failure| format!("failed: {failure}")),
    ];
    let told = told.into_iter().flatten();
    told.map(|what| format!("{}/{}: {what}", row.row, row.model))
        .collect()
}

#[cfg(test)]
mod tests {
    use carnot_record::Record;

    use super::super::results;
    use super::*;

    #[test]
    fn every_kept_run_is_a_record_of_what_its_rounds_say() {
        for path in results::kept().unwrap() {
            let run = Results::read(&path).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let record = BenchRecord::from_json(&text).unwrap();
            assert_eq!(record, of(&run).unwrap(), "{}", path.display());
            let rounds: usize = run.rows.iter().map(|row| row.rounds.len()).sum();
            let ratios = record
                .metrics
                .iter()
                .filter(|metric| metric.name.ends_with("/ratio"));
            let values: usize = ratios.map(|metric| metric.values.len()).sum();
            assert_eq!(values, rounds, "a ratio for each round");
            for row in &run.rows {
                let Some(expected) = row.summary(run.widest).ratio else {
                    continue;
                };
                let name = format!("{}/{}/ratio", row.row, row.model);
                let told = record.metric(&name).unwrap();
                let least = told.values.iter().copied().fold(f64::INFINITY, f64::min);
                assert_eq!(least, expected.low, "{name}");
            }
        }
    }

    #[test]
    fn a_time_is_seconds_from_1970() {
        assert_eq!(unix_s("1970-01-02T00:01:05Z"), Some(86_465));
        let now = 1_790_000_000;
        assert_eq!(unix_s(&Utc::of(now).to_string()), Some(now));
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T05:40:00",
            "2026-13-22T05:40:00Z",
        ] {
            assert_eq!(unix_s(text), None, "{text}");
        }
    }
}
