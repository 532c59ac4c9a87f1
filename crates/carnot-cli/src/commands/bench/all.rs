//! `carnot bench all`: the suites that need nothing but a model, with what they take where nobody says.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{AllArguments, Cli, Command, Format};
use crate::printer::Printer;

/// In the order in which a reader wants them.
const SUITES: [&str; 4] = ["inference", "memory", "concurrent", "cache"];

/// Runs each; the exit code is that of the first that says anything but success.
pub fn execute(arguments: &AllArguments, printer: &Printer) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for (index, suite) in SUITES.into_iter().enumerate() {
        let Command::Bench(of_suite) = Cli::try_parse_from(line(suite, arguments))?.command else {
            unreachable!("the line names bench");
        };
        if index > 0 && arguments.result.format == Format::Text {
            printer.result("\n")?;
        }
        let told = super::execute(&of_suite, printer)?;
        if code == ExitCode::SUCCESS {
            code = told;
        }
    }
    Ok(code)
}

/// What somebody would have typed.
fn line(suite: &str, arguments: &AllArguments) -> Vec<OsString> {
    let mut line: Vec<OsString> = ["carnot", "bench", suite].map(OsString::from).into();
    if arguments.result.format == Format::Json {
        line.extend(["--format", "json"].map(OsString::from));
    }
    if let Some(folder) = &arguments.result.output {
        line.extend(["--output".into(), folder.into()]);
    }
    line.extend(arguments.model.clone().map(OsString::from));
    line
}
