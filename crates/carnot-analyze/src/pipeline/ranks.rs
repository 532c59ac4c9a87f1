//! Several processes of one run, side by side: who is slow, who waits for whom, and whether the work is shared out evenly.

use std::collections::BTreeMap;

use carnot_record::SpanKind;
use serde::Serialize;

use super::{Finding, PipelineAnalysis, Priority};
use crate::statistics::ratio;

/// A rank whose own work takes this much longer than the median of all is a straggler.
const STRAGGLES: f64 = 1.1;

/// All ranks of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ranks {
    /// How many there should be.
    pub world_size: u32,
    /// Those that there are, by rank.
    pub ranks: Vec<RankRow>,
    /// Every stage over all ranks.
    pub stages: Vec<StageOfRanks>,
    /// The mean of the ranks' own work over the most of them: 1 is even.
    pub balance: f64,
    /// Stragglers, ranks that are missing or there twice.
    pub findings: Vec<Finding>,
    /// What is doubtful.
    pub warnings: Vec<String>,
}

/// A rank.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankRow {
    /// Its number.
    pub rank: u32,
    /// Where it ran.
    pub host: String,
    /// Its wall.
    pub wall_ns: u64,
    /// Time in collectives and other waiting, on its main thread.
    pub wait_ns: u64,
    /// The wall without that.
    pub work_ns: u64,
    /// What came of it.
    pub items: u64,
    /// `work_ns` over the median of all ranks.
    pub over_median: f64,
    /// How far its clock is ahead of that of rank 0; taken off its times in the merged timeline.
    pub clock_ahead_ns: i64,
    /// How it ended.
    pub outcome: String,
}

/// A stage over all ranks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageOfRanks {
    /// Its name.
    pub name: String,
    /// The least of the ranks' totals.
    pub min_ns: u64,
    /// The most.
    pub max_ns: u64,
    /// Their mean.
    pub mean_ns: f64,
    /// Their sum.
    pub sum_ns: u64,
    /// The rank with the most.
    pub slowest: u32,
}

/// Puts ranks side by side. `ahead`: how far each clock is ahead of the first one's.
pub fn ranks(runs: &[PipelineAnalysis], ahead: &[i64]) -> Ranks {
    let world_size = runs
        .iter()
        .filter_map(|run| run.session.rank)
        .map(|rank| rank.world_size)
        .max();
    let mut out = Ranks {
        world_size: world_size.unwrap_or(runs.len() as u32),
        ..Ranks::default()
    };
    for (at, run) in runs.iter().enumerate() {
        let rank = run.session.rank.map_or(at as u32, |rank| rank.rank);
        let wait: i64 = run
            .losses
            .iter()
            .filter(|loss| loss.name == "wait")
            .map(|loss| loss.ns)
            .sum();
        let wait_ns = wait.max(0).cast_unsigned();
        out.ranks.push(RankRow {
            rank,
            host: run.session.host.clone(),
            wall_ns: run.wall_ns,
            wait_ns,
            work_ns: run.wall_ns.saturating_sub(wait_ns),
            items: run.items,
            over_median: 0.0,
            clock_ahead_ns: ahead.get(at).copied().unwrap_or(0),
            outcome: match &run.session.outcome {
                None => "did not end in order".to_owned(),
                Some(carnot_record::Outcome::Completed) => "completed".to_owned(),
                Some(carnot_record::Outcome::Failed(why)) => format!("failed: {why}"),
            },
        });
    }
    out.ranks.sort_by_key(|row| row.rank);
    whole(&mut out);
    compare(&mut out);
    out.stages = stages(runs);
    stragglers(&mut out);
    out.findings.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    out
}

/// Every rank must be there once.
fn whole(out: &mut Ranks) {
    let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
    out.ranks
        .iter()
        .for_each(|row| *seen.entry(row.rank).or_default() += 1);
    for rank in (0..out.world_size).filter(|rank| !seen.contains_key(rank)) {
        out.warnings.push(format!(
            "rank {rank} of {} is missing; figures of all ranks are without it",
            out.world_size
        ));
    }
    for (rank, times) in seen.iter().filter(|(_, times)| **times > 1) {
        out.warnings.push(format!(
            "rank {rank} is there {times} times; sums count it as often"
        ));
    }
    for (rank, _) in seen.range(out.world_size..) {
        out.warnings.push(format!(
            "rank {rank} is there, but there are only {} by what they say",
            out.world_size
        ));
    }
}

fn compare(out: &mut Ranks) {
    let mut work: Vec<u64> = out.ranks.iter().map(|row| row.work_ns).collect();
    work.sort_unstable();
    let Some(&most) = work.last() else {
        return;
    };
    let median = work[(work.len() - 1) / 2] as f64;
    for row in &mut out.ranks {
        row.over_median = ratio(row.work_ns as f64, median);
    }
    let mean = work.iter().sum::<u64>() as f64 / work.len() as f64;
    out.balance = ratio(mean, most as f64);
}

fn stages(runs: &[PipelineAnalysis]) -> Vec<StageOfRanks> {
    let mut totals: BTreeMap<&str, Vec<(u32, u64)>> = BTreeMap::new();
    for (at, run) in runs.iter().enumerate() {
        let rank = run.session.rank.map_or(at as u32, |rank| rank.rank);
        for stage in run
            .stages
            .iter()
            .filter(|stage| stage.kind != SpanKind::Layer)
        {
            totals
                .entry(&stage.name)
                .or_default()
                .push((rank, stage.time.total_ns));
        }
    }
    let mut rows: Vec<StageOfRanks> = totals
        .into_iter()
        .map(|(name, of)| {
            let sum_ns: u64 = of.iter().map(|(_, ns)| ns).sum();
            let most = of
                .iter()
                .max_by_key(|(_, ns)| *ns)
                .copied()
                .unwrap_or_default();
            StageOfRanks {
                name: name.to_owned(),
                min_ns: of.iter().map(|(_, ns)| *ns).min().unwrap_or(0),
                max_ns: most.1,
                mean_ns: sum_ns as f64 / of.len() as f64,
                sum_ns,
                slowest: most.0,
            }
        })
        .collect();
    rows.sort_by(|a, b| b.sum_ns.cmp(&a.sum_ns).then_with(|| a.name.cmp(&b.name)));
    rows
}

fn stragglers(out: &mut Ranks) {
    for row in out.ranks.iter().filter(|row| row.over_median > STRAGGLES) {
        let slow = out
            .stages
            .iter()
            .filter(|stage| stage.slowest == row.rank && stage.max_ns > stage.min_ns);
        let most = slow.max_by_key(|stage| stage.max_ns - stage.min_ns);
        let stage = most.map_or_else(String::new, |stage| {
            format!(
                ", most of it in {} ({:.1} ms against {:.1} of the fastest)",
                stage.name,
                stage.max_ns as f64 / 1e6,
                stage.min_ns as f64 / 1e6
            )
        });
        let issue = format!(
            "rank {} works {:.0} % longer than the median rank{stage}; the others wait for it",
            row.rank,
            100.0 * (row.over_median - 1.0)
        );
        out.findings.push(Finding {
            category: "ranks".to_owned(),
            priority: Priority::High,
            issue,
            suggestion: "look at that machine and its share of the work".to_owned(),
            weight: 100.0 * row.over_median,
        });
    }
}
