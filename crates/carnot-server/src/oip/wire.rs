//! A request of the protocol: a header in JSON, and behind it the bytes of those tensors that came as bytes.

use std::fmt;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, header};
use carnot_engine::{DEFAULT_PRIORITY, MAX_PRIORITY, SharedBytes, Tensor, TensorType};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::data::{Flat, Values};
use crate::error::{ApiError, INVALID_VALUE};
use crate::openai::parse;

/// How many bytes of the body are JSON, where tensors follow as bytes.
pub(super) const HEADER_LENGTH: HeaderName =
    HeaderName::from_static("inference-header-content-length");

/// What is asked of a tensor model.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct InferenceRequest {
    /// Comes back with the answer.
    #[serde(default)]
    id: Option<String>,
    /// `priority` from 0 to 10, 10 goes first; `timeout` in microseconds, how long it may wait for its run; `binary_data_output`, whether
    /// outputs of which nothing else is said come as bytes.
    #[serde(default)]
    #[schema(value_type = Object)]
    parameters: Map<String, Value>,
    inputs: Vec<InputTensor>,
    /// All where none are named.
    #[serde(default)]
    outputs: Vec<OutputWanted>,
}

/// A tensor that goes in.
#[derive(Debug, ToSchema)]
struct InputTensor {
    name: String,
    shape: Vec<usize>,
    /// Such as `FP32`.
    datatype: String,
    /// `binary_data_size`, where its values follow as bytes.
    #[schema(value_type = Object)]
    parameters: Map<String, Value>,
    /// Its values row by row, nested or flat.
    #[schema(value_type = Vec<Object>)]
    data: Option<Values>,
}

/// A tensor that is to come out.
#[derive(Debug, Deserialize, ToSchema)]
struct OutputWanted {
    name: String,
    /// `binary_data`, whether it comes as bytes.
    #[serde(default)]
    #[schema(value_type = Object)]
    parameters: Map<String, Value>,
}

/// A request that was read.
#[derive(Debug)]
pub(super) struct Inference {
    pub id: Option<String>,
    pub inputs: Vec<Tensor>,
    pub outputs: Option<Vec<String>>,
    pub priority: u8,
    pub timeout: Option<Duration>,
    /// Whether outputs come as bytes: those of which it is said, then all others.
    pub as_bytes: (Vec<(String, bool)>, bool),
}

/// Reads a request.
///
/// # Errors
/// Where it is not well formed, says what nobody understands, or its values are not those of its shapes.
pub(super) fn read(headers: &HeaderMap, body: &Bytes) -> Result<Inference, ApiError> {
    let coding = headers.get(header::CONTENT_ENCODING);
    if let Some(coding) = coding.filter(|coding| *coding != "identity") {
        let got = coding.to_str().unwrap_or("another");
        return Err(ApiError::field("content-encoding", "none", got));
    }
    let length = header_length(headers, body.len())?;
    let request: InferenceRequest = parse(&body[..length])?;
    let mut rest = body.slice(length..);
    let inputs = request.inputs.into_iter();
    let inputs = inputs.map(|input| input.tensor(&mut rest));
    let inputs = inputs.collect::<Result<Vec<Tensor>, ApiError>>()?;
    if !rest.is_empty() {
        let expected = "no bytes behind those of the inputs";
        return Err(ApiError::field(
            "the body",
            expected,
            format!("{} more", rest.len()),
        ));
    }
    let parameters = &request.parameters;
    let priority = match number(parameters, "priority")? {
        None => DEFAULT_PRIORITY,
        Some(priority) => {
            let small = u8::try_from(priority)
                .ok()
                .filter(|one| *one <= MAX_PRIORITY);
            let expected = format!("0 to {MAX_PRIORITY}");
            small.ok_or_else(|| ApiError::field("priority", &expected, priority))?
        }
    };
    // As Triton has it, 0 is none.
    let timeout = number(parameters, "timeout")?.filter(|timeout| *timeout > 0);
    let by_default = truth(parameters, "binary_data_output")?.unwrap_or(false);
    let mut as_bytes = Vec::new();
    for output in &request.outputs {
        if let Some(unknown) = output.parameters.keys().find(|key| *key != "binary_data") {
            return Err(ApiError::field("outputs", "binary_data alone", unknown));
        }
        if let Some(is_bytes) = truth(&output.parameters, "binary_data")? {
            as_bytes.push((output.name.clone(), is_bytes));
        }
    }
    let names: Vec<String> = request
        .outputs
        .into_iter()
        .map(|output| output.name)
        .collect();
    Ok(Inference {
        id: request.id,
        inputs,
        outputs: (!names.is_empty()).then_some(names),
        priority,
        timeout: timeout.map(Duration::from_micros),
        as_bytes: (as_bytes, by_default),
    })
}

fn header_length(headers: &HeaderMap, body: usize) -> Result<usize, ApiError> {
    let Some(given) = headers.get(&HEADER_LENGTH) else {
        return Ok(body);
    };
    let given = given.to_str().unwrap_or("something else");
    let length = given.parse().ok().filter(|length| *length <= body);
    length.ok_or_else(|| {
        let expected = format!("a number of the body's {body} bytes");
        ApiError::field(HEADER_LENGTH.as_str(), &expected, given)
    })
}

fn number(parameters: &Map<String, Value>, name: &str) -> Result<Option<u64>, ApiError> {
    let Some(value) = parameters.get(name) else {
        return Ok(None);
    };
    let number = value.as_u64();
    let wrong = || ApiError::field(name, "a whole number, at least 0", value);
    number.map(Some).ok_or_else(wrong)
}

fn truth(parameters: &Map<String, Value>, name: &str) -> Result<Option<bool>, ApiError> {
    let Some(value) = parameters.get(name) else {
        return Ok(None);
    };
    let truth = value.as_bool();
    let wrong = || ApiError::field(name, "true or false", value);
    truth.map(Some).ok_or_else(wrong)
}

impl InputTensor {
    /// The tensor, whose bytes are the first of `rest` where it came as bytes.
    fn tensor(self, rest: &mut Bytes) -> Result<Tensor, ApiError> {
        let Self {
            name,
            shape,
            datatype,
            parameters,
            data,
        } = self;
        let wrong = |what: &str, expected: &str, got: &dyn fmt::Display| ApiError {
            param: Some(name.clone()),
            ..ApiError::new(
                &INVALID_VALUE,
                format!("input {name}: {what}: expected {expected}, got {got}"),
            )
        };
        let Some(tensor_type) = TensorType::parse(&datatype) else {
            let known = TensorType::ALL.map(TensorType::name).join(", ");
            return Err(wrong("datatype", &format!("one of {known}"), &datatype));
        };
        let is_known = |key: &&String| *key != "binary_data_size";
        if let Some(unknown) = parameters.keys().find(is_known) {
            return Err(wrong("parameters", "binary_data_size alone", unknown));
        }
        match (number(&parameters, "binary_data_size")?, data) {
            (Some(size), None) => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                if size > rest.len() {
                    let expected = format!("at most the {} bytes that follow", rest.len());
                    return Err(wrong("binary_data_size", &expected, &size));
                }
                let bytes = rest.split_to(size);
                if tensor_type == TensorType::Bytes {
                    let strings = strings(&bytes);
                    let strings = strings.ok_or_else(|| {
                        let expected = "strings, each behind its length in four bytes";
                        wrong("BYTES", expected, &"something else")
                    })?;
                    return Ok(Tensor::from_strings(name, shape, strings)?);
                }
                let bytes = SharedBytes::new(bytes);
                Ok(Tensor::from_bytes(name, tensor_type, shape, bytes)?)
            }
            (None, Some(data)) => {
                if Values::of(tensor_type).is_none() {
                    let expected = "binary_data_size and bytes, for JSON has no such numbers";
                    return Err(wrong(tensor_type.name(), expected, &"data"));
                }
                let data = data.typed(tensor_type);
                let data = data.map_err(|got| wrong("data", tensor_type.name(), &got))?;
                Ok(data.tensor(&name, shape)?)
            }
            (Some(_), Some(_)) => Err(wrong("data", "none beside binary_data_size", &"some")),
            (None, None) => Err(wrong("data", "values, or binary_data_size", &"neither")),
        }
    }
}

/// Strings, each behind its length in four bytes, the lowest first.
fn strings(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut strings = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let (string, rest) = rest.split_at_checked(length)?;
        strings.push(string.to_vec());
        bytes = rest;
    }
    Some(strings)
}

/// Its values are read into numbers at once where the datatype comes before them, as all clients have it.
impl<'de> Deserialize<'de> for InputTensor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InputVisitor)
    }
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = InputTensor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tensor with name, shape, datatype and data")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<InputTensor, A::Error> {
        let (mut name, mut shape, mut datatype) = (None, None, None::<String>);
        let (mut parameters, mut data) = (Map::new(), None);
        while let Some(key) = fields.next_key::<String>()? {
            match key.as_str() {
                "name" => name = Some(fields.next_value()?),
                "shape" => shape = Some(fields.next_value()?),
                "datatype" => datatype = Some(fields.next_value()?),
                "parameters" => parameters = fields.next_value()?,
                "data" => {
                    let known = datatype.as_deref().and_then(TensorType::parse);
                    let typed = known.and_then(Values::of);
                    let mut values = typed.unwrap_or(Values::Any(Vec::new()));
                    fields.next_value_seed(Flat(&mut values))?;
                    data = Some(values);
                }
                _ => drop(fields.next_value::<serde::de::IgnoredAny>()?),
            }
        }
        let missing = A::Error::missing_field;
        Ok(InputTensor {
            name: name.ok_or_else(|| missing("name"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
            datatype: datatype.ok_or_else(|| missing("datatype"))?,
            parameters,
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_parts(json: &str, bytes: &[u8]) -> Result<Inference, String> {
        let mut headers = HeaderMap::new();
        if !bytes.is_empty() {
            headers.insert(HEADER_LENGTH, json.len().into());
        }
        let body = Bytes::from([json.as_bytes(), bytes].concat());
        read(&headers, &body).map_err(|error| error.message)
    }

    fn with_input(input: &str) -> String {
        format!(r#"{{"inputs": [{{"name": "x", {input}}}]}}"#)
    }

    #[test]
    fn the_order_of_fields_does_not_matter() {
        let before = with_input(r#""data": [[1], [2]], "shape": [2, 1], "datatype": "INT64""#);
        let after = with_input(r#""shape": [2, 1], "datatype": "INT64", "data": [1, 2]"#);
        let (before, after) = (
            read_parts(&before, b"").unwrap(),
            read_parts(&after, b"").unwrap(),
        );
        assert_eq!(before.inputs, after.inputs);
        assert_eq!(
            before.inputs[0],
            Tensor::from_i64("x", [2, 1], vec![1, 2]).unwrap()
        );
    }

    #[test]
    fn bytes_follow_in_the_order_of_inputs() {
        let json = r#"{"inputs": [
            {"name": "a", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
            {"name": "b", "shape": [1], "datatype": "INT8", "data": [7]},
            {"name": "c", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": 10}}]}"#;
        let bytes = [
            &1.5_f32.to_le_bytes()[..],
            &[2, 0, 0, 0],
            b"hi",
            &[0, 0, 0, 0],
        ]
        .concat();
        let inputs = read_parts(json, &bytes).unwrap().inputs;
        assert_eq!(*inputs[0].view::<f32>().unwrap(), [1.5]);
        assert_eq!(inputs[2].strings().unwrap(), [b"hi".to_vec(), Vec::new()]);
        let error = read_parts(json, &[&bytes[..], b"x"].concat()).unwrap_err();
        assert_eq!(
            error,
            "the body: expected no bytes behind those of the inputs, got 1 more"
        );
        let error = read_parts(json, &bytes[..13]).unwrap_err();
        assert_eq!(
            error,
            "input c: binary_data_size: expected at most the 9 bytes that follow, got 10"
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (input, expected) in [
            (
                r#""shape": [1], "datatype": "FP99", "data": [1]"#,
                "input x: datatype: expected one of BOOL",
            ),
            (
                r#""shape": [2], "datatype": "FP32", "data": [1]"#,
                "tensor x: values: expected 2 values for [2], got 1",
            ),
            (
                r#""shape": [1], "datatype": "FP16", "data": [1]"#,
                "input x: FP16: expected binary_data_size and bytes",
            ),
            (
                r#""shape": [1], "datatype": "INT8", "data": [999]"#,
                "the body: data: 999 is not of the datatype at line 1",
            ),
            (
                r#""data": [999], "shape": [1], "datatype": "INT8""#,
                "input x: data: expected INT8, got 999",
            ),
            (
                r#""shape": [1], "datatype": "INT8""#,
                "input x: data: expected values, or binary_data_size, got neither",
            ),
            (
                r#""shape": [-1], "datatype": "INT8", "data": [1]"#,
                "the body: invalid value: integer `-1`",
            ),
            (
                r#""shape": [1], "datatype": "INT8", "parameters": {"shared_memory_region": "a"}"#,
                "input x: parameters: expected binary_data_size alone",
            ),
        ] {
            let error = read_parts(&with_input(input), b"").unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn priority_and_timeout_are_parameters() {
        let with = |parameters: &str| {
            read_parts(
                &format!(r#"{{"parameters": {parameters}, "inputs": []}}"#),
                b"",
            )
        };
        let read = with(r#"{"priority": 9, "timeout": 2500, "binary_data_output": true}"#).unwrap();
        assert_eq!(
            (read.priority, read.timeout, read.as_bytes.1),
            (9, Some(Duration::from_micros(2500)), true)
        );
        assert_eq!(
            with(r#"{"priority": 11}"#).unwrap_err(),
            "priority: expected 0 to 10, got 11"
        );
        assert_eq!(with(r#"{"timeout": 0}"#).unwrap().timeout, None);
    }
}
