//! `carnot synth`: a model of real shape with random weights.

use std::fs;

use anyhow::Context;
use carnot_formats::{Architecture, synth};
use carnot_onnx::{Network, Weights};

use crate::cli::{ArchitectureArgument, Preset, SynthArguments};
use crate::printer::{Printer, Unit};
use crate::wrong_usage::WrongUsage;

pub fn execute(arguments: &SynthArguments, printer: &Printer) -> anyhow::Result<()> {
    let size = match arguments.preset {
        Preset::Text(preset) => text(preset, arguments, printer)?,
        Preset::Images(network) => images(network, arguments)?,
    };
    printer.note(&format!(
        "{}: {} of random weights",
        arguments.output.display(),
        carnot_report::units::bytes(size as f64)
    ));
    Ok(())
}

/// Writes a GGUF file; its size.
fn text(
    preset: synth::Preset,
    arguments: &SynthArguments,
    printer: &Printer,
) -> anyhow::Result<u64> {
    let architecture = match arguments.arch {
        None | Some(ArchitectureArgument::Llama) => Architecture::Llama,
        Some(ArchitectureArgument::Qwen2) => Architecture::Qwen2,
        Some(ArchitectureArgument::Qwen3) => Architecture::Qwen3,
    };
    let Some(dtype) = arguments.dtype else {
        return Err(WrongUsage::error(
            "--type: a model of text needs one, such as Q4_0 or F16",
        ));
    };
    let bar = printer.progress("writing", Unit::Bytes);
    let mut size = 0;
    synth::write(
        architecture,
        preset,
        dtype,
        arguments.seed,
        &arguments.output,
        |done, total| {
            bar.set_length(total);
            bar.set_position(done);
            size = total;
        },
    )?;
    bar.finish_and_clear();
    Ok(size)
}

/// Writes an ONNX file; its size.
fn images(network: Network, arguments: &SynthArguments) -> anyhow::Result<u64> {
    let flags = [
        ("--arch", arguments.arch.is_some()),
        ("--type", arguments.dtype.is_some()),
    ];
    if let Some((flag, _)) = flags.iter().find(|(_, is_given)| *is_given) {
        let name = network.name();
        return Err(WrongUsage::error(format!(
            "{flag} is for models of text, and {name} is none: its weights are FP32"
        )));
    }
    let bytes = network.model(Weights::Random(arguments.seed)).to_bytes();
    fs::write(&arguments.output, &bytes)
        .with_context(|| format!("writing {}", arguments.output.display()))?;
    Ok(bytes.len() as u64)
}
