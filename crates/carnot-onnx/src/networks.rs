//! Networks of images of real shape, made layer by layer: to measure speed with, and to hold the analysis to what is published.
//!
//! MobileNet-v2 after Sandler and others, "`MobileNetV2`: inverted residuals and linear bottlenecks", CVPR 2018; ResNet-50 after He and
//! others, "Deep residual learning for image recognition", CVPR 2016, with the stride in the 3×3 convolution, as torchvision has it. Batch
//! normalisations are nodes of their own, as in a model that was exported for training; runtimes fold them.

use carnot_engine::Tensor;

use crate::builder::GraphBuilder;
use crate::model::{DataType, Dimension, Model};

/// A network that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// 3.5 million weights, 0.3 billion multiply-adds an image.
    MobileNetV2,
    /// 25.6 million weights, 4.1 billion multiply-adds an image.
    ResNet50,
}

/// What its weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Shapes alone, for analyses: no engine takes the model.
    Shapes,
    /// Random numbers of a size that keeps values from growing from layer to layer; the same seed gives the same.
    Random(u64),
}

impl Network {
    /// Every network.
    pub const ALL: [Self; 2] = [Self::MobileNetV2, Self::ResNet50];

    /// Its name, such as `mobilenet-v2`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MobileNetV2 => "mobilenet-v2",
            Self::ResNet50 => "resnet-50",
        }
    }

    /// The network of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// The model: `image` FP32 [batch, 3, 224, 224] to `classes` FP32 [batch, 1000].
    pub fn model(self, weights: Weights) -> Model {
        let growing = Growing::new(self.name(), weights);
        match self {
            Self::MobileNetV2 => mobilenet_v2(growing),
            Self::ResNet50 => resnet_50(growing),
        }
    }
}

/// A network, as it grows.
struct Growing {
    builder: GraphBuilder,
    weights: Weights,
    state: u64,
    module: String,
    last: String,
    channels: usize,
    count: usize,
}

fn batch() -> Dimension {
    Dimension::Named("batch".to_owned())
}

impl Growing {
    fn new(name: &str, weights: Weights) -> Self {
        let mut builder = GraphBuilder::new(name, 17);
        let fixed = [3, 224, 224].map(Dimension::Fixed);
        builder.input("image", DataType::FLOAT, [batch()].into_iter().chain(fixed));
        Self {
            builder,
            weights,
            state: match weights {
                Weights::Shapes => 0,
                Weights::Random(seed) => seed,
            },
            module: String::new(),
            last: "image".to_owned(),
            channels: 3,
            count: 0,
        }
    }

    fn name(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}{}", self.count)
    }

    fn node_name(&self, what: &str, number: &str, operator: &str) -> String {
        let digits = number.trim_start_matches(char::is_alphabetic);
        format!("/{}/{what}{digits}/{operator}", self.module)
    }

    /// From −1 to 1, by the generator of Steele, Lea and Flood (`SplitMix64`).
    fn fraction(&mut self) -> f32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    /// A weight whose values are at most `size` from `middle`.
    fn weight(&mut self, name: &str, shape: &[usize], (middle, size): (f32, f32)) {
        if self.weights == Weights::Shapes {
            self.builder.shape_of_weight(name, shape);
            return;
        }
        let count = shape.iter().product();
        let values = (0..count).map(|_| middle + size * self.fraction());
        let tensor = Tensor::from_f32(name, shape, values.collect());
        self.builder
            .weight(&tensor.expect("as many values as the shape holds"));
    }

    /// A convolution without bias, with a batch normalisation behind it.
    fn convolution(&mut self, channels: usize, kernel: usize, stride: usize, group: usize) {
        let (weight, convolved, normal) = (self.name("w"), self.name("c"), self.name("n"));
        let inputs = self.channels / group;
        let size = (6.0 / (inputs * kernel * kernel) as f32).sqrt();
        let shape = [channels, inputs, kernel, kernel];
        self.weight(&weight, &shape, (0.0, size));
        let pad = (kernel / 2) as i64;
        let name = self.node_name("conv", &convolved, "Conv");
        self.builder
            .node("Conv", &[&self.last, &weight], &[&convolved])
            .named(&name)
            .ints("kernel_shape", &[kernel as i64; 2])
            .ints("strides", &[stride as i64; 2])
            .ints("dilations", &[1; 2])
            .ints("pads", &[pad; 4])
            .int("group", group as i64);
        let parts = ["scale", "bias", "mean", "variance"].map(|part| format!("{normal}.{part}"));
        // A mean of 0 and a variance of 1, as of values that were normal already.
        for (part, of) in parts
            .iter()
            .zip([(1.0, 0.1), (0.0, 0.1), (0.0, 0.0), (1.0, 0.0)])
        {
            self.weight(part, &[channels], of);
        }
        let [scale, bias, mean, variance] = parts.each_ref().map(String::as_str);
        let inputs = [convolved.as_str(), scale, bias, mean, variance];
        let name = self.node_name("norm", &normal, "BatchNormalization");
        self.builder
            .node("BatchNormalization", &inputs, &[&normal])
            .named(&name);
        self.last = normal;
        self.channels = channels;
    }

    fn rectify(&mut self) {
        let output = self.name("r");
        let name = self.node_name("relu", &output, "Relu");
        self.builder
            .node("Relu", &[&self.last], &[&output])
            .named(&name);
        self.last = output;
    }

    /// Between 0 and 6.
    fn clip(&mut self) {
        let output = self.name("r");
        let name = self.node_name("relu6", &output, "Clip");
        self.builder
            .node("Clip", &[&self.last, "zero", "six"], &[&output])
            .named(&name);
        self.last = output;
    }

    fn add(&mut self, other: &str) {
        let output = self.name("a");
        let name = self.node_name("add", &output, "Add");
        self.builder
            .node("Add", &[&self.last, other], &[&output])
            .named(&name);
        self.last = output;
    }

    /// The mean of each channel, and a layer that sorts it into a thousand classes.
    fn finish(mut self) -> Model {
        self.builder
            .node("GlobalAveragePool", &[&self.last], &["pooled"])
            .named("/head/pool/GlobalAveragePool");
        self.builder
            .node("Flatten", &["pooled"], &["flat"])
            .named("/head/flatten/Flatten");
        let size = (3.0 / self.channels as f32).sqrt();
        self.weight("fc.w", &[1000, self.channels], (0.0, size));
        self.weight("fc.b", &[1000], (0.0, size));
        self.builder
            .node("Gemm", &["flat", "fc.w", "fc.b"], &["classes"])
            .named("/head/fc/Gemm")
            .int("transB", 1);
        self.builder.output(
            "classes",
            DataType::FLOAT,
            [batch(), Dimension::Fixed(1000)],
        );
        let mut model = self.builder.finish();
        // What any runtime of these operators reads.
        model.ir_version = 8;
        model
    }
}

fn resnet_50(mut network: Growing) -> Model {
    "stem".clone_into(&mut network.module);
    network.convolution(64, 7, 2, 1);
    network.rectify();
    let pooled = network.name("p");
    network
        .builder
        .node("MaxPool", &[&network.last], &[&pooled])
        .named("/stem/pool/MaxPool")
        .ints("kernel_shape", &[3, 3])
        .ints("strides", &[2, 2])
        .ints("pads", &[1, 1, 1, 1]);
    network.last = pooled;
    let stages = [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)];
    for (stage, (width, blocks, stride)) in (1..).zip(stages) {
        for block in 0..blocks {
            network.module = format!("layer{stage}/layer{stage}.{block}");
            let stride = if block == 0 { stride } else { 1 };
            let (before, channels) = (network.last.clone(), network.channels);
            network.convolution(width, 1, 1, 1);
            network.rectify();
            network.convolution(width, 3, stride, 1);
            network.rectify();
            network.convolution(width * 4, 1, 1, 1);
            let mut shortcut = before.clone();
            if block == 0 {
                let main = std::mem::replace(&mut network.last, before);
                network.channels = channels;
                network.convolution(width * 4, 1, stride, 1);
                shortcut = std::mem::replace(&mut network.last, main);
            }
            network.add(&shortcut);
            network.rectify();
        }
    }
    network.finish()
}

fn mobilenet_v2(mut network: Growing) -> Model {
    const ROWS: [(usize, usize, usize, usize); 7] = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    for (name, value) in [("zero", 0.0), ("six", 6.0)] {
        let tensor = Tensor::from_f32(name, [], vec![value]);
        network.builder.weight(&tensor.expect("one of one"));
    }
    "features/0".clone_into(&mut network.module);
    network.convolution(32, 3, 2, 1);
    network.clip();
    let mut place = 0;
    for (expansion, channels, blocks, stride) in ROWS {
        for block in 0..blocks {
            place += 1;
            network.module = format!("features/{place}");
            let stride = if block == 0 { stride } else { 1 };
            let (before, width) = (network.last.clone(), network.channels);
            let hidden = width * expansion;
            if expansion != 1 {
                network.convolution(hidden, 1, 1, 1);
                network.clip();
            }
            network.convolution(hidden, 3, stride, hidden);
            network.clip();
            network.convolution(channels, 1, 1, 1);
            if stride == 1 && width == channels {
                network.add(&before);
            }
        }
    }
    network.module = format!("features/{}", place + 1);
    network.convolution(1280, 1, 1, 1);
    network.clip();
    network.finish()
}
