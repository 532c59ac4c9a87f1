//! `carnot profile`: a model that is run, or what a pipeline recorded.

pub mod files;
mod merge;
mod model;
mod open;
mod report;
mod tensors;
mod versus;

use crate::cli::{ProfileAction, ProfileArguments};
use crate::printer::Printer;

pub fn execute(arguments: &ProfileArguments, printer: &Printer) -> anyhow::Result<()> {
    match &arguments.action {
        None if is_onnx(arguments) => tensors::execute(arguments, printer),
        None => model::execute(arguments, printer),
        Some(ProfileAction::Report(arguments)) => report::execute(arguments, printer),
        Some(ProfileAction::Open(arguments)) => open::execute(arguments, printer),
        Some(ProfileAction::Merge(arguments)) => merge::execute(arguments, printer),
        Some(ProfileAction::Versus(arguments)) => versus::execute(arguments, printer),
    }
}

fn is_onnx(arguments: &ProfileArguments) -> bool {
    let model = arguments.model.model.as_deref();
    model.is_some_and(crate::tensors::is_onnx)
}
