//! `carnot bench cache`: prompts that share beginnings, some more often than others, through a prefix cache that cannot keep all.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use carnot_bench::Dice;
use carnot_engine::{Event, TextEngine, TextRequest, Usage};
use carnot_llm::scheduler::Policy;
use carnot_llm::{CacheSize, EngineOptions, LlmEngine};
use carnot_record::{BenchRecord, Better, Metric, Series};
use carnot_samplers::cores;
use carnot_statistics::Reuse;

use super::results::{self, Beginning};
use super::stamp;
use crate::cli::CacheArguments;
use crate::printer::{Printer, Unit};
use crate::{interrupt, model_source};

/// Tokens that special meanings may have: not used in prompts.
const FIRST_TOKEN: usize = 300;
/// Points of the curve of miss ratios.
const CURVE: usize = 40;

pub fn execute(arguments: &CacheArguments, printer: &Printer) -> anyhow::Result<ExitCode> {
    results::give(&measure(arguments, printer)?, &arguments.result, printer)
}

/// A request, and what came of it.
struct Asked {
    prefix: usize,
    first_s: f64,
    usage: Usage,
}

fn measure(arguments: &CacheArguments, printer: &Printer) -> anyhow::Result<BenchRecord> {
    let beginning = Beginning::of("cache");
    interrupt::listen();
    let CacheArguments {
        prefixes,
        prefix_tokens,
        own_tokens,
        tokens,
        ..
    } = *arguments;
    let room = arguments
        .cache_tokens
        .unwrap_or(prefixes * prefix_tokens / 2);
    // A request that runs needs its place beside what is kept.
    let running = prefix_tokens + own_tokens + tokens + 128;
    let mut engine = load(arguments, room.max(running), printer)?;
    let vocabulary = engine.model().vocabulary;
    anyhow::ensure!(
        vocabulary > 2 * FIRST_TOKEN,
        "expected a vocabulary of more than {} tokens, got {vocabulary}",
        2 * FIRST_TOKEN
    );
    let mut dice = Dice(arguments.seed);
    let mut draw = |count: usize| -> Vec<u32> {
        let span = vocabulary - FIRST_TOKEN;
        let token = |_| (FIRST_TOKEN + (dice.uniform() * span as f64) as usize).min(vocabulary - 1);
        (0..count).map(token).map(|token| token as u32).collect()
    };
    let shared: Vec<Vec<u32>> = (0..prefixes).map(|_| draw(prefix_tokens)).collect();
    let owns: Vec<Vec<u32>> = (0..arguments.requests).map(|_| draw(own_tokens)).collect();
    let mut choice = Choice::new(prefixes, arguments.skew, !arguments.seed);
    let bar = printer.progress("requests", Unit::Steps);
    bar.set_length(arguments.requests as u64);
    let begin = Instant::now();
    let mut asked = Vec::new();
    for own in &owns {
        let prefix = choice.draw();
        let prompt = [shared[prefix].as_slice(), own].concat();
        asked.push(ask(&mut engine, prompt, tokens, prefix, begin)?);
        bar.inc(1);
        anyhow::ensure!(!interrupt::asked(), "interrupted; nothing was written");
    }
    bar.finish_and_clear();
    let wall_s = begin.elapsed().as_secs_f64();
    let threads = arguments
        .model
        .compute
        .threads
        .map_or_else(cores::usable, usize::from);
    let mut record = BenchRecord {
        model: Some(model_source::summary(engine.model())),
        machine: stamp::here(threads),
        conditions: conditions(arguments, room),
        ..beginning.record()
    };
    tell(&asked, arguments, room, wall_s, &mut record);
    Ok(record)
}

fn load(arguments: &CacheArguments, room: usize, printer: &Printer) -> anyhow::Result<LlmEngine> {
    let model = &arguments.model;
    let (options, _) = model_source::options(&model.compute, model.context, printer);
    let options = EngineOptions {
        cache: CacheSize::Tokens(room),
        policy: Policy {
            prefix_cache: true,
            ..Policy::default()
        },
        ..options
    };
    model_source::load_with(model.model.as_deref(), &options, printer)
}

fn ask(
    engine: &mut LlmEngine,
    prompt: Vec<u32>,
    tokens: usize,
    prefix: usize,
    begin: Instant,
) -> anyhow::Result<Asked> {
    let since = Instant::now();
    let request = TextRequest {
        prompt,
        max_tokens: tokens,
        ignore_eos: true,
        ..TextRequest::default()
    };
    engine.submit(request, begin.elapsed())?;
    let (mut events, mut first_s) = (Vec::new(), None);
    loop {
        engine.step(begin.elapsed(), &mut events)?;
        for event in events.drain(..) {
            match event {
                Event::Token { .. } => {
                    first_s.get_or_insert_with(|| since.elapsed().as_secs_f64());
                }
                Event::Finished { usage, .. } => {
                    let first_s = first_s.unwrap_or_else(|| since.elapsed().as_secs_f64());
                    return Ok(Asked {
                        prefix,
                        first_s,
                        usage,
                    });
                }
                _ => {}
            }
        }
    }
}

/// Draws prefixes, the k-th as often as 1/k to a power.
struct Choice {
    /// Shares, added up.
    reached: Vec<f64>,
    dice: Dice,
}

impl Choice {
    fn new(count: usize, skew: f64, seed: u64) -> Self {
        let weights: Vec<f64> = (1..=count).map(|rank| (rank as f64).powf(-skew)).collect();
        let total: f64 = weights.iter().sum();
        let reached = weights.iter().scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        });
        Self {
            reached: reached.collect(),
            dice: Dice(seed),
        }
    }

    fn draw(&mut self) -> usize {
        let drawn = self.dice.uniform();
        let index = self.reached.partition_point(|&reached| reached < drawn);
        index.min(self.reached.len() - 1)
    }
}

fn conditions(arguments: &CacheArguments, room: usize) -> BTreeMap<String, String> {
    let told = [
        ("prefixes", arguments.prefixes.to_string()),
        ("prefix-tokens", arguments.prefix_tokens.to_string()),
        ("own-tokens", arguments.own_tokens.to_string()),
        ("tokens", arguments.tokens.to_string()),
        ("requests", arguments.requests.to_string()),
        ("skew", arguments.skew.to_string()),
        ("cache-tokens", room.to_string()),
        ("seed", arguments.seed.to_string()),
    ];
    told.map(|(name, value)| (name.to_owned(), value)).into()
}

fn tell(
    asked: &[Asked],
    arguments: &CacheArguments,
    room: usize,
    wall_s: f64,
    record: &mut BenchRecord,
) {
    let prefix_tokens = arguments.prefix_tokens;
    let is_hit = |one: &&Asked| 2 * one.usage.cached_tokens >= prefix_tokens;
    let sum = |of: fn(&Asked) -> usize| asked.iter().map(of).sum::<usize>() as f64;
    let (prompt, cached) = (
        sum(|one| one.usage.prompt_tokens),
        sum(|one| one.usage.cached_tokens),
    );
    let firsts = |hits: bool| {
        let those = asked.iter().filter(|one| is_hit(one) == hits);
        those.map(|one| one.first_s).collect::<Vec<f64>>()
    };
    let (hits, misses) = (firsts(true), firsts(false));
    let count = asked.len().max(1) as f64;
    // No cache has what was never asked before, and nobody keeps what follows the prefix.
    let reuse = Reuse::of(asked.iter().map(|one| one.prefix));
    let possible = 1.0 - reuse.miss_ratio(usize::MAX);
    let kept = room / prefix_tokens;
    let ideal = 1.0 - reuse.miss_ratio(kept);
    let ratio = hits.len() as f64 / count;
    record.metrics = vec![
        Metric::repeated("hit_ratio", "share", Better::Higher, vec![ratio]).with_limit(possible),
        Metric::repeated(
            "hit_ratio_of_tokens",
            "share",
            Better::Higher,
            vec![cached / prompt.max(1.0)],
        ),
        Metric::repeated(
            "requests",
            "requests/s",
            Better::Higher,
            vec![count / wall_s],
        ),
        Metric::repeated(
            "prompt_tokens",
            "tokens/s",
            Better::Higher,
            vec![prompt / wall_s],
        ),
        Metric::latencies("first_token_of_a_hit", hits),
        Metric::latencies("first_token_of_a_miss", misses),
    ];
    if ideal > 0.0 {
        // Whole prefixes of which the last used are kept; what follows them takes places too.
        let share = vec![ratio / ideal];
        record.metrics.push(Metric::repeated(
            "of_a_cache_of_whole_prefixes",
            "share",
            Better::Higher,
            share,
        ));
    }
    record.metrics.retain(|metric| !metric.values.is_empty());
    let figures = [
        ("cache_hit_ratio", ratio),
        ("cache_miss_ratio", 1.0 - ratio),
        ("throughput_rps", count / wall_s),
    ];
    record.summary = figures.map(|(name, value)| (name.to_owned(), value)).into();
    let most = arguments.prefixes;
    let sizes = (0..=CURVE.min(most)).map(|index| index * most / CURVE.min(most).max(1));
    let line = |name: &str, points: Vec<[f64; 2]>| Series {
        plot: "Misses over the size of the cache".to_owned(),
        name: name.to_owned(),
        x: "tokens, ".to_owned(),
        y: "miss ratio, share".to_owned(),
        points,
    };
    let predicted = sizes.map(|size| [(size * prefix_tokens) as f64, reuse.miss_ratio(size)]);
    record.series = vec![
        line("whole prefixes, the last used kept", predicted.collect()),
        line("measured", vec![[room as f64, 1.0 - ratio]]),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_asked_for_more_often() {
        let mut choice = Choice::new(8, 1.0, 1);
        let mut counts = [0_usize; 8];
        (0..20_000).for_each(|_| counts[choice.draw()] += 1);
        let total: f64 = (1..=8).map(|rank| 1.0 / f64::from(rank)).sum();
        for (rank, count) in (1..).zip(counts) {
            let expected = 20_000.0 / f64::from(rank) / total;
            let off = (count as f64 - expected).abs();
            assert!(off < 5.0 * expected.sqrt(), "{rank}: {count} of {expected}");
        }
        let mut even = Choice::new(2, 0.0, 1);
        assert!((0..100).any(|_| even.draw() == 1));
    }
}
