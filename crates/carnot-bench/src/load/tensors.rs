//! What is asked of a server of tensors: bodies by the Open Inference Protocol (version 2 of KServe's), made up from what the server says of
//! its model, or taken as they are.
//!
//! A made-up tensor is of the model's type and of its shape, of which the sizes that the model leaves open (−1) come from the caller; an open
//! first one, by custom the rows of a batch, is 1 where nobody says. Numbers are small, so that they serve as pixels, as masks and as
//! indices: fractions are in 0..1, bytes in 0..256, other whole numbers are 0 or 1.

use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::Ask;
use crate::dice::Dice;

/// Bytes of bodies that are made up, about; at least one body is.
const BODIES_BYTES: usize = 32 << 20;
/// Bodies at most, after which they come again.
const BODIES: usize = 1000;
/// Numbers of one tensor at most: a JSON of more than that is no request.
const NUMBERS: u64 = 1 << 26;

/// What a server says of a model: `GET /v2/models/{model}`. What else it says is left out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ModelMetadata {
    /// Its name.
    pub name: String,
    /// What it wants.
    pub inputs: Vec<TensorMetadata>,
}

/// A tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// Such as `FP32`.
    pub datatype: String,
    /// Sizes; −1 is left open.
    pub shape: Vec<i64>,
}

/// What a tensor is to be like: `NAME:1,3,224,224`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorShape {
    /// Its name.
    pub name: String,
    /// All sizes.
    pub sizes: Vec<u64>,
}

/// Why there is nothing to ask.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// What the server said is no description of a model.
    #[error("{url}: expected the name and inputs of a model: {source}")]
    Metadata {
        /// That was asked.
        url: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A shape is for a tensor that the model does not take.
    #[error("shape of {name}: expected one of the model's inputs, {inputs}")]
    Unknown {
        /// That was named.
        name: String,
        /// Those that there are.
        inputs: String,
    },
    /// A size is open, and nobody says how large it is.
    #[error(
        "input {name}: expected sizes for {shape} of the model, such as {name}:{example}, got none"
    )]
    Open {
        /// The input.
        name: String,
        /// By the model.
        shape: Sizes,
        /// That would do.
        example: Sizes,
    },
    /// A shape that the model does not take.
    #[error("input {name}: expected sizes that fit {shape} of the model, got {got}")]
    Misfit {
        /// The input.
        name: String,
        /// By the model.
        shape: Sizes,
        /// That were asked for.
        got: Sizes,
    },
    /// A tensor of more numbers than anybody sends as text.
    #[error("input {name}: expected at most {NUMBERS} values, got the shape {shape}")]
    TooLarge {
        /// The input.
        name: String,
        /// That was asked for.
        shape: Sizes,
    },
    /// Numbers that JSON cannot tell.
    #[error(
        "input {name}: expected a type that JSON can tell, got {datatype}; give bodies as a file"
    )]
    Datatype {
        /// The input.
        name: String,
        /// Its type.
        datatype: String,
    },
    /// A line of a file is no request.
    #[error(
        "line {line}: expected a request with `inputs`, each of a name, shape, datatype and data: {reason}"
    )]
    Body {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A file without a request.
    #[error("expected a request a line, got none")]
    Nothing,
}

/// Sizes as they are written: `[-1,3]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(Vec<i64>);

impl fmt::Display for Sizes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&sizes.join(","))
    }
}

impl TensorShape {
    /// Reads `NAME:SIZE,SIZE`; nothing after the colon is a single value.
    ///
    /// # Errors
    /// What was expected, if it is something else.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = || format!("expected NAME:SIZE,… such as input:1,3,224,224, got {text}");
        let (name, sizes) = text.rsplit_once(':').ok_or_else(refused)?;
        let sizes = sizes.split(',').filter(|size| !size.is_empty());
        let sizes: Result<Vec<u64>, _> = sizes.map(str::parse).collect();
        let sizes = sizes.map_err(|_| refused())?;
        if name.is_empty() || sizes.contains(&0) {
            return Err(refused());
        }
        let name = name.to_owned();
        Ok(Self { name, sizes })
    }
}

impl fmt::Display for TensorShape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.sizes.iter().map(|size| *size as i64).collect();
        write!(formatter, "{}:{}", self.name, Sizes(sizes))
    }
}

impl ModelMetadata {
    /// Reads what the page at `url` says.
    pub fn parse(text: &str, url: &str) -> Result<Self, TensorError> {
        serde_json::from_str(text).map_err(|source| TensorError::Metadata {
            url: url.to_owned(),
            source,
        })
    }

    /// The shape of each input: that which is asked for, else the model's own.
    pub fn shapes(&self, asked: &[TensorShape]) -> Result<Vec<TensorShape>, TensorError> {
        let is_input = |shape: &&TensorShape| self.inputs.iter().any(|of| of.name == shape.name);
        if let Some(unknown) = asked.iter().find(|shape| !is_input(shape)) {
            let names: Vec<&str> = self.inputs.iter().map(|of| of.name.as_str()).collect();
            return Err(TensorError::Unknown {
                name: unknown.name.clone(),
                inputs: names.join(", "),
            });
        }
        let shape = |input: &TensorMetadata| {
            let asked = asked.iter().find(|shape| shape.name == input.name);
            let sizes = match asked {
                Some(asked) => input.fitting(&asked.sizes)?,
                None => input.own_sizes()?,
            };
            let numbers = sizes
                .iter()
                .try_fold(1, |all: u64, size| all.checked_mul(*size));
            let name = input.name.clone();
            if numbers.is_none_or(|numbers| numbers > NUMBERS) {
                let shape = Sizes(sizes.iter().map(|size| *size as i64).collect());
                return Err(TensorError::TooLarge { name, shape });
            }
            Ok(TensorShape { name, sizes })
        };
        self.inputs.iter().map(shape).collect()
    }
}

impl TensorMetadata {
    fn fitting(&self, sizes: &[u64]) -> Result<Vec<u64>, TensorError> {
        let fits = |(open, size): (&i64, &u64)| *open < 0 || *open as u64 == *size;
        if sizes.len() == self.shape.len() && self.shape.iter().zip(sizes).all(fits) {
            return Ok(sizes.to_vec());
        }
        Err(TensorError::Misfit {
            name: self.name.clone(),
            shape: Sizes(self.shape.clone()),
            got: Sizes(sizes.iter().map(|size| *size as i64).collect()),
        })
    }

    /// The model's, with one row where it leaves the rows open.
    fn own_sizes(&self) -> Result<Vec<u64>, TensorError> {
        let of_one_row = self.shape.iter().enumerate();
        let of_one_row =
            of_one_row.map(|(index, size)| if index == 0 { size.abs() } else { *size });
        let sizes: Result<Vec<u64>, _> = of_one_row.map(u64::try_from).collect();
        sizes.map_err(|_| TensorError::Open {
            name: self.name.clone(),
            shape: Sizes(self.shape.clone()),
            example: Sizes(self.shape.iter().map(|size| size.abs()).collect()),
        })
    }
}

/// Requests of these shapes, as many as fit into some memory and at most a thousand. The same seed gives the same.
///
/// # Errors
/// [`TensorError::Datatype`] for numbers of 16 bits, which JSON cannot tell.
pub fn tensors(
    model: &ModelMetadata,
    shapes: &[TensorShape],
    seed: u64,
) -> Result<Vec<Ask>, TensorError> {
    let mut dice = Dice(seed);
    let mut asks: Vec<Ask> = Vec::new();
    let mut bytes = 0;
    while asks.is_empty() || (asks.len() < BODIES && bytes < BODIES_BYTES) {
        let mut body = String::from("{\"inputs\":[");
        for (index, (input, shape)) in model.inputs.iter().zip(shapes).enumerate() {
            let head = json!({
                "name": input.name,
                "shape": shape.sizes,
                "datatype": input.datatype,
            });
            let head = head.to_string();
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(body, "{comma}{},\"data\":[", head.trim_end_matches('}'));
            data(&mut body, input, shape.sizes.iter().product(), &mut dice)?;
            body.push_str("]}");
        }
        body.push_str("]}");
        bytes += body.len();
        asks.push(ask(
            body,
            rows(shapes.first().map(|of| of.sizes.as_slice())),
        ));
    }
    Ok(asks)
}

/// Writes so many values of the input's type, apart by commas.
fn data(
    body: &mut String,
    input: &TensorMetadata,
    count: u64,
    dice: &mut Dice,
) -> Result<(), TensorError> {
    let write: fn(&mut String, f64) -> fmt::Result = match input.datatype.as_str() {
        "FP32" | "FP64" => |body, drawn| write!(body, "{drawn:.4}"),
        "BOOL" => |body, drawn| write!(body, "{}", drawn < 0.5),
        "UINT8" => |body, drawn| write!(body, "{}", (drawn * 256.0) as u8),
        "INT8" | "INT16" | "INT32" | "INT64" | "UINT16" | "UINT32" | "UINT64" => {
            |body, drawn| write!(body, "{}", u8::from(drawn < 0.5))
        }
        "BYTES" => |body, drawn| write!(body, "\"text {drawn:.3}\""),
        _ => {
            return Err(TensorError::Datatype {
                name: input.name.clone(),
                datatype: input.datatype.clone(),
            });
        }
    };
    for index in 0..count {
        if index > 0 {
            body.push(',');
        }
        write(body, dice.uniform()).expect("writing to a string does not fail");
    }
    Ok(())
}

/// Rows of a request: the first size of its first input; a single value is one row.
fn rows(sizes: Option<&[u64]>) -> usize {
    let first = sizes.and_then(|sizes| sizes.first());
    first.copied().unwrap_or(1) as usize
}

fn ask(body: String, rows: usize) -> Ask {
    Ask {
        prompt: body.into(),
        tokens: rows,
        later: Vec::new(),
    }
}

/// What a request has to have.
#[derive(Deserialize)]
struct Request {
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Vec<u64>,
    #[serde(rename = "datatype")]
    _datatype: String,
    #[serde(rename = "data")]
    _data: Vec<IgnoredAny>,
}

/// The shapes of the inputs of a request; none of what is no request.
pub fn tensor_shapes(body: &str) -> Vec<TensorShape> {
    let request: Option<Request> = serde_json::from_str(body).ok();
    let inputs = request.map(|request| request.inputs).unwrap_or_default();
    let shape = |Input { name, shape, .. }| TensorShape { name, sizes: shape };
    inputs.into_iter().map(shape).collect()
}

/// The requests of a file, one a line, sent as they stand.
///
/// # Errors
/// [`TensorError::Body`] with the first line that is no request; [`TensorError::Nothing`] without any.
pub fn bodies(text: &str) -> Result<Vec<Ask>, TensorError> {
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(_, text)| !text.trim().is_empty());
    let one = |(line, text): (usize, &str)| {
        let refused = |reason: String| TensorError::Body { line, reason };
        let request: Request =
            serde_json::from_str(text).map_err(|error| refused(error.to_string()))?;
        let first = request.inputs.first();
        let first = first.ok_or_else(|| refused("got no input".to_owned()))?;
        Ok(ask(text.to_owned(), rows(Some(&first.shape))))
    };
    let asks = lines.map(one).collect::<Result<Vec<Ask>, TensorError>>()?;
    if asks.is_empty() {
        return Err(TensorError::Nothing);
    }
    Ok(asks)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn model(inputs: &[(&str, &str, &[i64])]) -> ModelMetadata {
        let input = |(name, datatype, shape): &(&str, &str, &[i64])| TensorMetadata {
            name: (*name).to_owned(),
            datatype: (*datatype).to_owned(),
            shape: shape.to_vec(),
        };
        ModelMetadata {
            name: "m".to_owned(),
            inputs: inputs.iter().map(input).collect(),
        }
    }

    fn shapes(model: &ModelMetadata, asked: &[&str]) -> Result<Vec<TensorShape>, String> {
        let asked: Vec<TensorShape> = asked
            .iter()
            .map(|text| TensorShape::parse(text).unwrap())
            .collect();
        model.shapes(&asked).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_server_says_of_a_model_is_read() {
        let text = r#"{"name": "m", "versions": ["1"], "platform": "onnx", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}], "outputs": []}"#;
        let read = ModelMetadata::parse(text, "http://h/v2/models/m").unwrap();
        assert_eq!(read, model(&[("x", "FP32", &[-1, 4])]));
        let told = ModelMetadata::parse("{\"name\": \"m\"}", "http://h/v2/models/m").unwrap_err();
        let expected =
            "http://h/v2/models/m: expected the name and inputs of a model: missing field";
        assert!(told.to_string().starts_with(expected), "{told}");
    }

    #[test]
    fn sizes_that_are_open_are_asked_for_but_for_one_row() {
        let own = model(&[("x", "FP32", &[-1, 4]), ("y", "INT64", &[])]);
        let of = |asked: &[&str]| {
            shapes(&own, asked)
                .map(|shapes| shapes.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(of(&[]).unwrap(), ["x:1,4", "y:"]);
        assert_eq!(of(&["x:8,4"]).unwrap(), ["x:8,4", "y:"]);
        assert_eq!(
            of(&["x:8,5"]).unwrap_err(),
            "input x: expected sizes that fit -1,4 of the model, got 8,5"
        );
        assert_eq!(
            of(&["x:8"]).unwrap_err(),
            "input x: expected sizes that fit -1,4 of the model, got 8"
        );
        assert_eq!(
            of(&["z:1"]).unwrap_err(),
            "shape of z: expected one of the model's inputs, x, y"
        );
        let open = model(&[("ids", "INT64", &[-1, -1])]);
        assert_eq!(
            shapes(&open, &[]).unwrap_err(),
            "input ids: expected sizes for -1,-1 of the model, such as ids:1,1, got none"
        );
        let told = shapes(&open, &["ids:4294967296,4294967296"]).unwrap_err();
        assert!(told.starts_with("input ids: expected at most"), "{told}");
    }

    #[test]
    fn a_shape_is_a_name_and_sizes() {
        for text in ["x", ":1", "x:1,a", "x:0", "x:-1"] {
            let told = TensorShape::parse(text).unwrap_err();
            assert!(told.ends_with(&format!("got {text}")), "{told}");
        }
        let of = TensorShape::parse("a:b:2,3").unwrap();
        assert_eq!(
            (of.name.as_str(), of.sizes.as_slice()),
            ("a:b", &[2, 3][..])
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_tensors_of_every_type() {
        let types = [
            "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
            "FP32", "FP64", "BYTES",
        ];
        for datatype in types {
            let model = model(&[("x", datatype, &[2, 3]), ("s", datatype, &[])]);
            let shapes = model.shapes(&[]).unwrap();
            let made = |seed| tensors(&model, &shapes, seed).unwrap();
            assert_eq!(made(1), made(1));
            assert_ne!(made(1), made(2), "{datatype}");
            let made = made(1);
            assert_eq!((made.len(), made[0].tokens), (BODIES, 2));
            let body: Value = serde_json::from_str(&made[0].prompt).unwrap();
            assert_eq!(tensor_shapes(&made[0].prompt), shapes);
            let [x, s] = [&body["inputs"][0], &body["inputs"][1]];
            assert_eq!((&x["name"], &x["shape"]), (&json!("x"), &json!([2, 3])));
            assert_eq!(x["datatype"], datatype);
            assert_eq!(x["data"].as_array().unwrap().len(), 6);
            assert_eq!(s["shape"], json!([]));
            assert_eq!(s["data"].as_array().unwrap().len(), 1);
        }
        let half = model(&[("x", "FP16", &[1])]);
        let told = tensors(&half, &half.shapes(&[]).unwrap(), 0).unwrap_err();
        let expected =
            "input x: expected a type that JSON can tell, got FP16; give bodies as a file";
        assert_eq!(told.to_string(), expected);
    }

    #[test]
    fn large_tensors_are_few() {
        let large = model(&[("x", "FP32", &[1 << 20])]);
        let made = tensors(&large, &large.shapes(&[]).unwrap(), 0).unwrap();
        let bytes: usize = made.iter().map(|ask| ask.prompt.len()).sum();
        assert!(
            made.len() < 10 && bytes < 2 * BODIES_BYTES,
            "{}",
            made.len()
        );
    }

    #[test]
    fn a_line_is_a_request_and_sent_as_it_stands() {
        let one = r#"{"id": "7", "inputs": [{"name": "x", "shape": [3, 1], "datatype": "FP32", "data": [1, 2, 3]}]}"#;
        let asks = bodies(&format!("{one}\n\n")).unwrap();
        assert_eq!((&*asks[0].prompt, asks[0].tokens, asks.len()), (one, 3, 1));
        for line in [
            "{}",
            "{\"inputs\": []}",
            "[1]",
            "{\"inputs\": [{\"name\": \"x\"}]}",
        ] {
            let told = bodies(&format!("{one}\n{line}")).unwrap_err().to_string();
            assert!(told.starts_with("line 2: expected a request"), "{told}");
        }
        assert!(matches!(bodies("\n"), Err(TensorError::Nothing)));
    }
}
