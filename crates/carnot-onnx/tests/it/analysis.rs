//! Two networks whose work is published, built here layer by layer without weights; and what is said of what is not known.

use std::collections::HashMap;

use carnot_onnx::{Analysis, DataType, Dimension, GraphBuilder, InputGiven, OnnxError, analyze};

/// A network of images, as it grows.
struct Network {
    builder: GraphBuilder,
    last: String,
    channels: usize,
    count: usize,
}

impl Network {
    fn new(name: &str) -> Self {
        let mut builder = GraphBuilder::new(name, 17);
        let fixed = [3, 224, 224].map(Dimension::Fixed);
        let batch = Dimension::Named("batch".to_owned());
        builder.input("image", DataType::FLOAT, [batch].into_iter().chain(fixed));
        Self {
            builder,
            last: "image".to_owned(),
            channels: 3,
            count: 0,
        }
    }

    fn name(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}{}", self.count)
    }

    /// A convolution without bias, with a batch normalisation behind it.
    fn convolution(&mut self, channels: usize, kernel: usize, stride: usize, group: usize) {
        let (weight, convolved, normal) = (self.name("w"), self.name("c"), self.name("n"));
        let shape = [channels, self.channels / group, kernel, kernel];
        self.builder.shape_of_weight(&weight, &shape);
        let pad = (kernel / 2) as i64;
        self.builder
            .node("Conv", &[&self.last, &weight], &[&convolved])
            .ints("strides", &[stride as i64; 2])
            .ints("pads", &[pad; 4])
            .int("group", group as i64);
        let parts = ["scale", "bias", "mean", "variance"].map(|part| format!("{normal}.{part}"));
        for part in &parts {
            self.builder.shape_of_weight(part, &[channels]);
        }
        let [scale, bias, mean, variance] = parts.each_ref().map(String::as_str);
        let inputs = [convolved.as_str(), scale, bias, mean, variance];
        self.builder.node("BatchNormalization", &inputs, &[&normal]);
        self.last = normal;
        self.channels = channels;
    }

    fn clip(&mut self, operator: &str) {
        let output = self.name("r");
        self.builder.node(operator, &[&self.last], &[&output]);
        self.last = output;
    }

    fn add(&mut self, other: &str) {
        let output = self.name("a");
        self.builder.node("Add", &[&self.last, other], &[&output]);
        self.last = output;
    }

    /// The mean of each channel, and a layer that sorts it into a thousand classes.
    fn finish(mut self) -> carnot_onnx::Model {
        self.builder
            .node("GlobalAveragePool", &[&self.last], &["pooled"]);
        self.builder.node("Flatten", &["pooled"], &["flat"]);
        self.builder.shape_of_weight("fc.w", &[1000, self.channels]);
        self.builder.shape_of_weight("fc.b", &[1000]);
        self.builder
            .node("Gemm", &["flat", "fc.w", "fc.b"], &["classes"])
            .int("transB", 1);
        let batch = Dimension::Named("batch".to_owned());
        self.builder
            .output("classes", DataType::FLOAT, [batch, Dimension::Fixed(1000)]);
        self.builder.finish()
    }
}

fn resnet_50() -> carnot_onnx::Model {
    let mut network = Network::new("resnet50");
    network.convolution(64, 7, 2, 1);
    network.clip("Relu");
    let pooled = network.name("p");
    network
        .builder
        .node("MaxPool", &[&network.last], &[&pooled])
        .ints("kernel_shape", &[3, 3])
        .ints("strides", &[2, 2])
        .ints("pads", &[1, 1, 1, 1]);
    network.last = pooled;
    for (width, blocks, stride) in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)] {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            let (before, channels) = (network.last.clone(), network.channels);
            network.convolution(width, 1, 1, 1);
            network.clip("Relu");
            network.convolution(width, 3, stride, 1);
            network.clip("Relu");
            network.convolution(width * 4, 1, 1, 1);
            let mut shortcut = before.clone();
            if block == 0 {
                let main = std::mem::replace(&mut network.last, before);
                network.channels = channels;
                network.convolution(width * 4, 1, stride, 1);
                shortcut = std::mem::replace(&mut network.last, main);
            }
            network.add(&shortcut);
            network.clip("Relu");
        }
    }
    network.finish()
}

fn mobilenet_v2() -> carnot_onnx::Model {
    let mut network = Network::new("mobilenet_v2");
    network.convolution(32, 3, 2, 1);
    network.clip("Clip");
    let rows = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    for (expansion, channels, blocks, stride) in rows {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            let (before, width) = (network.last.clone(), network.channels);
            let hidden = width * expansion;
            if expansion != 1 {
                network.convolution(hidden, 1, 1, 1);
                network.clip("Clip");
            }
            network.convolution(hidden, 3, stride, hidden);
            network.clip("Clip");
            network.convolution(channels, 1, 1, 1);
            if stride == 1 && width == channels {
                network.add(&before);
            }
        }
    }
    network.convolution(1280, 1, 1, 1);
    network.clip("Clip");
    network.finish()
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
        .node("Conv_0")
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
    assert_eq!(analysis.parameters, 3_504_872 + 2 * 17_056);
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
