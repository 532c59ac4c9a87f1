//! `carnot profile`: a model that is run, or what a pipeline recorded.

pub mod files;
mod merge;
mod model;
mod open;
mod report;
mod versus;

use crate::cli::{ProfileAction, ProfileArguments};
use crate::printer::Printer;

pub fn execute(arguments: &ProfileArguments, printer: &Printer) -> anyhow::Result<()> {
    match &arguments.action {
        None => model::execute(arguments, printer),
        Some(ProfileAction::Report(arguments)) => report::execute(arguments, printer),
        Some(ProfileAction::Open(arguments)) => open::execute(arguments, printer),
        Some(ProfileAction::Merge(arguments)) => merge::execute(arguments, printer),
        Some(ProfileAction::Versus(arguments)) => versus::execute(arguments, printer),
    }
}
