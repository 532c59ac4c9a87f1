//! `carnot synth`: a model of real shape with random weights.

use carnot_formats::{Architecture, synth};

use crate::cli::{ArchitectureArgument, SynthArguments};
use crate::printer::{Printer, Unit};

pub fn execute(arguments: &SynthArguments, printer: &Printer) -> anyhow::Result<()> {
    let architecture = match arguments.arch {
        ArchitectureArgument::Llama => Architecture::Llama,
        ArchitectureArgument::Qwen2 => Architecture::Qwen2,
        ArchitectureArgument::Qwen3 => Architecture::Qwen3,
    };
    let bar = printer.progress("writing", Unit::Bytes);
    let mut size = 0;
    synth::write(
        architecture,
        arguments.preset,
        arguments.dtype,
        arguments.seed,
        &arguments.output,
        |done, total| {
            bar.set_length(total);
            bar.set_position(done);
            size = total;
        },
    )?;
    bar.finish_and_clear();
    printer.note(&format!(
        "{}: {} of random weights",
        arguments.output.display(),
        carnot_report::units::bytes(size as f64)
    ));
    Ok(())
}
