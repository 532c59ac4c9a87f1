//! Every operation told to the probe: its time on each worker, the wait that ends it, its flops and bytes.
//!
//! Workers never touch the probe. The pool notes when each was busy, and the engine's thread records that for all of them
//! after the join, when the lines that hold the times have come to its cache anyway.

use std::cell::Cell;

use carnot_kernels::{BlockType, Compute, PackedMatrix};
use carnot_probe::{Kind, SiteId, TrackId, clock, is_enabled, nvtx, record_span, site, track};

/// What an operation must compute and move at least.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    pub flops: u64,
    pub bytes: u64,
}

/// The sites of one model's operations.
pub(crate) struct Sites {
    pub embed: SiteId,
    pub norm: SiteId,
    pub qkv: SiteId,
    pub rope: SiteId,
    pub attention: SiteId,
    pub quantize: SiteId,
    pub attention_out: SiteId,
    pub add: SiteId,
    pub gate_up: SiteId,
    pub silu: SiteId,
    pub down: SiteId,
    pub output: SiteId,
}

impl Sites {
    /// Registers the names; `of` gives the type of a layer's q, output, gate and down, and of the last matrix.
    pub fn new([qkv, out, gate_up, down, output]: [&PackedMatrix; 5]) -> Self {
        let float = |name: &str| site(name, Kind::OperationF32);
        let matmul = |matrix: &PackedMatrix, part: &str| {
            let kind = if matrix.layout().is_integer() {
                Kind::OperationInt8
            } else {
                Kind::OperationF32
            };
            site(
                &format!("matmul {} {part}", type_name(matrix.dtype())),
                kind,
            )
        };
        Self {
            embed: float("embed"),
            norm: float("rms_norm"),
            qkv: matmul(qkv, "qkv"),
            rope: float("rope and store"),
            attention: float("attention"),
            quantize: float("quantize"),
            attention_out: matmul(out, "attn_out"),
            add: float("add"),
            gate_up: matmul(gate_up, "gate_up"),
            silu: float("silu_gate"),
            down: matmul(down, "down"),
            output: matmul(output, "output"),
        }
    }
}

fn type_name(dtype: BlockType) -> String {
    dtype.name().to_lowercase()
}

/// Records operations in order, on the engine's thread and on the tracks of the other workers.
pub(crate) struct Recorder {
    wait: SiteId,
    workers: Vec<TrackId>,
    sequence: Cell<u32>,
    working_set_bytes: Cell<u64>,
}

impl Recorder {
    pub fn new(threads: usize) -> Self {
        Self {
            wait: site("wait", Kind::Wait),
            workers: (1..threads)
                .map(|worker| track(&format!("worker {worker}")))
                .collect(),
            sequence: Cell::new(0),
            working_set_bytes: Cell::new(0),
        }
    }

    /// Prepares for a step that goes through `working_set_bytes` of weights and keys and values.
    pub fn begin_step(&self, compute: &Compute, working_set_bytes: u64) {
        compute.pool().set_timing(is_enabled() && clock::is_tsc());
        self.working_set_bytes.set(working_set_bytes);
    }

    /// Runs `operation` and records it. Off: a load and a branch.
    #[inline]
    pub fn operation<R>(
        &self,
        compute: &Compute,
        (site, layer): (SiteId, Option<usize>),
        work: Work,
        operation: impl FnOnce() -> R,
    ) -> R {
        if !is_enabled() {
            return operation();
        }
        let forks = compute.pool().forks();
        let range = nvtx::range(site);
        let start = clock::ticks();
        let result = operation();
        let end = clock::ticks();
        drop(range);
        let parallel = compute.pool().is_timing() && compute.pool().forks() != forks;
        self.record(compute, (site, layer), work, (start, end, parallel));
        result
    }

    fn record(
        &self,
        compute: &Compute,
        (site, layer): (SiteId, Option<usize>),
        work: Work,
        (start, end, parallel): (u64, u64, bool),
    ) {
        let sequence = self.sequence.get();
        self.sequence.set((sequence + 1) & (u32::MAX >> 1));
        let layer = layer.map_or(u32::MAX, |layer| layer as u32);
        let own_end = if parallel {
            compute.pool().own_end()
        } else {
            end
        };
        record_span(site, None, start, own_end)
            .layer(layer)
            .work(work.flops, work.bytes, self.working_set_bytes.get())
            .sequence(sequence)
            .end();
        if !parallel {
            return;
        }
        record_span(self.wait, None, own_end, end)
            .layer(layer)
            .sequence(sequence)
            .end();
        for (index, track) in self.workers.iter().enumerate() {
            let busy = compute.pool().busy(index + 1);
            record_span(site, Some(*track), busy.start, busy.end)
                .layer(layer)
                .sequence(sequence)
                .end();
            record_span(self.wait, Some(*track), busy.end, end.max(busy.end))
                .layer(layer)
                .sequence(sequence)
                .end();
        }
    }
}
