//! `carnot bench`: one file per suite.

mod all;
mod cache;
mod child;
mod concurrent;
mod cpu;
pub mod inference;
mod memory;
mod memory_profile;
mod resident;
mod results;
mod serve;
mod stamp;
mod stress;

use std::process::ExitCode;

use crate::cli::{BenchArguments, Suite};
use crate::printer::Printer;

pub fn execute(arguments: &BenchArguments, printer: &Printer) -> anyhow::Result<ExitCode> {
    match &arguments.suite {
        Suite::Inference(arguments) => inference::execute(arguments, printer),
        Suite::Concurrent(arguments) => concurrent::execute(arguments, printer),
        Suite::Cache(arguments) => cache::execute(arguments, printer),
        Suite::Memory(arguments) => memory::execute(arguments, printer),
        Suite::Cpu(arguments) => cpu::execute(arguments, printer),
        Suite::All(arguments) => all::execute(arguments, printer),
        Suite::Serve(arguments) => serve::execute(arguments, printer),
        Suite::MemoryProfile(arguments) => memory_profile::execute(arguments, printer),
        Suite::Stress(arguments) => stress::execute(arguments, printer),
    }
}
