//! What a busy neighbour costs: `cargo bench -p carnot-kernels --bench neighbour`.
//!
//! Another process spins while matmuls of three lengths run with as many threads as there are cores. The fair speed is that of the
//! cores which the others leave, by the processor time that the system counts for them: with one core of two taken, half. So the
//! figures hold on a machine that is not quiet, too. Rounds with and without the neighbour take turns. `--test` runs each once.
#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use carnot_kernels::blocks::quantize;
use carnot_kernels::{Activations, BlockType, Compute, Forms, PackedMatrix, Product};

/// The argument that makes this program the neighbour.
const SPIN: &str = "--spin";
/// Outputs, inputs, rows, and what is like it.
const CASES: [(usize, usize, usize, &str); 3] = [
    (256, 1024, 1, "decode of the embedded model"),
    (2048, 768, 1, "decode of 150 M parameters"),
    (2048, 768, 512, "prefill of 150 M parameters"),
];

fn main() {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    if has(SPIN) {
        spin();
    }
    let (rounds, time) = if has("--test") {
        (1, Duration::from_millis(1))
    } else {
        (15, Duration::from_millis(150))
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let compute = Compute::new(cores);
    println!("{cores} threads on {cores} cores, {rounds} rounds of {time:?}");
    for (outputs, inputs, row_count, like) in CASES {
        let case = Case::new(&compute, outputs, inputs, row_count);
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            alone.push(case.round(&compute, time));
            let neighbour = Neighbour::start();
            beside.push(case.round(&compute, time));
            drop(neighbour);
        }
        let best = alone.iter().map(|round| round.best).fold(0.0, f64::max);
        print_row(like, "alone", &alone, best, cores);
        print_row(like, "neighbour", &beside, best, cores);
    }
}

/// One matmul that runs again and again.
struct Case {
    weights: PackedMatrix,
    x: Activations,
}

/// How many ran in a second, how many would have if all had been as fast as the fastest, and how many cores others had meanwhile.
struct Round {
    speed: f64,
    best: f64,
    others: f64,
}

impl Case {
    fn new(compute: &Compute, outputs: usize, inputs: usize, rows: usize) -> Self {
        let dtype = BlockType::Q8_0;
        let row: Vec<f32> = (0..inputs).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut block = vec![0; dtype.row_bytes(inputs)];
        quantize(dtype, &row, &mut block);
        let data = block.repeat(outputs);
        let mut x = Activations::new(rows, inputs);
        compute.copy_into(&row.repeat(rows), Forms::BOTH, &mut x);
        Self {
            weights: PackedMatrix::pack(compute.pool(), dtype, outputs, inputs, &data),
            x,
        }
    }

    fn round(&self, compute: &Compute, time: Duration) -> Round {
        let mut out = vec![0.0; self.x.rows() * self.weights.rows()];
        let (mut runs, mut shortest) = (0_u32, Duration::MAX);
        let used = processor_time_of_others();
        let start = Instant::now();
        let mut last = Duration::ZERO;
        while last < time {
            let (weights, out) = (&self.weights, out.as_mut_slice());
            compute.matmul(&self.x, &mut [Product { weights, out }]);
            let now = start.elapsed();
            (shortest, last) = (shortest.min(now.saturating_sub(last)), now);
            runs += 1;
        }
        let elapsed = start.elapsed();
        let used = processor_time_of_others().saturating_sub(used);
        Round {
            speed: f64::from(runs) / elapsed.as_secs_f64(),
            best: 1.0 / shortest.as_secs_f64(),
            others: used.as_secs_f64() / elapsed.as_secs_f64(),
        }
    }
}

fn print_row(like: &str, how: &str, rounds: &[Round], best: f64, cores: usize) {
    let mean = |of: fn(&Round) -> f64| rounds.iter().map(of).sum::<f64>() / rounds.len() as f64;
    let (speed, others) = (mean(|round| round.speed) / best, mean(|round| round.others));
    let fair = (cores as f64 - others) / cores as f64;
    println!(
        "{like:<30} {how:<10} {speed:.2} of the fastest, others had {others:.2} cores: {:.2} of the fair speed",
        speed / fair
    );
}

/// A process that does nothing but spin.
struct Neighbour(Child);

impl Neighbour {
    fn start() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let child = Command::new(program).arg(SPIN).spawn();
        Self(child.expect("this program starts again"))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// Of all processes but this one, by the system's scheduler; nothing elsewhere than on Linux.
fn processor_time_of_others() -> Duration {
    let own = std::process::id().to_string();
    let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let nanoseconds: u64 = folders(Path::new("/proc"))
        .filter(|process| {
            let name = process.file_name().to_string_lossy().into_owned();
            name != own && name.bytes().all(|byte| byte.is_ascii_digit())
        })
        .flat_map(|process| folders(&process.path().join("task")))
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanoseconds)
}
