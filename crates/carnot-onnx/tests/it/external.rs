//! Weights in files beside the model: read where they may be, refused where they must not.

use std::fs;
use std::path::Path;

use carnot_engine::Tensor;
use carnot_onnx::{Engine, ExternalData, LoadedModel, OnnxError, TensorData};

use crate::engines::{kinds, mlp, options};

/// The model with its first weight in a file of that name; `weights.bin` is written.
fn write(folder: &Path, location: &str, length: u64) {
    let mut model = mlp();
    let weight = &mut model.graph.initializers[0];
    let TensorData::Raw(bytes) = weight.data.clone() else {
        panic!("the weight is raw");
    };
    weight.data = TensorData::External(ExternalData {
        location: location.to_owned(),
        offset: 16,
        length: Some(length),
    });
    let file = [&[0; 16], &bytes[..]].concat();
    fs::write(folder.join("weights.bin"), file).expect("it can be written");
    fs::write(folder.join("model.onnx"), model.to_bytes()).expect("it can be written");
}

#[test]
fn weights_beside_the_model_are_found_by_every_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "weights.bin", 24);
    let path = folder.path().join("model.onnx");
    for kind in kinds() {
        let (mut engine, _) = Engine::open(&path, &options(kind)).expect("it opens");
        let x = Tensor::from_f32("x", [1, 3], vec![0.0, 1.0, 2.0]).expect("three of three");
        let y = engine.run(&[x], None).expect("it runs");
        assert_eq!(*y[0].view::<f32>().expect("FP32"), [2.5, 5.5], "{kind}");
    }
    let before = LoadedModel::open(&path).expect("it opens").hash;
    let weights = folder.path().join("weights.bin");
    let mut bytes = fs::read(&weights).expect("it is there");
    bytes[20] ^= 1;
    fs::write(&weights, bytes).expect("it can be written");
    let after = LoadedModel::open(&path).expect("it opens").hash;
    assert_ne!(before, after, "weights are a part of what a model is");
}

#[track_caller]
fn refused(location: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).expect("a folder");
    fs::write(folder.path().join("secret"), [0; 64]).expect("it can be written");
    write(&inner, location, 24);
    let error = LoadedModel::open(&inner.join("model.onnx")).expect_err("it leads out");
    assert!(matches!(error, OnnxError::EscapingPath { .. }), "{error}");
}

#[test]
fn paths_out_of_the_folder_are_refused() {
    for location in [
        "../secret",
        "/etc/hostname",
        "",
        "a/../../secret",
        "..\\secret",
    ] {
        refused(location);
    }
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_refused_but_to_where_the_model_is() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().expect("a folder");
    let (real, linked) = (folder.path().join("blobs"), folder.path().join("snapshot"));
    fs::create_dir(&real).expect("a folder");
    fs::create_dir(&linked).expect("a folder");
    write(&real, "weights.bin", 24);
    for name in ["model.onnx", "weights.bin"] {
        symlink(real.join(name), linked.join(name)).expect("a link");
    }
    assert!(LoadedModel::open(&linked.join("model.onnx")).is_ok());
    fs::remove_file(linked.join("model.onnx")).expect("it is there");
    fs::copy(real.join("model.onnx"), linked.join("model.onnx")).expect("a copy");
    let error = LoadedModel::open(&linked.join("model.onnx")).expect_err("the link leads out");
    assert!(matches!(error, OnnxError::EscapingPath { .. }), "{error}");
}

#[test]
fn weights_that_are_too_short_or_of_another_length_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "weights.bin", 20);
    let error = LoadedModel::open(&folder.path().join("model.onnx")).expect_err("20 is not 24");
    assert_eq!(
        error.to_string(),
        "tensor w: expected 24 bytes for FLOAT [3, 2], got 20 from 16 of weights.bin, which has 40"
    );
    write(folder.path(), "weights.bin", 24);
    fs::write(folder.path().join("weights.bin"), [0; 39]).expect("it can be written");
    assert!(LoadedModel::open(&folder.path().join("model.onnx")).is_err());
    let bytes = fs::read(folder.path().join("model.onnx")).expect("it is there");
    let error = LoadedModel::from_bytes("m", bytes).expect_err("bytes have no folder");
    assert!(error.to_string().contains("weights.bin"), "{error}");
}
