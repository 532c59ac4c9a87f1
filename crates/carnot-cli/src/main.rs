//! `carnot`: parse, dispatch, and turn the outcome into an exit code.

mod capture;
mod cli;
mod commands;
mod cpu_info;
mod generation;
mod interrupt;
mod kernels;
mod machine;
mod model_source;
mod monitor;
mod oversubscription;
mod printer;
mod record_file;
mod stacks;
mod tensors;
mod terminal;
mod workload;
mod wrong_usage;

use std::process::ExitCode;

use carnot_engine::EngineError;
use clap::Parser;

use crate::cli::{Cli, Command};
use crate::printer::Printer;
use crate::wrong_usage::WrongUsage;

/// Costs a branch until a benchmark asks who allocates.
#[global_allocator]
static ALLOCATOR: carnot_sampling::heap::Counting = carnot_sampling::heap::Counting;

/// Something failed.
const FAILED: u8 = 1;
/// The command line asks for what there is not.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let printer = Printer::new();
    let result = match cli.command {
        Command::Run(arguments) => commands::run::execute(&arguments, &printer).map(done),
        Command::Serve(arguments) => commands::serve::execute(&arguments, &printer).map(done),
        Command::Profile(arguments) => commands::profile::execute(&arguments, &printer).map(done),
        Command::Machine(arguments) => commands::machine::execute(&arguments, &printer).map(done),
        Command::Perplexity(arguments) => {
            commands::perplexity::execute(&arguments, &printer).map(done)
        }
        Command::Synth(arguments) => commands::synth::execute(&arguments, &printer).map(done),
        Command::Bench(arguments) => commands::bench::execute(&arguments, &printer),
        Command::Monitor(arguments) => commands::monitor::execute(&arguments, &printer).map(done),
        Command::Metrics(arguments) => {
            commands::metrics::execute(&arguments.action, &printer).map(done)
        }
        Command::Compare(arguments) => commands::compare::execute(&arguments, &printer),
        Command::Baseline(arguments) => commands::baseline::execute(&arguments, &printer).map(done),
        Command::History(arguments) => commands::history::execute(&arguments, &printer).map(done),
    };
    match result {
        Ok(code) => code,
        Err(error) if printer::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            printer.error(&error);
            ExitCode::from(exit_code(&error))
        }
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let is_wrong_parameter = matches!(
        error.downcast_ref(),
        Some(EngineError::InvalidParameter { .. })
    );
    if is_wrong_parameter || error.downcast_ref::<WrongUsage>().is_some() {
        WRONG_USAGE
    } else {
        FAILED
    }
}
