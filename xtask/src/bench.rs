//! Carnot against its peers, in turns on the same machine and file: `cargo xtask bench`. `benchmarks/METHODOLOGY.md` says how.
//!
//! ```text
//! arguments   what was typed                 engines    who takes part: drivers, started and asked
//! definition  what is measured (TOML)        driver     a process that may die or hang
//! models      the files                      idle       nobody works but the one that is measured
//! quiet       what others took of the cores  rounds     whose turn it is, and which rounds count
//! results     every raw sample (JSON)        summary    what is reported of a row, or why it is not
//! machine     limits                         table      Markdown between markers
//! record      what `carnot compare` reads
//! ```

mod arguments;
mod definition;
mod models;

mod driver;
mod engines;
mod idle;
mod quiet;
mod rounds;

mod machine;
mod record;
mod results;
mod summary;
mod table;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{bail, ensure};
use carnot_record::Utc;

use crate::process::{output, program};
use crate::report;
use crate::workspace::{self, Metadata};
use arguments::{Arguments, KEPT_ROUNDS, Mode, Only, Selection, USAGE};
use definition::{Case, Definition, Model};
use engines::{Engine, Fleet, Programs};
use machine::Machine;
use results::{Commit, Results, Round, RowResults, Sample};
use rounds::{Contest, Outcome, Plan};
use summary::Summary;

/// What the peer's driver was written for.
const PEER_PACKAGE: &str = "llama-cpp-python==0.3.36";
const QUICK_ROUNDS: usize = 2;

/// Does what `words` ask for.
pub fn execute(words: &[String]) -> anyhow::Result<()> {
    let arguments = Arguments::parse(words)?;
    match arguments.mode {
        Mode::Help => report::line(USAGE),
        Mode::List => list()?,
        Mode::Render => {
            results::renew()?;
            table::render_all()?;
        }
        Mode::Measure => measure(&arguments)?,
    }
    Ok(())
}

fn list() -> anyhow::Result<()> {
    for name in definition::names()? {
        let definition = Definition::read(&name)?;
        report::line(&format!("{name}: {}", definition.about));
        for row in &definition.rows {
            let types = row.types.join(" ");
            report::line(format!("  {name}/{}  {types}", row.name).trim_end());
        }
    }
    Ok(())
}

fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let sets: BTreeSet<&str> = arguments
        .selections
        .iter()
        .map(|chosen| chosen.set.as_str())
        .collect();
    let chosen: Vec<(&str, Definition, Vec<Case>)> = sets
        .into_iter()
        .map(|set| {
            let definition = Definition::read(set)?;
            let cases = choose(set, &definition, &arguments.selections)?;
            Ok((set, definition, cases))
        })
        .collect::<anyhow::Result<_>>()?;
    let wants_peers = chosen.iter().any(|(_, definition, _)| definition.peers);
    let python = if wants_peers { peer(arguments)? } else { None };
    let target = Metadata::read()?.target;
    let programs = Programs::build(&target, python)?;
    for (set, definition, cases) in &chosen {
        let run = Run::new(set, definition, arguments, &programs, &target);
        run.execute(cases)?;
    }
    Ok(())
}

/// The chosen cases, in the order of the definition; every selection chooses some.
fn choose(
    set: &str,
    definition: &Definition,
    selections: &[Selection],
) -> anyhow::Result<Vec<Case>> {
    let cases = definition.cases();
    let of_set = || selections.iter().filter(|chosen| chosen.set == set);
    for chosen in of_set() {
        let known = || {
            let names = cases.iter().map(Case::name).collect::<Vec<_>>();
            names.join(", ")
        };
        ensure!(
            cases.iter().any(|case| chosen.has(case)),
            "{set} has no such row; expected some of {}",
            known()
        );
    }
    let is_chosen = |case: &Case| of_set().any(|chosen| chosen.has(case));
    Ok(cases
        .iter()
        .filter(|case| is_chosen(case))
        .cloned()
        .collect())
}

/// A Python that has llama.cpp; `None`, and a word about it, where there is none or none is wanted.
fn peer(arguments: &Arguments) -> anyhow::Result<Option<String>> {
    if arguments.only == Some(Only::Carnot) {
        return Ok(None);
    }
    let python = arguments.python();
    let Err(error) = engines::find_peer(&python) else {
        return Ok(Some(python));
    };
    let how = format!("not installed: {python} -m pip install {PEER_PACKAGE} ({error:#})");
    if arguments.only == Some(Only::Peers) {
        bail!("llama.cpp: {how}");
    }
    report::skipped("llama.cpp", &how);
    Ok(None)
}

/// One definition, being measured.
struct Run<'a> {
    set: &'a str,
    definition: &'a Definition,
    arguments: &'a Arguments,
    programs: &'a Programs,
    target: &'a Path,
    plan: Plan,
}

impl<'a> Run<'a> {
    fn new(
        set: &'a str,
        definition: &'a Definition,
        arguments: &'a Arguments,
        programs: &'a Programs,
        target: &'a Path,
    ) -> Self {
        let rounds = match arguments.rounds {
            None if arguments.quick => QUICK_ROUNDS,
            rounds => rounds.unwrap_or(definition.rounds),
        };
        let most = if arguments.quick {
            rounds
        } else {
            definition.most_rounds.max(rounds)
        };
        let plan = Plan {
            rounds,
            most,
            widest: definition.widest,
            disturbance: if arguments.quick {
                1.0
            } else {
                definition.disturbance
            },
        };
        Self {
            set,
            definition,
            arguments,
            programs,
            target,
            plan,
        }
    }

    fn has_peers(&self) -> bool {
        self.definition.peers && self.programs.python.is_some()
    }

    /// Whether the run may stand in the tables.
    fn is_complete(&self) -> bool {
        let all = self.arguments.only.is_none() && self.has_peers();
        all && !self.arguments.quick && self.plan.rounds >= KEPT_ROUNDS
    }

    fn execute(&self, cases: &[Case]) -> anyhow::Result<()> {
        let begun = now().to_string();
        let day = begun.split('T').next().unwrap_or_default();
        let path = results::path(self.set, day, self.is_complete(), self.target);
        let machine = Machine::read(&self.programs.carnot, self.definition.threads)?;
        let mut results = Results::new(self.set, self.arguments.command.clone(), begun, machine);
        results.commit = commit();
        results.threads = self.definition.threads;
        results.widest = self.plan.widest;
        for group in by_model(cases) {
            self.measure_model(&group, &mut results, &path)?;
        }
        report::line(&table::of_run(self.definition, &results));
        if self.is_complete() {
            table::render(self.set)?;
        }
        report::line(&format!("\n{}", path.display()));
        Ok(())
    }

    /// Measures the cases of one model, with the same processes. The results are written after each case.
    fn measure_model(
        &self,
        cases: &[&Case],
        results: &mut Results,
        path: &Path,
    ) -> anyhow::Result<()> {
        let model = models::prepare(&cases[0].model, &self.programs.carnot, self.target)?;
        let cache_tokens = cases
            .iter()
            .map(|case| case.work.cache_tokens())
            .max()
            .unwrap_or(0);
        let timeout = Duration::from_secs(self.definition.timeout_s);
        let threads = self.definition.threads;
        let mut fleet = Fleet::new(self.programs, &model, threads, cache_tokens, timeout);
        for case in cases {
            let outcome = self.measure_case(case, &mut fleet);
            let failure = outcome
                .failure
                .map(|error| self.without_paths(&format!("{error:#}")));
            if let Some(failure) = &failure {
                report::progress(&format!("{}  failed: {failure}", case.label()));
            }
            results.engines.extend(fleet.facts.clone());
            results.rows.push(RowResults {
                row: case.row.clone(),
                model: case.model.label(),
                work: case.work.clone(),
                at_least: case.at_least,
                aim: case.aim,
                sizes: fleet.sizes.clone(),
                rounds: outcome.rounds,
                disturbed: outcome.disturbed,
                failure,
            });
            results.write(path)?;
        }
        Ok(())
    }

    fn measure_case(&self, case: &Case, fleet: &mut Fleet<'_>) -> Outcome {
        let mut engines = Vec::new();
        if self.arguments.only != Some(Only::Peers) {
            engines.push(Engine::Carnot);
        }
        if self.has_peers() {
            engines.extend(Engine::peers(&case.work));
        }
        fleet.keep(&engines);
        let engines: Vec<(Engine, String)> = engines
            .into_iter()
            .map(|engine| (engine, engine.key()))
            .collect();
        let mut turns = Turns {
            case,
            fleet,
            plan: self.plan,
        };
        rounds::run(&mut turns, &engines, self.plan)
    }

    /// Results are read on other machines.
    fn without_paths(&self, text: &str) -> String {
        let root = format!("{}/", workspace::root().display());
        let text = text.replace(&root, "");
        match &self.programs.python {
            Some(python) if python.contains('/') => text.replace(python, "PYTHON"),
            _ => text,
        }
    }
}

/// The turns of a case: engines asked, and their rounds told.
struct Turns<'a, 'b> {
    case: &'a Case,
    fleet: &'a mut Fleet<'b>,
    plan: Plan,
}

impl Contest for Turns<'_, '_> {
    type Engine = Engine;

    fn settle(&mut self) -> anyhow::Result<()> {
        quiet::wait(self.plan.disturbance)
    }

    fn measure(&mut self, engine: Engine) -> anyhow::Result<Sample> {
        self.fleet.measure(engine, &self.case.work)
    }

    fn tell(&mut self, round: &Round, kept: &[Round]) {
        let number = kept.len();
        let share = round.disturbance() * 100.0;
        let what = if round.disturbance() > self.plan.disturbance {
            format!("disturbed: others used {share:.0} % of the cores  ")
        } else {
            format!("round {number}  ")
        };
        let line = table::progress(round, &Summary::of(kept, self.plan.widest));
        report::progress(&format!("{}  {what}{line}", self.case.label()));
    }
}

/// Cases with the same model stand together, in the order in which the models first come.
fn by_model(cases: &[Case]) -> Vec<Vec<&Case>> {
    let mut groups: Vec<(&Model, Vec<&Case>)> = Vec::new();
    for case in cases {
        match groups.iter_mut().find(|(model, _)| **model == case.model) {
            Some((_, group)) => group.push(case),
            None => groups.push((&case.model, vec![case])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn now() -> Utc {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Utc::of(since.map_or(0, |since| since.as_secs()))
}

/// What is checked out. Results and their tables may differ: they are what a run writes.
fn commit() -> Commit {
    let hash = output(&mut program("git", &["rev-parse", "HEAD"])).unwrap_or_default();
    let arguments = [
        "status",
        "--porcelain",
        "--",
        ".",
        ":!benchmarks/results",
        ":!benchmarks/README.md",
    ];
    let changes = output(&mut program("git", &arguments));
    Commit {
        hash: String::from_utf8_lossy(&hash).trim().to_owned(),
        dirty: changes.map_or(true, |changes| !changes.trim_ascii().is_empty()),
    }
}
