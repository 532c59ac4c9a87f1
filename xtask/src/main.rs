//! Project chores: `cargo xtask test` checks everything that can be checked, `cargo xtask tidy` the house rules alone, `cargo xtask
//! instructions` counts instructions, and `cargo xtask bench` measures Carnot against its peers.

mod report;

mod bench;
mod instructions;
mod test;
mod tidy;

mod process;
mod workspace;

use std::process::ExitCode;

use anyhow::bail;

const USAGE: &str = "\
usage: cargo xtask <command>

  test [STEP…]   set up what the tests need, then check everything, or only the named steps
  tidy           check the house rules: layers, files, words, links, names (STYLE.md)
  instructions [--bless]
                 count the instructions of small work, and hold them to benchmarks/instructions.toml or write them there
  bench [NAME…]  measure against llama.cpp, in turns, with intervals (benchmarks/); `bench --help` says more";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match execute(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn execute(arguments: &[String]) -> anyhow::Result<()> {
    match arguments.split_first() {
        Some((command, steps)) if command == "test" => test::execute(steps),
        Some((command, [])) if command == "tidy" => tidy::execute(),
        Some((command, [])) if command == "instructions" => count(false),
        Some((command, [flag])) if command == "instructions" && flag == "--bless" => count(true),
        Some((command, words)) if command == "bench" => bench::execute(words),
        Some((command, [])) if matches!(command.as_str(), "help" | "--help" | "-h") => {
            report::line(USAGE);
            Ok(())
        }
        _ => bail!("expected test, tidy, instructions or bench\n\n{USAGE}"),
    }
}

fn count(bless: bool) -> anyhow::Result<()> {
    if let instructions::Comparison::OtherCompiler(known) = instructions::execute(bless)? {
        report::line(&format!("not compared: the counts are of {known}"));
    }
    Ok(())
}
