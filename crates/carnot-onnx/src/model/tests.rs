//! What is written is read again, and what is damaged is refused without harm.

use carnot_engine::SharedBytes;
use proptest::prelude::*;

use super::*;
use crate::builder::GraphBuilder;

/// A model with a bit of everything.
fn everything() -> Model {
    let mut builder = GraphBuilder::new("everything", 21);
    let free = Dimension::Named("batch".to_owned());
    builder.input("x", DataType::FLOAT, [free, Dimension::Fixed(4)]);
    builder.weight(&carnot_engine::Tensor::from_f32("w", [4, 3], vec![0.5; 12]).expect("12"));
    builder.node("MatMul", &["x", "w"], &["h"]);
    let branch = GraphBuilder::new("branch", 21).finish().graph;
    builder
        .node("Made", &["h", "", "x"], &["y"])
        .float("a", 1.5)
        .int("i", -3)
        .ints("p", &[0, -1, i64::MAX])
        .text("s", "same")
        .attribute("g", AttributeValue::Graph(branch.clone()))
        .attribute("gs", AttributeValue::Graphs(vec![branch]))
        .attribute("f", AttributeValue::Floats(vec![f32::NAN, -0.0]))
        .attribute("ss", AttributeValue::Strings(vec![vec![255], Vec::new()]))
        .attribute("r", AttributeValue::Reference("outer".to_owned()));
    builder.output("y", DataType::FLOAT16, [Dimension::Unknown]);
    let mut model = builder.finish();
    let tensor = |name: &str, data_type, data| TensorProto {
        name: name.to_owned(),
        data_type,
        shape: vec![2],
        data,
    };
    let external = ExternalData {
        location: "weights.bin".to_owned(),
        offset: 4096,
        length: Some(8),
    };
    let sequence = ValueType::Sequence(Box::new(ValueType::Tensor(DataType::INT64, None)));
    model.graph.values.push(ValueInfo {
        name: "s".to_owned(),
        value_type: Some(ValueType::Optional(Box::new(sequence))),
    });
    model.graph.initializers.extend([
        tensor("external", DataType::FLOAT, TensorData::External(external)),
        tensor("ints", DataType::INT8, TensorData::Ints(vec![-1, 2])),
        tensor("longs", DataType::UINT64, TensorData::Ints(vec![-1, 2])),
        tensor(
            "doubles",
            DataType::DOUBLE,
            TensorData::Doubles(vec![0.1, 2.0]),
        ),
        tensor(
            "floats",
            DataType::FLOAT,
            TensorData::Floats(vec![0.1, 2.0]),
        ),
        tensor(
            "texts",
            DataType::STRING,
            TensorData::Strings(vec![vec![1], vec![]]),
        ),
    ]);
    model.functions.push(Function {
        name: "Made".to_owned(),
        domain: "ours".to_owned(),
        inputs: vec!["a".to_owned()],
        outputs: vec!["b".to_owned()],
        attributes: vec!["outer".to_owned()],
        nodes: model.graph.nodes.clone(),
        opsets: vec![(String::new(), 21)],
        ..Function::default()
    });
    model
}

/// NaN is in it, so that equality is that of what is shown.
fn shown(model: &Model) -> String {
    format!("{model:?}")
}

#[test]
fn what_is_written_is_read_again() {
    let model = everything();
    let read = Model::parse(model.to_bytes()).expect("it was written so");
    assert_eq!(shown(&read), shown(&model));
    assert_eq!(read.graph.initializers, model.graph.initializers);
}

#[test]
fn weights_share_the_files_bytes() {
    let bytes = SharedBytes::from(everything().to_bytes());
    let model = Model::parse(bytes.clone()).expect("it was written so");
    let TensorData::Raw(weight) = &model.graph.initializers[0].data else {
        panic!("the first weight is raw");
    };
    assert!(bytes.as_ptr_range().contains(&weight.as_ptr()));
}

#[test]
fn listed_numbers_become_those_of_their_type() {
    let model = Model::parse(everything().to_bytes()).expect("it was written so");
    let tensor = |name: &str| {
        let found = model.graph.initializers.iter().find(|one| one.name == name);
        found.expect("it is there").to_tensor()
    };
    assert_eq!(
        *tensor("ints").expect("INT8").view::<i8>().expect("INT8"),
        [-1, 2]
    );
    let longs = tensor("longs").expect("UINT64");
    assert_eq!(*longs.view::<u64>().expect("UINT64"), [u64::MAX, 2]);
    assert!(tensor("external").is_err());
}

#[track_caller]
fn refused(bytes: &[u8], expected: &str) {
    let error = Model::parse(bytes).expect_err("it should be refused");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn damage_is_named_with_its_place() {
    refused(
        b"",
        "not an ONNX model: model at byte 0: expected a graph, got the end",
    );
    refused(
        &[0x3a, 0x7f],
        "not an ONNX model: model at byte 1: expected a length of at most the 0 bytes left, got a larger one",
    );
    refused(
        &[0x3b],
        "not an ONNX model: model at byte 0: expected wire type 0, 1, 2 or 5, got wire type 3 of field 7",
    );
    refused(
        &[
            0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
        ],
        "not an ONNX model: model at byte 1: expected a number of 64 bits, got a longer one",
    );
    refused(
        &[0x38, 1],
        "not an ONNX model: model.graph at byte 0: expected bytes, got an integer",
    );
}

#[test]
fn nesting_ends() {
    // A graph in an attribute of a node of a graph, again and again.
    let mut bytes = Vec::new();
    for number in [6, 5, 1].into_iter().cycle().take(3000) {
        let mut writer = crate::wire::Writer::default();
        writer.bytes(number, &bytes);
        bytes = writer.finish();
    }
    let mut writer = crate::wire::Writer::default();
    writer.bytes(7, &bytes);
    let error = Model::parse(writer.finish()).expect_err("3,000 are too many");
    assert!(
        error
            .to_string()
            .contains("at most 64 messages within each other"),
        "{error}"
    );
}

#[test]
fn a_file_of_nothing_but_messages_takes_no_large_memory() {
    let mut nodes = vec![0x0a, 0];
    nodes = nodes.repeat(crate::wire::MAX_ITEMS + 1);
    let mut writer = crate::wire::Writer::default();
    writer.bytes(7, &nodes);
    let error = Model::parse(writer.finish()).expect_err("two million empty nodes");
    assert!(
        error.to_string().contains("messages and strings"),
        "{error}"
    );
}

#[test]
fn a_first_axis_that_is_free_everywhere_makes_batches() {
    let model = |input: Dimension, output: Dimension| {
        let mut builder = GraphBuilder::new("m", 21);
        builder.input("x", DataType::FLOAT, [input, Dimension::Fixed(2)]);
        builder.output("y", DataType::FLOAT, [output]);
        let info = builder.finish().info("m", "", "").expect("tensors");
        info.is_batchable
    };
    let named = |name: &str| Dimension::Named(name.to_owned());
    assert!(model(named("n"), named("n")));
    assert!(model(Dimension::Unknown, Dimension::Unknown));
    assert!(!model(named("n"), named("m")));
    assert!(!model(named("n"), Dimension::Fixed(1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_files_are_refused_or_read(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let mut bytes = everything().to_bytes();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if is_cut {
            bytes.truncate(end.index(bytes.len()));
        }
        if let Ok(model) = Model::parse(bytes) {
            // What is accepted can be used: written, described, its weights converted.
            let again = Model::parse(model.to_bytes());
            prop_assert!(again.is_ok(), "{:?}", again);
            let _ = model.info("m", "", "");
            model.graph.each_tensor(&mut |tensor| {
                let _ = (tensor.to_tensor(), tensor.size_bytes());
            });
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Model::parse(bytes.clone());
        let _ = TensorProto::parse(bytes);
    }
}
