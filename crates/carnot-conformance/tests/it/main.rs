//! Each subject against every case, held to its ledger. Each test is a process that reads the cases, and writes nothing but its own ledger.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use carnot_conformance::{Case, Cases, Ledger, Outcome, difference};
use carnot_onnx::{
    Engine, EngineKind, InputGiven, LibrarySearch, LoadedModel, OnnxError, Options, analyze,
};

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

#[expect(clippy::print_stderr, reason = "a test that is passed over says so")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// The cases, unless there is no Python that could write them.
fn cases() -> Option<Cases> {
    let venv = target().join("venv");
    if !venv.join("bin/python").exists() {
        say("passed over: no target/venv, which `cargo xtask test setup` makes");
        return None;
    }
    let is_there = |folder: &PathBuf| folder.join("onnx").is_dir();
    if !LibrarySearch::site_packages_of(&venv).iter().any(is_there) {
        say("passed over: target/venv has no onnx; `cargo xtask test setup` installs it");
        return None;
    }
    Some(Cases::prepare(&target()).expect("the cases can be written"))
}

/// Holds what `subject` makes of every case to the ledger of that name, or writes it anew.
fn hold(name: &str, subject: impl Fn(&Case) -> Outcome) {
    let Some(cases) = cases() else { return };
    let outcome = |case: &Case| (case.name.clone(), subject(case));
    let outcomes: BTreeMap<String, Outcome> = cases.cases.iter().map(outcome).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("expected/{name}.txt"));
    let found = Ledger::of(&outcomes);
    say(&format!(
        "{name}: {} cases: {:?}",
        outcomes.len(),
        found.counts()
    ));
    let ledger = Ledger::read(&path).expect("the ledger can be read");
    let differences = ledger.differences(&outcomes);
    if std::env::var_os("CARNOT_BLESS").is_some() {
        for (name, outcome) in &outcomes {
            say(&format!("{name}: {outcome}"));
        }
        let found = found.keeping_varying(&ledger);
        fs::write(&path, found.to_text()).expect("the ledger can be written");
        return;
    }
    assert!(
        differences.is_empty(),
        "{} cases differ from {}; where that is meant, CARNOT_BLESS=1 writes it anew:\n{}",
        differences.len(),
        path.display(),
        differences.join("\n")
    );
}

fn options(engine: EngineKind) -> Options {
    Options {
        engine,
        threads: NonZeroUsize::new(1),
        library: LibrarySearch {
            site_packages: LibrarySearch::site_packages_of(&target().join("venv")),
            ..LibrarySearch::default()
        },
        ..Options::default()
    }
}

fn run(case: &Case, options: &Options) -> Outcome {
    let tensors = case.tensors().expect("the case was written whole");
    let Some((inputs, expected)) = tensors else {
        return Outcome::Unsupported("values that the contract has not".to_owned());
    };
    let mut engine = match Engine::open(&case.model(), options) {
        Ok((engine, _)) => engine,
        Err(error) => return Outcome::Unsupported(error.to_string()),
    };
    let outputs = match engine.run(&inputs, None) {
        Ok(outputs) => outputs,
        Err(error) if error.to_string().contains("panicked") => {
            return Outcome::Failed(error.to_string());
        }
        // Engines look at some attributes and types only when they run.
        Err(error) => return Outcome::Unsupported(error.to_string()),
    };
    let pairs = expected.iter().zip(&outputs);
    let differing = pairs.filter_map(|(expected, got)| {
        let difference = difference(expected, got, case.relative, case.absolute)?;
        Some(format!("{}: {difference}", got.name()))
    });
    let differing: Vec<String> = differing.collect();
    if differing.is_empty() && outputs.len() == expected.len() {
        Outcome::Passed
    } else {
        Outcome::Failed(differing.join("; "))
    }
}

#[test]
fn onnx_runtime_does_what_its_ledger_says() {
    let options = options(EngineKind::OnnxRuntime);
    match options.library.load() {
        Ok(_) => hold("onnxruntime", |case| run(case, &options)),
        Err(error @ OnnxError::NoLibrary { .. }) => say(&format!("passed over: {error}")),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_embedded_engine_does_what_its_ledger_says() {
    let options = options(EngineKind::Embedded);
    hold("embedded", |case| run(case, &options));
}

/// The shapes of all outputs, from the inputs' shapes and values without running anything.
fn infer(case: &Case) -> Outcome {
    let tensors = case.tensors().expect("the case was written whole");
    let Some((inputs, expected)) = tensors else {
        return Outcome::Unsupported("values that the contract has not".to_owned());
    };
    let mut loaded = LoadedModel::open(&case.model()).expect("the case has a model");
    // What the model says of its outputs is not to help.
    let model = std::sync::Arc::make_mut(&mut loaded.model);
    let outputs = std::mem::take(&mut model.graph.outputs);
    model.graph.values.clear();
    let given =
        |tensor: carnot_engine::Tensor| (tensor.name().to_owned(), InputGiven::Values(tensor));
    let given: HashMap<_, _> = inputs.into_iter().map(given).collect();
    let analysis = match analyze(model, &given) {
        Ok(analysis) => analysis,
        Err(error) => return Outcome::Unsupported(error.to_string()),
    };
    let mut unknown = None;
    for (output, expected) in outputs.iter().zip(&expected) {
        match analysis.shapes.get(&output.name) {
            None => unknown = Some(format!("{}: not known", output.name)),
            Some(shape) if shape == expected.shape() => {}
            Some(shape) => {
                let (name, expected) = (&output.name, expected.shape());
                return Outcome::Failed(format!("{name}: expected {expected:?}, got {shape:?}"));
            }
        }
    }
    unknown.map_or(Outcome::Passed, Outcome::Unsupported)
}

#[test]
fn the_analysis_infers_what_its_ledger_says_and_nothing_wrong() {
    hold("analysis", infer);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("expected/analysis.txt");
    let ledger = fs::read_to_string(path).expect("it is there");
    assert!(
        !ledger.contains("failed "),
        "a shape that is wrong is worse than none"
    );
}
