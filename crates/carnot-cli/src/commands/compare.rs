//! `carnot compare`: two commands in turns, two files, or runs of a history, and a verdict that a script can act on.

mod files;
mod kept;
mod pipelines;
mod told;
mod traces;
mod turns;

use std::process::ExitCode;

pub use told::{signed, value};

use crate::cli::CompareArguments;
use crate::printer::Printer;

/// The second is worse.
const WORSE: u8 = 1;
/// There is nothing that could be compared.
const WRONG_USAGE: u8 = 2;
/// Nobody knows.
const INCONCLUSIVE: u8 = 3;

/// Changes that do not matter, in percent, unless the user says otherwise: runs in turns see small ones, files less.
const OF_COMMANDS: f64 = 1.0;
const OF_FILES: f64 = 10.0;

pub fn execute(arguments: &CompareArguments, printer: &Printer) -> anyhow::Result<ExitCode> {
    if let (Some(a), Some(b)) = (&arguments.a, &arguments.b) {
        let commands = turns::Commands {
            a,
            b,
            threshold: arguments.threshold.unwrap_or(OF_COMMANDS),
            warmup: arguments.warmup,
            format: arguments.format,
            report: arguments.report.as_deref(),
        };
        return turns::execute(&commands, printer);
    }
    // A file that cannot be compared is no verdict: exit code 1 says that something is worse, and nothing else.
    let threshold = arguments.threshold.unwrap_or(OF_FILES);
    let found = match &arguments.history {
        Some(file) => kept::execute(file.as_deref(), arguments, threshold, printer),
        None => files::execute(arguments, threshold, printer),
    };
    found.or_else(|error| {
        printer.error(&error);
        Ok(ExitCode::from(WRONG_USAGE))
    })
}
