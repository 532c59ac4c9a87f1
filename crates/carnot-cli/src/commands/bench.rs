//! `carnot bench`: one file per suite.

mod serve;

use std::process::ExitCode;

use crate::cli::{BenchArguments, Suite};
use crate::printer::Printer;

pub fn execute(arguments: &BenchArguments, printer: &Printer) -> anyhow::Result<ExitCode> {
    match &arguments.suite {
        Suite::Serve(arguments) => serve::execute(arguments, printer),
    }
}
