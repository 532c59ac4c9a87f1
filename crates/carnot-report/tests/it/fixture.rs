//! A realistic trace without a machine: a small Llama, two threads, 128 tokens of prefill and 32 steps of decode.
//!
//! Times come from the work and the ceilings of an invented machine with a fixed pseudo-random spread, so that every run
//! gives the same trace.

use carnot_record::{
    Arithmetic, BandwidthCurve, BandwidthPoint, Cpu, Flow, Instant, MachineProfile, MemoryEvent,
    ModelSummary, Peaks, ProbeCost, Site, Span, SpanKind, Thread, Trace,
};

const WIDTH: u64 = 256;
const FEED_FORWARD: u64 = 768;
const VOCABULARY: u64 = 4_096;
const LAYERS: u32 = 6;
const PREFILL: u64 = 128;
const STEPS: u64 = 32;
/// All weights are gone through in each step.
const WORKING_SET: u64 = 6_200_000;

pub fn model() -> ModelSummary {
    ModelSummary {
        name: "embedded".into(),
        architecture: "llama".into(),
        parameters: 5_800_000,
        file_type: "Q8_0".into(),
        bytes: 6_200_000,
    }
}

pub fn run() -> carnot_analyze::RunInfo {
    carnot_analyze::RunInfo {
        model: model(),
        threads: 2,
        instructions: "AVX-512 VNNI".into(),
        files: vec![
            "carnot-out/trace.pftrace".into(),
            "carnot-out/report.html".into(),
        ],
        ..Default::default()
    }
}

pub fn machine() -> MachineProfile {
    let curve = |threads, scale: f64| BandwidthCurve {
        threads,
        points: [
            (32 << 10, 310e9),
            (1 << 20, 160e9),
            (4 << 20, 92e9),
            (16 << 20, 48e9),
            (64 << 20, 31e9),
            (256 << 20, 25e9),
        ]
        .map(|(bytes, rate)| BandwidthPoint {
            bytes,
            bytes_per_s: rate * scale,
        })
        .to_vec(),
    };
    MachineProfile {
        fingerprint: "fixture".into(),
        cpu: Cpu {
            model: "Invented CPU @ 2.0 GHz".into(),
            logical_cores: 2,
            ..Cpu::default()
        },
        threads: 2,
        bandwidth: vec![curve(1, 0.55), curve(2, 1.0)],
        peaks: vec![Peaks {
            threads: 2,
            int8_ops_per_s: 1.1e12,
            f32_flops: 330e9,
            bf16_flops: 160e9,
        }],
        ..MachineProfile::default()
    }
}

pub fn analysis() -> carnot_analyze::Analysis {
    carnot_analyze::analyze(&trace(), &machine(), &run())
}

pub fn trace() -> Trace {
    let mut writer = Writer::default();
    writer.run();
    writer.finish()
}

#[derive(Default)]
struct Writer {
    trace: Trace,
    now_ns: u64,
    sequence: u64,
    random: u64,
}

struct Work {
    name: &'static str,
    flops: u64,
    bytes: u64,
    arithmetic: Arithmetic,
    /// How far from the floor the kernel is.
    slowness: f64,
}

impl Writer {
    fn run(&mut self) {
        self.memory("weights", 6_200_000);
        let load = self.open("load", SpanKind::Phase, None);
        self.pass(2_600_000.0);
        self.close(load);
        self.memory("kv_cache", 3_145_728);
        let tokenize = self.open("tokenize", SpanKind::Phase, None);
        self.pass(240_000.0);
        self.close(tokenize);
        let prefill = self.open("prefill", SpanKind::Phase, None);
        self.memory("arena", 1_900_000);
        self.step(prefill, PREFILL, PREFILL);
        self.memory("arena", -1_700_000);
        self.close(prefill);
        let decode = self.open("decode", SpanKind::Phase, None);
        for step in 0..STEPS {
            self.step(decode, 1, PREFILL + step + 1);
        }
        self.memory("arena", -200_000);
        self.close(decode);
    }

    fn step(&mut self, phase: u32, tokens: u64, context: u64) {
        let step = self.open("step", SpanKind::Step, Some(phase));
        self.trace.spans[step as usize].tokens = tokens;
        self.engine(step, "schedule", 900.0);
        for layer in 0..LAYERS {
            for work in layer_work(tokens, context) {
                self.operation(step, Some(layer), &work, tokens);
            }
        }
        self.operation(
            step,
            None,
            &matmul("matmul q8_0 output", 1, WIDTH, VOCABULARY),
            tokens,
        );
        self.engine(step, "sampling", 14_000.0);
        self.engine(step, "detokenise", 2_300.0);
        self.trace.instants.push(Instant {
            name: "token".into(),
            thread: 0,
            time_ns: self.now_ns,
        });
        self.close(step);
    }

    fn operation(&mut self, step: u32, layer: Option<u32>, work: &Work, tokens: u64) {
        self.pass(70.0);
        self.sequence += 1;
        let machine = machine();
        let memory = work.bytes as f64 / machine.bandwidth(2, WORKING_SET);
        let compute = work.flops as f64 / machine.peak(2, work.arithmetic);
        // Prefill has enough work to hide the start; decode does not.
        let start = if tokens > 1 { 1_500.0 } else { 260.0 };
        let busy = memory.max(compute) * 1e9 * work.slowness + start;
        let (main, worker) = (busy * self.spread(), busy * self.spread());
        let begin = self.now_ns;
        let index = self.open(work.name, SpanKind::Operation, Some(step));
        self.trace.spans[index as usize] = Span {
            layer,
            sequence: Some(self.sequence),
            tokens,
            flops: work.flops,
            bytes: work.bytes,
            working_set_bytes: WORKING_SET,
            arithmetic: work.arithmetic,
            ..self.trace.spans[index as usize]
        };
        let worker_end = begin + 300 + worker as u64;
        self.now_ns = begin + main as u64;
        self.close(index);
        let wait = self.open("barrier", SpanKind::Wait, Some(step));
        self.now_ns = self.now_ns.max(worker_end) + 250;
        self.trace.spans[wait as usize].sequence = Some(self.sequence);
        self.close(wait);
        self.worker(work.name, layer, begin + 300, worker_end);
    }

    fn worker(&mut self, name: &str, layer: Option<u32>, start_ns: u64, end_ns: u64) {
        let sequence = Some(self.sequence);
        let site = self.site(name, SpanKind::Operation);
        let span = Span {
            thread: 1,
            layer,
            sequence,
            start_ns,
            end_ns,
            site,
            ..Span::default()
        };
        let site = self.site("barrier", SpanKind::Wait);
        let wait = Span {
            start_ns: end_ns,
            end_ns: self.now_ns,
            site,
            layer: None,
            ..span
        };
        self.trace.spans.extend([span, wait]);
    }

    fn engine(&mut self, step: u32, name: &str, ns: f64) {
        let index = self.open(name, SpanKind::Engine, Some(step));
        self.pass(ns);
        self.close(index);
    }

    fn open(&mut self, name: &str, kind: SpanKind, parent: Option<u32>) -> u32 {
        let site = self.site(name, kind);
        self.trace.spans.push(Span {
            site,
            parent,
            start_ns: self.now_ns,
            ..Span::default()
        });
        self.trace.spans.len() as u32 - 1
    }

    fn close(&mut self, index: u32) {
        self.trace.spans[index as usize].end_ns = self.now_ns;
    }

    fn site(&mut self, name: &str, kind: SpanKind) -> u32 {
        let known = self.trace.sites.iter().position(|site| site.name == name);
        known.unwrap_or_else(|| {
            let (name, file) = (
                name.to_owned(),
                "crates/carnot-llm/src/forward.rs".to_owned(),
            );
            self.trace.sites.push(Site {
                name,
                kind,
                file,
                line: 1,
            });
            self.trace.sites.len() - 1
        }) as u32
    }

    fn memory(&mut self, owner: &str, bytes: i64) {
        let time_ns = self.now_ns;
        self.trace.memory.push(MemoryEvent {
            time_ns,
            owner: owner.into(),
            bytes,
            id: None,
        });
    }

    fn pass(&mut self, ns: f64) {
        self.now_ns += (ns * self.spread()) as u64;
    }

    /// Between 1 and 1.2, seldom more: xorshift, seeded with a constant.
    fn spread(&mut self) -> f64 {
        self.random ^= 0x9e37_79b9_7f4a_7c15;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let uniform = (self.random >> 11) as f64 / (1_u64 << 53) as f64;
        1.0 + 0.2 * uniform + if uniform > 0.995 { 0.8 } else { 0.0 }
    }

    fn finish(mut self) -> Trace {
        let thread = |id, name: &str| Thread {
            id,
            name: name.into(),
            ..Thread::default()
        };
        self.trace.threads = vec![thread(0, "main"), thread(1, "worker 1")];
        self.trace.flows = vec![Flow {
            id: 1,
            from: 1,
            to: 2,
        }];
        self.trace.duration_ns = self.now_ns;
        let events = self.trace.spans.len() as u64;
        self.trace.cost = ProbeCost {
            events,
            dropped: 0,
            span_ns: 28.0,
            recorded_span_ns: 0.0,
            clock_read_ns: 11.0,
            total_ns: events * 28,
        };
        self.trace
    }
}

fn layer_work(tokens: u64, context: u64) -> Vec<Work> {
    let attention_bytes = 2 * context * WIDTH / 2 * 2;
    vec![
        elementwise("rms_norm attention", tokens),
        matmul("matmul q8_0 attn_qkv", tokens, WIDTH, 2 * WIDTH),
        elementwise("rope", tokens),
        Work {
            name: "attention f16",
            flops: 4 * tokens * context * WIDTH / if tokens > 1 { 2 } else { 1 },
            bytes: attention_bytes,
            arithmetic: Arithmetic::F32,
            slowness: 2.4,
        },
        matmul("matmul q8_0 attn_output", tokens, WIDTH, WIDTH),
        elementwise("rms_norm feed_forward", tokens),
        matmul("matmul q8_0 ffn_gate_up", tokens, WIDTH, 2 * FEED_FORWARD),
        matmul("matmul q8_0 ffn_down", tokens, FEED_FORWARD, WIDTH),
    ]
}

fn matmul(name: &'static str, tokens: u64, inputs: u64, outputs: u64) -> Work {
    let slowness = if tokens > 1 { 2.3 } else { 1.25 };
    let bytes = inputs * outputs * 34 / 32 + tokens * 4 * (inputs + outputs);
    Work {
        name,
        flops: 2 * tokens * inputs * outputs,
        bytes,
        arithmetic: Arithmetic::Int8,
        slowness,
    }
}

fn elementwise(name: &'static str, tokens: u64) -> Work {
    let (flops, bytes) = (4 * tokens * WIDTH, 8 * tokens * WIDTH);
    Work {
        name,
        flops,
        bytes,
        arithmetic: Arithmetic::F32,
        slowness: 1.6,
    }
}
