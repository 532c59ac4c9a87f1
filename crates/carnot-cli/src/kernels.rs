//! The kernels of this machine: timed in turns by `carnot machine --kernels`, and from then on the fastest run.

use std::fmt::Write as _;

use carnot_kernels::measure::{self, Timing};
use carnot_kernels::{Compute, InstructionSet, Tuning};
use carnot_record::{Arithmetic, KernelTiming, Kernels, MachineProfile};

use crate::printer::{Printer, Unit};

/// Times every kernel with `threads` threads; `machine` gives the limits.
pub fn measure(machine: &MachineProfile, threads: usize, printer: &Printer) -> Kernels {
    let bar = printer.progress("timing the kernels", Unit::Steps);
    let timings = measure::kernels(&Compute::new(threads), |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let Some((set, tuning)) = measure::choose(&timings) else {
        // A processor without vector instructions that the kernels know has one kernel of each kind, and nothing to choose.
        return Kernels {
            threads: threads as u32,
            instruction_set: InstructionSet::best().to_string(),
            ..Kernels::default()
        };
    };
    let chosen = Compute::new(1).tuned(set, tuning);
    Kernels {
        threads: threads as u32,
        instruction_set: set.to_string(),
        matmul_rows: tuning.matmul_rows as u32,
        attention_rows: tuning.attention_rows as u32,
        timings: timings
            .iter()
            .map(|timing| record(machine, threads as u32, &chosen, timing))
            .collect(),
    }
}

fn record(
    machine: &MachineProfile,
    threads: u32,
    chosen: &Compute,
    timing: &Timing,
) -> KernelTiming {
    let arithmetic = if timing.is_integer {
        Arithmetic::Int8
    } else {
        Arithmetic::F32
    };
    // Few rows read every weight from memory; many find what they use again in a cache.
    let floor = timing.floor(
        machine.peak(threads, arithmetic),
        machine.bandwidth(threads, 1 << 30),
    );
    KernelTiming {
        operation: timing.operation.clone(),
        rows: timing.rows as u32,
        variant: format!(
            "{} {}",
            timing.set,
            if timing.streamed { "stream" } else { "tiles" }
        ),
        ns: timing.seconds * 1e9,
        ops_per_s: timing.operations / timing.seconds,
        bytes_per_s: timing.bytes / timing.seconds,
        efficiency: floor / timing.seconds,
        chosen: timing.set == chosen.instruction_set() && is_chosen(chosen, timing),
    }
}

/// Whether `chosen` uses the streaming kernel for the rows of `timing` exactly when `timing` is of it.
fn is_chosen(chosen: &Compute, timing: &Timing) -> bool {
    let streams = match timing.layout {
        Some(layout) => chosen.is_streamed(timing.rows, layout),
        None => timing.rows == 1 && chosen.tuning().attention_rows > 0,
    };
    streams == timing.streamed
}

/// What `kernels` say about how to run, if they were measured with as many threads.
pub fn choice(kernels: &Kernels, threads: usize) -> Option<(InstructionSet, Tuning)> {
    let set: InstructionSet = kernels.instruction_set.parse().ok()?;
    let tuning = Tuning {
        matmul_rows: kernels.matmul_rows as usize,
        attention_rows: kernels.attention_rows as usize,
    };
    (kernels.threads as usize == threads && set.is_available() && !kernels.timings.is_empty())
        .then_some((set, tuning))
}

/// The measurements as a table; what runs is marked.
pub fn text(kernels: &Kernels) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "\nkernels, {} threads: {}; up to {} rows stream, attention of one token {}\n",
        kernels.threads,
        kernels.instruction_set,
        kernels.matmul_rows,
        if kernels.attention_rows > 0 {
            "streams"
        } else {
            "is tiled"
        },
    );
    let _ = writeln!(
        out,
        "  {:<28}{:>5}  {:<22}{:>12}{:>9}{:>8}{:>9}",
        "operation", "rows", "variant", "time", "GOP/s", "GB/s", "of limit"
    );
    let mut last = ("", 0);
    for timing in &kernels.timings {
        let name = if last.0 == timing.operation {
            ""
        } else {
            &timing.operation
        };
        let rows = if last == (timing.operation.as_str(), timing.rows) {
            String::new()
        } else {
            timing.rows.to_string()
        };
        let _ = writeln!(
            out,
            "{} {name:<28}{rows:>5}  {:<22}{:>12}{:>9.1}{:>8.1}{:>9}",
            if timing.chosen { '*' } else { ' ' },
            timing.variant,
            format!("{:.1} µs", timing.ns / 1e3),
            timing.ops_per_s / 1e9,
            timing.bytes_per_s / 1e9,
            format!("{:.0} %", timing.efficiency * 100.0),
        );
        last = (&timing.operation, timing.rows);
    }
    out.push_str("\n  * runs here; stream: weights (or keys and values) used as they come from memory; tiles: expanded first\n");
    out
}
