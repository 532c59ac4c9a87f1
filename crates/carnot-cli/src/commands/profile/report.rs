//! `carnot profile report`: the report of one trace.

use carnot_report::pipeline::TimelineBuilder;

use super::files::{Parts, analyse, open, printed, write};
use crate::cli::ReportArguments;
use crate::printer::Printer;

pub fn execute(arguments: &ReportArguments, printer: &Printer) -> anyhow::Result<()> {
    let mut trace = open(&arguments.trace)?;
    let analysis = analyse(&mut trace, &arguments.view)?;
    let parts = Parts {
        analysis: &analysis,
        ranks: None,
        template: arguments.template,
        timeline: &|| Ok(TimelineBuilder::read(&mut open(&arguments.trace)?, None)?),
        traces: &[(arguments.trace.clone(), 0)],
    };
    write(&arguments.emit, &arguments.output, &parts, printer)?;
    printer.result(&printed(
        arguments.format,
        arguments.template,
        &analysis,
        None,
    ))?;
    Ok(())
}
