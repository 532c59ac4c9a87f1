//! Kernels against the ceilings of this machine: `cargo bench -p carnot-kernels [-- FILTER]`.
//!
//! Every kernel is timed for about a quarter of a second; the figure is the median of its repeats, beside the share of the
//! limit that binds it. `--test` runs each once, small, to show that it works.
#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::time::{Duration, Instant};

use carnot_kernels::blocks::quantize;
use carnot_kernels::ceiling::{Arithmetic, peak, read_bandwidth};
use carnot_kernels::{
    Activations, BlockType, Compute, Forms, KvLayer, KvShape, KvType, PackedMatrix, Product, Span,
};

struct Bench {
    compute: Compute,
    filter: String,
    once: bool,
    bandwidth: f64,
    int8: f64,
    f32: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let once = arguments.iter().any(|a| a == "--test");
    let filter = arguments
        .iter()
        .find(|a| !a.starts_with("--"))
        .cloned()
        .unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let compute = Compute::new(threads);
    let time = Duration::from_millis(if once { 1 } else { 300 });
    let bytes = if once { 1 << 20 } else { 1 << 29 };
    let bench = Bench {
        bandwidth: read_bandwidth(&compute, bytes, time, 5),
        int8: peak(&compute, Arithmetic::Int8, time, 5),
        f32: peak(&compute, Arithmetic::F32, time, 5),
        compute,
        filter,
        once,
    };
    println!(
        "{threads} threads · {} · read {:.1} GB/s · int8 {:.0} GOPS · f32 {:.0} GFLOPS",
        bench.compute.instruction_set(),
        bench.bandwidth / 1e9,
        bench.int8 / 1e9,
        bench.f32 / 1e9
    );
    bench.matmuls();
    bench.attention();
}

impl Bench {
    fn matmuls(&self) {
        let (outputs, inputs) = if self.once { (64, 256) } else { (5632, 2048) };
        for dtype in BlockType::ALL {
            for rows in [1, 2, 4, 8, 32, 512] {
                let name = format!("matmul {dtype} {outputs}×{inputs} rows {rows}");
                if name.contains(&self.filter) {
                    self.matmul(&name, dtype, (outputs, inputs, rows));
                }
            }
        }
    }

    fn matmul(&self, name: &str, dtype: BlockType, (outputs, inputs, rows): (usize, usize, usize)) {
        let row: Vec<f32> = (0..inputs).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut block = vec![0; dtype.row_bytes(inputs)];
        quantize(dtype, &row, &mut block);
        // Enough copies that the weights come from memory when few rows are multiplied, as in decoding.
        let copies = if rows > 8 || self.once {
            1
        } else {
            (300 << 20) / (block.len() * outputs) + 1
        };
        let packed = PackedMatrix::pack(
            self.compute.pool(),
            dtype,
            outputs,
            inputs,
            &block.repeat(outputs),
        );
        let weights: Vec<PackedMatrix> = vec![packed; copies];
        let mut x = Activations::new(rows, inputs);
        self.compute
            .copy_into(&row.repeat(rows), Forms::of([&weights[0]]), &mut x);
        let mut out = vec![0.0; rows * outputs];
        let seconds = self.median(|| {
            for weights in &weights {
                self.compute.matmul(
                    &x,
                    &mut [Product {
                        weights,
                        out: &mut out,
                    }],
                );
            }
        }) / copies as f64;
        let operations = 2.0 * (outputs * inputs * rows) as f64 / seconds;
        let bytes = weights[0].file_bytes() as f64 / seconds;
        let peak = if dtype.is_quantized() {
            self.int8
        } else {
            self.f32
        };
        line(
            name,
            seconds,
            operations / peak,
            bytes / self.bandwidth,
            operations,
            bytes,
        );
    }

    fn attention(&self) {
        let shape = KvShape {
            heads: 4,
            head_dim: 64,
            dtype: KvType::F16,
        };
        for (tokens, position) in [
            (1_usize, 511_usize),
            (1, 4095),
            (1, 16383),
            (512, 0),
            (512, 7680),
        ] {
            let name = format!("attention 32/4 heads × 64, {tokens} tokens at {position}");
            if !name.contains(&self.filter) {
                continue;
            }
            let (tokens, position) = if self.once {
                (tokens.min(4), position.min(64))
            } else {
                (tokens, position)
            };
            let blocks = (position + tokens).div_ceil(16);
            let layers = if tokens == 1 { 8 } else { 1 };
            let caches: Vec<KvLayer> = vec![KvLayer::new(shape, blocks); layers];
            let table: Vec<u32> = (0..blocks as u32).collect();
            let q = vec![0.5; tokens * 32 * 64];
            let mut out = q.clone();
            let span = Span {
                row: 0,
                tokens,
                position,
                table: &table,
                window: usize::MAX,
            };
            let seconds = self.median(|| {
                for cache in &caches {
                    self.compute
                        .attention(cache, shape, 32, &q, &[span], &mut out);
                }
            }) / layers as f64;
            let visible: usize = (position + 1..=position + tokens).sum();
            let operations = (4 * 64 * 32 * visible) as f64 / seconds;
            let bytes = (shape.token_bytes() * (position + tokens)) as f64 / seconds;
            line(
                &name,
                seconds,
                operations / self.f32,
                bytes / self.bandwidth,
                operations,
                bytes,
            );
        }
    }

    fn median(&self, mut run: impl FnMut()) -> f64 {
        run();
        let (repeats, budget) = if self.once { (1, 0.0) } else { (5, 0.25) };
        let mut times = Vec::new();
        let begin = Instant::now();
        while times.len() < repeats || begin.elapsed().as_secs_f64() < budget {
            let start = Instant::now();
            run();
            times.push(start.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }
}

fn line(name: &str, seconds: f64, of_peak: f64, of_bandwidth: f64, operations: f64, bytes: f64) {
    println!(
        "{name:<48} {:>10.1} µs {:>8.1} GOPS {:>4.0} %{:>8.1} GB/s {:>4.0} %",
        seconds * 1e6,
        operations / 1e9,
        of_peak * 100.0,
        bytes / 1e9,
        of_bandwidth * 100.0
    );
}
