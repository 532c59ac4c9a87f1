//! `carnot profile` of an ONNX model: runs with nobody looking, runs with ONNX Runtime's profiler looking, and what they come to.

use carnot_analyze::{RunInfo, analyze};
use carnot_record::{MachineProfile, TracedRun};

use super::model::{Output, give};
use crate::cli::ProfileArguments;
use crate::printer::Printer;
use crate::tensors::nodes::Ceilings;
use crate::tensors::runs::Clock;
use crate::tensors::session::Session;
use crate::tensors::{self, Subject};
use crate::{interrupt, machine};

/// Runs that are recorded where nobody says how many.
const RUNS: usize = 20;
/// Runs before them.
const WARMUPS: usize = 3;
/// Ends the report for people.
const NEXT: &str = "next      carnot bench inference MODEL.onnx · carnot machine\n";

pub fn execute(arguments: &ProfileArguments, printer: &Printer) -> anyhow::Result<()> {
    tensors::refuse(&[
        ("--prompt", arguments.prompt.is_some()),
        ("--prompt-tokens", arguments.prompt_tokens.is_some()),
        ("--tokens", arguments.tokens.is_some()),
        (
            "--instruction-set",
            arguments.model.compute.instruction_set.is_some(),
        ),
    ])?;
    let path = arguments.model.model.as_deref();
    let path = path.expect("a model that is none of text has a path");
    let threads = arguments.model.compute.threads();
    let clock = Clock::start();
    let (subject, read) = clock.time(|| Subject::open(path, &arguments.tensors));
    let Subject { loaded, inputs } = subject?;
    let output = Output::of(arguments)?;
    let machine = machine::profile(threads, arguments.refresh, printer);
    interrupt::listen();
    let session = Session {
        loaded: &loaded,
        inputs: &inputs,
        options: &tensors::options(&arguments.tensors, threads),
        clock,
        read,
        runs: arguments.repeat.unwrap_or(RUNS),
        warmups: arguments.warmup.unwrap_or(WARMUPS),
    };
    let measured = session.measure(Ceilings {
        machine: &machine,
        threads: threads as u32,
    })?;
    let mut trace = measured.trace()?;
    let run = RunInfo {
        model: tensors::summary(&loaded, measured.analysis.parameters),
        threads: threads as u32,
        instructions: tensors::engine_name(&measured.tensors).to_owned(),
        files: output.files(),
        tensors: Some(measured.tensors),
        ..RunInfo::default()
    };
    let analysis = analyze(&trace, &machine, &run);
    trace.run = Some(TracedRun {
        model: run.model,
        threads: run.threads,
        machine: MachineProfile {
            kernels: None,
            ..machine
        },
    });
    give(&output, (&analysis, &trace), NEXT, printer)
}
