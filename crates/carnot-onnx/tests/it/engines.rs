//! What holds for every engine: results, errors, duplicates; what ONNX Runtime has beside that.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use carnot_engine::{EngineError, Tensor, TensorEngine, TensorType};
use carnot_onnx::{
    DataType, Dimension, Engine, EngineKind, GraphBuilder, LibrarySearch, LoadedModel, Model,
    OnnxError, OnnxRuntimeEngine, Options,
};

/// y = relu(x · w + b), with x of any number of rows of 3.
pub fn mlp() -> Model {
    let mut builder = GraphBuilder::new("mlp", 17);
    let batch = Dimension::Named("batch".to_owned());
    builder.input("x", DataType::FLOAT, [batch.clone(), Dimension::Fixed(3)]);
    let weight = Tensor::from_f32("w", [3, 2], vec![1.0, -1.0, 2.0, 0.5, 0.0, 4.0]);
    builder.weight(&weight.expect("six of six"));
    builder.weight(&Tensor::from_f32("b", [2], vec![0.5, -3.0]).expect("two of two"));
    builder.node("Gemm", &["x", "w", "b"], &["h"]);
    builder.node("Relu", &["h"], &["y"]);
    builder.output("y", DataType::FLOAT, [batch, Dimension::Fixed(2)]);
    let mut model = builder.finish();
    model.ir_version = 8;
    model
}

/// The library in the project's virtual environment, which `cargo xtask test setup` makes; without it what needs it is passed over.
pub fn search() -> LibrarySearch {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    LibrarySearch {
        site_packages: LibrarySearch::site_packages_of(&target.join("venv")),
        ..LibrarySearch::default()
    }
}

pub fn options(engine: EngineKind) -> Options {
    Options {
        engine,
        threads: NonZeroUsize::new(1),
        library: search(),
        ..Options::default()
    }
}

/// The engines that this machine has.
pub fn kinds() -> Vec<EngineKind> {
    match search().load() {
        Ok(_) => vec![EngineKind::Embedded, EngineKind::OnnxRuntime],
        Err(error) => {
            skip(&error);
            vec![EngineKind::Embedded]
        }
    }
}

#[expect(clippy::print_stderr, reason = "a test that is passed over says so")]
fn skip(error: &OnnxError) {
    eprintln!("without ONNX Runtime: {error}");
}

fn open(model: &Model, kind: EngineKind) -> Box<dyn TensorEngine> {
    let (engine, choice) =
        Engine::from_bytes("mlp", model.to_bytes(), &options(kind)).expect("it is a model");
    assert_eq!(choice.engine, kind);
    engine
}

fn x(rows: usize) -> Tensor {
    let values = (0..rows * 3).map(|value| value as f32).collect();
    Tensor::from_f32("x", [rows, 3], values).expect("three a row")
}

#[test]
fn every_engine_gives_the_same() {
    for kind in kinds() {
        let mut engine = open(&mlp(), kind);
        assert!(engine.model().is_batchable, "{kind}");
        let y = engine.run(&[x(2)], None).expect("it runs");
        assert_eq!(y[0].name(), "y");
        assert_eq!(y[0].shape(), [2, 2], "{kind}");
        // Row 0 is (0, 1, 2): 0 + 2 + 0 + 0.5 and 0 + 0.5 + 8 − 3.
        assert_eq!(
            *y[0].view::<f32>().expect("FP32"),
            [2.5, 5.5, 11.5, 16.0],
            "{kind}"
        );
        let none = engine.run(&[x(0)], None).expect("no rows are rows");
        assert_eq!(none[0].shape(), [0, 2], "{kind}");
    }
}

#[test]
fn outputs_outlive_their_engine_and_are_as_asked() {
    for kind in kinds() {
        let mut engine = open(&mlp(), kind);
        let twice = ["y".to_owned(), "y".to_owned()];
        let y = engine.run(&[x(1)], Some(&twice)).expect("it runs");
        let mut other = engine.duplicate().expect("a second one");
        drop(engine);
        let again = other.run(&[x(1)], None).expect("it runs");
        drop(other);
        assert_eq!(y[0], y[1]);
        assert_eq!(y[0], again[0], "{kind}");
    }
}

#[test]
fn wrong_inputs_are_refused_and_the_engine_goes_on() {
    for kind in kinds() {
        let mut engine = open(&mlp(), kind);
        let error = engine.run(&[], None).expect_err("x is missing");
        assert!(
            matches!(error, EngineError::MissingInput { .. }),
            "{kind}: {error}"
        );
        let unknown = engine
            .run(&[x(1)], Some(&["z".to_owned()]))
            .expect_err("no z");
        assert_eq!(
            unknown.to_string(),
            "mlp has no output z, expected one of: y"
        );
        assert!(engine.run(&[x(1)], None).is_ok());
    }
}

/// Every type goes in and comes out as it was.
#[test]
fn types_survive_the_way_there_and_back() {
    for kind in kinds() {
        for tensor_type in TensorType::ALL {
            let tensor = some(tensor_type);
            let mut builder = GraphBuilder::new("identity", 17);
            builder.input("x", tensor_type.into(), [Dimension::Unknown]);
            builder.node("Identity", &["x"], &["y"]);
            builder.output("y", tensor_type.into(), [Dimension::Unknown]);
            let mut model = builder.finish();
            model.ir_version = 8;
            match Engine::from_bytes("identity", model.to_bytes(), &options(kind)) {
                Ok((mut engine, _)) => {
                    let y = engine
                        .run(std::slice::from_ref(&tensor), None)
                        .expect("it runs");
                    assert_eq!(y[0], tensor.renamed("y"), "{kind} {tensor_type}");
                }
                Err(error) => {
                    assert_eq!(kind, EngineKind::Embedded, "{tensor_type}: {error}");
                    assert!(error.to_string().contains(tensor_type.name()), "{error}");
                }
            }
        }
    }
}

fn some(tensor_type: TensorType) -> Tensor {
    match tensor_type.size() {
        None => Tensor::from_strings("x", [2], vec![b"a".to_vec(), "é".into()]),
        Some(size) => {
            let mut bytes = vec![0; 3 * size];
            match tensor_type {
                // The highest byte of a 2 of any size; a 1 in the lowest would be lost to engines that compute in FP32.
                TensorType::Fp16 | TensorType::Bf16 | TensorType::Fp32 | TensorType::Fp64 => {
                    bytes[size - 1] = 0x40;
                }
                _ => bytes[0] = 1,
            }
            Tensor::from_bytes("x", tensor_type, [3], bytes)
        }
    }
    .expect("it fills the shape")
}

#[test]
fn the_embedded_engine_names_every_operator_that_it_lacks() {
    let mut builder = GraphBuilder::new("m", 17);
    builder.input("x", DataType::FLOAT, [Dimension::Unknown]);
    builder.node("Relu", &["x"], &["a"]);
    builder.node("Wonder", &["a"], &["b"]).of_domain("ours");
    builder.node("StringNormalizer", &["b"], &["y"]);
    builder.output("y", DataType::FLOAT, [Dimension::Unknown]);
    let options = options(EngineKind::Embedded);
    let error = Engine::from_bytes("m", builder.finish().to_bytes(), &options);
    let error = error.expect_err("two are not there").to_string();
    assert_eq!(
        error,
        "the embedded engine has no StringNormalizer, ours.Wonder; ONNX Runtime may have: `pip install onnxruntime`"
    );
}

#[test]
fn an_input_beyond_what_the_embedded_engine_computes_in_is_refused() {
    let mut builder = GraphBuilder::new("m", 17);
    builder.input("x", DataType::INT64, [Dimension::Unknown]);
    builder.node("Identity", &["x"], &["y"]);
    builder.output("y", DataType::INT64, [Dimension::Unknown]);
    let mut engine = open_named(&builder.finish(), EngineKind::Embedded);
    let x = Tensor::from_i64("x", [1], vec![1 << 40]).expect("one of one");
    let error = engine.run(&[x], None).expect_err("it is no INT32");
    assert_eq!(
        error.to_string(),
        "tensor x: value: expected one within INT32, in which the embedded engine computes, got 1099511627776"
    );
}

fn open_named(model: &Model, kind: EngineKind) -> Box<dyn TensorEngine> {
    Engine::from_bytes("m", model.to_bytes(), &options(kind))
        .expect("it is a model")
        .0
}

#[test]
fn damaged_models_are_refused_by_every_engine() {
    let bytes = mlp().to_bytes();
    for kind in kinds() {
        for at in (0..bytes.len()).step_by(3) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            if let Ok((mut engine, _)) = Engine::from_bytes("m", damaged, &options(kind)) {
                let _ = engine.run(&[x(1)], None);
            }
        }
    }
}

#[test]
fn a_process_has_one_library() {
    if kinds().len() < 2 {
        return;
    }
    let other = LibrarySearch {
        explicit: Some(PathBuf::from("/nowhere/libonnxruntime.so")),
        ..LibrarySearch::default()
    };
    let error = other.load().expect_err("another is loaded");
    assert!(matches!(error, OnnxError::OtherLibrary { .. }), "{error}");
}

#[test]
fn providers_are_listed_and_unknown_ones_refused() {
    if kinds().len() < 2 {
        return;
    }
    let providers = OnnxRuntimeEngine::providers(&search()).expect("it is loaded");
    assert!(
        providers.iter().any(|name| name == "CPUExecutionProvider"),
        "{providers:?}"
    );
    let mut options = options(EngineKind::OnnxRuntime);
    options.providers = vec!["cpu".to_owned()];
    assert!(Engine::from_bytes("m", mlp().to_bytes(), &options).is_ok());
    options.providers = vec!["abacus".to_owned()];
    let error = Engine::from_bytes("m", mlp().to_bytes(), &options).expect_err("there is none");
    let error = error.to_string();
    assert!(
        error.starts_with("no execution provider abacus, expected one of: CPU"),
        "{error}"
    );
}

#[test]
fn the_runtimes_profile_names_every_node() {
    if kinds().len() < 2 {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = options(EngineKind::OnnxRuntime);
    options.profile_folder = Some(folder.path().to_owned());
    options.is_optimized = false;
    let loaded = LoadedModel::from_bytes("mlp", mlp().to_bytes()).expect("a model");
    let mut engine = OnnxRuntimeEngine::open(&loaded, &options).expect("it opens");
    for _ in 0..3 {
        engine.run(&[x(4)], None).expect("it runs");
    }
    let executed = engine.executed_model().expect("it can be read");
    let executed = executed.expect("it was written");
    assert_eq!(executed.operators(), mlp().operators());
    let profile = engine.take_profile().expect("it was asked for");
    assert_eq!(profile.runs.len(), 3);
    assert_eq!(profile.nodes[0].outputs[0].shape, [4, 2]);
    let names: Vec<_> = profile
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.operator.as_str()))
        .collect();
    assert_eq!(names, [("Gemm_0", "Gemm"), ("Relu_1", "Relu")].repeat(3));
    assert!(engine.take_profile().is_err());
    assert!(engine.run(&[x(4)], None).is_ok());
}

/// x ← x · 2, step by step, without leaving the runtime.
#[test]
fn bound_values_go_round() {
    if kinds().len() < 2 {
        return;
    }
    let mut builder = GraphBuilder::new("double", 17);
    builder.input("x", DataType::FLOAT, [Dimension::Unknown]);
    builder.input("k", DataType::FLOAT, [Dimension::Unknown]);
    builder.node("Mul", &["x", "k"], &["y"]);
    builder.output("y", DataType::FLOAT, [Dimension::Unknown]);
    let mut model = builder.finish();
    model.ir_version = 8;
    let loaded = LoadedModel::from_bytes("double", model.to_bytes()).expect("a model");
    let options = options(EngineKind::OnnxRuntime);
    let mut engine = OnnxRuntimeEngine::open(&loaded, &options).expect("it opens");
    assert!(engine.run_bound().is_err(), "nothing is bound");
    for (name, value) in [("x", 1.0), ("k", 2.0)] {
        let tensor = Tensor::from_f32(name, [2], vec![value; 2]).expect("two of two");
        engine.bind_input(&tensor).expect("an input");
    }
    let mut held = Vec::new();
    for _ in 0..5 {
        held.extend(engine.step_bound(&[("y", "x")]).expect("it runs"));
    }
    let values: Vec<f32> = held
        .iter()
        .map(|y| y.view::<f32>().expect("FP32")[1])
        .collect();
    assert_eq!(
        values,
        [2.0, 4.0, 8.0, 16.0, 32.0],
        "what is held is not written over"
    );
}
