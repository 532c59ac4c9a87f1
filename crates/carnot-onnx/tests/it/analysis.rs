//! Two networks whose work is published, without weights; and what is said of what is not known.

use std::collections::HashMap;

use carnot_onnx::{
    Analysis, DataType, Dimension, GraphBuilder, InputGiven, Network, OnnxError, Weights, analyze,
};

fn resnet_50() -> carnot_onnx::Model {
    Network::ResNet50.model(Weights::Shapes)
}

fn mobilenet_v2() -> carnot_onnx::Model {
    Network::MobileNetV2.model(Weights::Shapes)
}

fn analyzed(model: &carnot_onnx::Model) -> Analysis {
    analyze(model, &HashMap::new()).expect("it is a model")
}

#[test]
fn the_work_of_resnet_50_is_what_is_published() {
    let analysis = analyzed(&resnet_50());
    assert_eq!(analysis.multiply_adds(), 4_089_184_256);
    // 25,557,032 that are learnt, and a mean and a variance for each of 26,560 channels.
    assert_eq!(analysis.parameters, 25_557_032 + 2 * 26_560);
    assert!(analysis.unknown_operators.is_empty());
    assert_eq!(analysis.shapes["classes"], [1, 1000]);
    assert_eq!(analysis.assumed, ["batch of image is 1"]);
    let first = analysis
        .node("/stem/conv2/Conv")
        .expect("it is the first")
        .work
        .expect("it is known");
    assert_eq!(first.multiply_adds, 118_013_952);
    assert_eq!(first.bytes_read, 4 * (3 * 224 * 224 + 64 * 3 * 49));
    assert_eq!(first.bytes_written, 4 * 64 * 112 * 112);
}

#[test]
fn the_work_of_mobilenet_v2_is_what_is_published() {
    let analysis = analyzed(&mobilenet_v2());
    assert_eq!(analysis.multiply_adds(), 300_774_272);
    // And the two ends of a clip.
    assert_eq!(analysis.parameters, 3_504_872 + 2 * 17_056 + 2);
}

#[test]
fn work_grows_with_the_batch_and_nothing_is_assumed_then() {
    let given = InputGiven::Shape(vec![8, 3, 224, 224]);
    let given = HashMap::from([("image".to_owned(), given)]);
    let analysis = analyze(&resnet_50(), &given).expect("it is a model");
    assert_eq!(analysis.multiply_adds(), 8 * 4_089_184_256);
    assert!(analysis.assumed.is_empty());
}

#[test]
fn shapes_that_contradict_the_model_are_refused() {
    let given = |name: &str, shape: &[usize]| {
        let given = HashMap::from([(name.to_owned(), InputGiven::Shape(shape.to_vec()))]);
        analyze(&resnet_50(), &given)
            .expect_err("it contradicts")
            .to_string()
    };
    assert!(given("image", &[1, 4, 224, 224]).contains("got [1, 4, 224, 224]"));
    assert!(given("image", &[1, 3]).contains("got [1, 3]"));
    assert!(given("picture", &[1]).contains("expected one of: image"));
}

#[test]
fn what_is_not_known_is_named_and_not_guessed() {
    let mut builder = GraphBuilder::new("m", 17);
    builder.input("x", DataType::FLOAT, [Dimension::Fixed(4)]);
    builder.node("Wonder", &["x"], &["a"]).of_domain("ours");
    builder.node("Relu", &["a"], &["y"]);
    builder.node("Relu", &["x"], &["z"]);
    let analysis = analyzed(&builder.finish());
    assert_eq!(analysis.unknown_operators["ours.Wonder"], 1);
    assert_eq!(analysis.unknown_operators["Relu"], 1);
    assert!(!analysis.shapes.contains_key("y"));
    assert_eq!(analysis.operations(), 4);
    assert_eq!(analysis.nodes[1].work, None);
}

#[test]
fn damaged_models_are_analysed_or_refused() {
    let bytes = mobilenet_v2().to_bytes();
    for at in (0..bytes.len()).step_by(41) {
        for flip in [0x01, 0x55, 0x80] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            if let Ok(model) = carnot_onnx::Model::parse(damaged) {
                let _: Result<Analysis, OnnxError> = analyze(&model, &HashMap::new());
            }
        }
    }
}
