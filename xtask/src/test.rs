//! Everything that can be checked, one step after another: `cargo xtask test`. Stops at the first step that fails.

mod setup;
mod steps;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::report;
use steps::{Outcome, STEPS, Step};

/// Runs all steps, or those that are named, in the order of the table.
pub fn execute(names: &[String]) -> anyhow::Result<()> {
    let chosen = choose(names)?;
    let begin = Instant::now();
    let mut skipped = Vec::new();
    for step in &chosen {
        let name = step.name;
        let context = || {
            let total = report::duration(begin.elapsed());
            format!("step {name} failed, {total} after the start; alone: cargo xtask test {name}")
        };
        skipped.extend(run(step).with_context(context)?);
    }
    conclude(chosen.len(), &skipped, begin.elapsed());
    Ok(())
}

fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Step>> {
    let known = || STEPS.iter().map(|step| step.name).collect::<Vec<_>>();
    if let Some(unknown) = names.iter().find(|name| !known().contains(&name.as_str())) {
        bail!("no step {unknown}; expected {}", known().join(", "));
    }
    let is_chosen = |step: &&Step| names.is_empty() || names.iter().any(|name| name == step.name);
    Ok(STEPS.iter().filter(is_chosen).collect())
}

/// Runs one step and tells its time; returns what it had to leave out.
fn run(step: &Step) -> anyhow::Result<Vec<Skip>> {
    report::step(step.name, &step.work.to_string());
    let begin = Instant::now();
    let result = step.work.run();
    let time = begin.elapsed();
    match &result {
        Ok(Outcome { skipped }) => {
            for skip in skipped {
                report::skipped(skip.what, &skip.how);
            }
            report::passed(step.name, time);
        }
        Err(_) => report::failed(step.name, time),
    }
    result.map(|outcome| outcome.skipped)
}

/// Something that could not be done here.
pub struct Skip {
    what: &'static str,
    how: String,
}

/// What was left out is said again, where it is seen.
fn conclude(steps: usize, skipped: &[Skip], time: Duration) {
    report::line("");
    for skip in skipped {
        report::skipped(skip.what, &skip.how);
    }
    let total = report::duration(time);
    let steps = match steps {
        1 => "1 step".to_owned(),
        steps => format!("{steps} steps"),
    };
    report::line(&format!("{steps} passed in {total}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_chosen_by_name_and_keep_their_order() {
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            choose(&names).map(|steps| steps.iter().map(|step| step.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap().len(), STEPS.len());
        assert_eq!(names(&["tests", "tidy"]).unwrap(), ["tidy", "tests"]);
        let error = names(&["tidi"]).unwrap_err().to_string();
        assert!(error.starts_with("no step tidi; expected "), "{error}");
    }
}
