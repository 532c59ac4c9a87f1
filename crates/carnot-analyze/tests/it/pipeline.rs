//! A session of a video pipeline, event by event: the sections add up, and a planted fault is the first finding.

use carnot_analyze::pipeline::{About, Collector, PipelineAnalysis, View, ranks};
use carnot_record::trace_file::{EventKind, EventSite, Occurrence, SpanTimes};
use carnot_record::{Arithmetic, CacheOutcome, Outcome, Rank, Session, SpanKind};
use proptest::collection::vec;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

/// What is wrong with a run.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Nothing,
    Leak,
    Thrash,
    Drops,
    SlowLayer,
    SlowRank,
}

struct Run {
    collector: Collector,
    sites: Vec<EventSite>,
    now: u64,
}

impl Run {
    fn new(view: View) -> Self {
        Self {
            collector: Collector::new(view),
            sites: Vec::new(),
            now: 5 * MS,
        }
    }

    fn event(&mut self, name: &str, kind: EventKind, occurrence: Occurrence) {
        let known = self
            .sites
            .iter()
            .position(|site| site.name == name && site.kind == kind);
        let number = known.unwrap_or_else(|| {
            let (file, line) = (String::new(), 0);
            self.sites.push(EventSite {
                name: name.to_owned(),
                kind,
                file,
                line,
            });
            self.sites.len() - 1
        });
        let site = self.sites[number].clone();
        self.collector.take(&site, number as u32, occurrence);
    }

    /// A span from `start` until now.
    fn end(&mut self, name: &str, kind: SpanKind, start_ns: u64, index: Option<u32>, items: u32) {
        let times = SpanTimes {
            thread: 0,
            start_ns,
            end_ns: self.now,
        };
        let span = Occurrence::Span {
            times,
            index,
            items,
            flops: 0,
            bytes: 0,
            working_set_bytes: 0,
            sequence: None,
            request: None,
        };
        self.event(name, EventKind::Span(kind, Arithmetic::None), span);
    }

    fn work(&mut self, name: &str, kind: SpanKind, ns: u64, index: Option<u32>) {
        let start = self.now;
        self.now += ns;
        self.end(name, kind, start, index, 0);
    }

    fn memory(&mut self, bytes: i64) {
        let taken = Occurrence::Memory {
            time_ns: self.now,
            bytes,
            id: None,
        };
        self.event("bank", EventKind::Memory, taken);
    }
}

impl Run {
    /// Four steps of six layers, and what goes wrong in a block.
    fn denoise(&mut self, block: u32, fault: Fault, rank: Option<u32>) {
        for step in 0..4 {
            let start = self.now;
            for layer in 0..6_u32 {
                let is_slow = fault == Fault::SlowLayer && layer == 4;
                let slower = if is_slow { 1.3 } else { 1.0 };
                let noise = (block * 7 + step * 3 + layer) % 5;
                let ns = MS as f64 * slower + f64::from(noise) * 1000.0;
                let name = format!("blocks.{layer}.attention");
                self.work(&name, SpanKind::Layer, ns as u64, Some(layer));
            }
            self.end("denoise", SpanKind::Step, start, Some(step), 0);
        }
        let is_slow = fault == Fault::SlowRank && rank == Some(2);
        self.now += if is_slow { 6 * MS } else { 0 };
        if rank.is_some() {
            let ns = if rank == Some(2) { MS } else { 2 * MS };
            self.work("all_reduce", SpanKind::Wait, ns, None);
        }
    }

    /// What is taken and given back, and four look-ups among nine entries.
    fn remember(&mut self, block: u32, is_cold: bool, fault: Fault) {
        self.memory(64 << 10);
        let kept = if fault == Fault::Leak { 1024 } else { 0 };
        self.memory(kept - (64 << 10));
        self.work("memory_bank", SpanKind::Stage, MS / 2, None);
        let time_ns = self.now;
        for look_up in 0..4_u64 {
            let key = Some(1 + (u64::from(block) * 4 + look_up) % 9);
            let is_miss = fault == Fault::Thrash || is_cold;
            let outcome = [CacheOutcome::Hit, CacheOutcome::Miss][usize::from(is_miss)];
            self.look_up(time_ns, outcome, key);
            if fault == Fault::Thrash {
                self.look_up(time_ns, CacheOutcome::Evict, None);
            }
        }
    }

    fn look_up(&mut self, time_ns: u64, outcome: CacheOutcome, key: Option<u64>) {
        let bytes = 10;
        let event = Occurrence::Cache {
            time_ns,
            outcome,
            key,
            bytes,
        };
        self.event("frames", EventKind::Cache, event);
    }

    fn deliver(&mut self, index: u32, prompt: u32) {
        let frame = Occurrence::Frame {
            time_ns: self.now,
            index,
            count: 3,
            generate_ns: 25 * MS,
            encode_ns: MS,
            send_ns: 0,
            bytes: 1000,
            occupancy: Some(2),
            prompt: Some(prompt),
        };
        self.event("video", EventKind::Frame, frame);
    }
}

/// Two prompts of twenty blocks: a language model each prompt, steps and a memory step each block, then decoding.
fn session(fault: Fault, rank: Option<u32>) -> PipelineAnalysis {
    let mut run = Run::new(View {
        playback_fps: Some(16.0),
        ..View::default()
    });
    run.work("initialization", SpanKind::Stage, 20 * MS, None);
    for prompt in 0..2_u32 {
        let begun = run.now;
        run.work("llm_agent", SpanKind::Stage, 3 * MS, None);
        for block in 0..20_u32 {
            let start = run.now;
            run.denoise(block, fault, rank);
            run.remember(block, prompt == 0 && block < 3, fault);
            let number = prompt * 20 + block;
            run.end("block", SpanKind::Block, start, Some(number), 3);
            run.deliver(number * 3, prompt);
            if fault == Fault::Drops && block % 7 == 6 {
                let time_ns = run.now;
                let dropped = Occurrence::DroppedFrames { time_ns, count: 1 };
                run.event("video", EventKind::Frame, dropped);
            }
        }
        run.end("diffusion", SpanKind::Stage, begun, None, 0);
        run.work("vae_decoding", SpanKind::Stage, 90 * MS, None);
        run.end("prompt", SpanKind::Prompt, begun, Some(prompt), 0);
        run.now += 2 * MS;
    }
    let world_size = 4;
    let local_rank = 0;
    let session = Session {
        unit: "frames".to_owned(),
        rank: rank.map(|rank| Rank {
            rank,
            world_size,
            local_rank,
        }),
        outcome: Some(Outcome::Completed),
        ..Session::default()
    };
    run.collector.finish(About {
        session,
        sites: run.sites,
        ..About::default()
    })
}

#[test]
fn the_sections_add_up() {
    let found = session(Fault::Nothing, None);
    assert_eq!(
        found.overall.iter().map(|part| part.ns).sum::<u64>(),
        found.wall_ns
    );
    let names: Vec<&str> = found
        .overall
        .iter()
        .map(|part| part.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "diffusion",
            "vae_decoding",
            "initialization",
            "outside of stages"
        ]
    );
    assert!((found.overall.iter().map(|part| part.share).sum::<f64>() - 1.0).abs() < 1e-9);
    assert_eq!(found.items, 120, "a frame is counted once");
    assert!((found.items_per_s - 120e9 / found.wall_ns as f64).abs() < 1e-9);

    let components = &found.components[0];
    assert_eq!(
        (components.stage.as_str(), components.pure.name.as_str()),
        ("diffusion", "pure diffusion")
    );
    let parts: Vec<(&str, u64)> = components
        .parts
        .iter()
        .map(|part| (part.name.as_str(), part.ns))
        .collect();
    assert_eq!(parts, [("memory_bank", 20 * MS), ("llm_agent", 6 * MS)]);
    assert_eq!(components.pure.ns + 26 * MS, components.ns);

    let kinds: Vec<_> = found
        .iterations
        .iter()
        .map(|of| (of.name.as_str(), of.time.count))
        .collect();
    assert_eq!(kinds, [("prompt", 2), ("block", 40), ("denoise", 160)]);
    let (prompts, blocks) = (&found.iterations[0], &found.iterations[1]);
    assert_eq!(
        prompts.rows[1]
            .components
            .iter()
            .find(|(name, _)| name == "vae_decoding")
            .map(|(_, ns)| *ns),
        Some(90 * MS)
    );
    assert_eq!(
        blocks.rows[7].components,
        [("memory_bank".to_owned(), MS / 2)]
    );
    assert_eq!((blocks.rows[7].index, blocks.rows[7].items), (Some(7), 3));
    let (stage, ns) = blocks.within.clone().expect("blocks lie in a stage");
    assert_eq!((stage.as_str(), ns), ("diffusion", components.ns));
}

fn check(nodes: &[carnot_analyze::pipeline::StageNode]) {
    for node in nodes {
        let within: u64 = node.children.iter().map(|child| child.total_ns).sum();
        assert_eq!(node.self_ns + within, node.total_ns, "{}", node.name);
        check(&node.children);
    }
}

#[test]
fn own_times_and_shares_of_a_parent_add_up() {
    let found = session(Fault::Nothing, None);
    check(&found.tree);
    let own: u64 = found.stages.iter().map(|stage| stage.self_ns).sum();
    // Between the prompts nothing is open.
    assert_eq!(own + 2 * MS, found.wall_ns);
    let losses: i64 = found.losses.iter().map(|loss| loss.ns).sum();
    assert_eq!(losses, found.wall_ns as i64);
}

#[test]
fn streams_are_seen_as_a_viewer_sees_them() {
    let found = session(Fault::Nothing, None);
    let stream = &found.streaming[0];
    assert_eq!(
        (stream.frames, stream.dropped, stream.deliveries),
        (120, 0, 40)
    );
    assert_eq!(stream.prompt_latency.len(), 2);
    // The language model, then a block, which also has its memory step.
    let first = stream.prompt_latency[1].ns;
    assert!((27 * MS..29 * MS).contains(&first), "{first}");
    assert!(
        stream
            .playback
            .is_some_and(|playback| playback.real_time_factor > 1.0 && playback.stalls == 0)
    );
}

#[test]
fn a_planted_fault_is_the_first_finding() {
    let first = |fault| {
        session(fault, None)
            .findings
            .first()
            .map(|found| (found.category.clone(), found.issue.clone()))
    };
    let healthy = session(Fault::Nothing, None);
    assert!(
        healthy
            .findings
            .iter()
            .all(|found| found.priority > carnot_analyze::pipeline::Priority::High),
        "{:?}",
        healthy.findings
    );
    let plants = [
        (Fault::Leak, "memory", "bank grows by 1.00 KiB an iteration"),
        (
            Fault::Thrash,
            "cache",
            "cache frames throws out what is asked for again: 100 %",
        ),
        (
            Fault::Drops,
            "streaming",
            "video gives up 3.2 % of its frames: 4 of 124",
        ),
        (
            Fault::SlowLayer,
            "layers",
            "layer blocks.4.attention takes 30 % longer",
        ),
    ];
    for (fault, category, issue) in plants {
        let (found, told) = first(fault).expect("a finding");
        assert!(
            found == category && told.starts_with(issue),
            "{category}: {found}: {told}"
        );
    }
}

#[test]
fn the_slow_rank_is_found_though_all_take_as_long() {
    let slow = Fault::SlowRank;
    let runs: Vec<_> = (0..4).map(|rank| session(slow, Some(rank))).collect();
    let found = ranks(&runs, &[0; 4]);
    assert!(
        found.findings[0].issue.starts_with("rank 2 works "),
        "{:?}",
        found.findings
    );
    assert_eq!(found.findings.len(), 1);
    assert!(
        found.warnings.is_empty() && found.balance < 0.95,
        "{}",
        found.balance
    );
    let missing = ranks(&runs[1..], &[0; 3]);
    assert_eq!(
        missing.warnings,
        ["rank 0 of 4 is missing; figures of all ranks are without it"]
    );
    let twice: Vec<_> = runs.iter().chain(&runs[3..]).cloned().collect();
    assert_eq!(
        ranks(&twice, &[0; 5]).warnings,
        ["rank 3 is there 2 times; sums count it as often"]
    );
}

#[test]
fn nothing_at_all_is_a_report_too() {
    let found = Collector::new(View::default()).finish(About::default());
    assert_eq!((found.wall_ns, found.items, found.events), (0, 0, 0));
    assert_eq!(
        found.warnings,
        ["the session did not end in order; this is what it had recorded until then"]
    );
}

/// What a thread does: begins a span of a name, ends the innermost, or lets time go by.
fn any_program() -> impl Strategy<Value = Vec<(u8, usize, u64)>> {
    vec((0..3_u8, 0..5_usize, 1..50_u64), 0..80)
}

proptest! {
    /// Own times are counted here moment by moment, and there from spans that come by their ends.
    #[test]
    fn each_moment_is_the_innermost_spans(program in any_program()) {
        let kinds = [SpanKind::Stage, SpanKind::Prompt, SpanKind::Block, SpanKind::Step, SpanKind::Wait];
        let mut run = Run::new(View::default());
        let (mut open, mut own) = (Vec::new(), [0_u64; 5]);
        let begun = run.now;
        for (what, name, ns) in program {
            match what {
                0 => open.push((name, run.now)),
                1 => if let Some((name, start_ns)) = open.pop() {
                    run.end(kinds[name].name(), kinds[name], start_ns, None, 0);
                }
                _ => {
                    if let Some((name, _)) = open.last() {
                        own[*name] += ns;
                    }
                    run.now += ns;
                }
            }
        }
        while let Some((name, start_ns)) = open.pop() {
            run.end(kinds[name].name(), kinds[name], start_ns, None, 0);
        }
        let now = run.now;
        let found = run.collector.finish(About::default());
        prop_assert!(found.wall_ns <= now - begun);
        for (kind, own) in kinds.into_iter().zip(own) {
            let stage = found.stages.iter().find(|stage| stage.kind == kind);
            prop_assert_eq!(stage.map_or(0, |stage| stage.self_ns), own);
        }
        let wait = found.losses.iter().find(|loss| loss.name == "wait");
        prop_assert_eq!(wait.map_or(0, |loss| loss.ns), own[4] as i64);
    }
}
