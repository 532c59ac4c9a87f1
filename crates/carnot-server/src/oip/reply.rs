//! An answer of the protocol: JSON, and behind it the bytes of those tensors that are wanted as bytes.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use carnot_cache::Origin;
use carnot_engine::{Element, Tensor, TensorModelInfo, TensorType};
use serde::Serialize;
use serde::ser::{Error as _, SerializeSeq, Serializer};

use super::wire::{HEADER_LENGTH, Inference};
use crate::error::{ApiError, ENGINE_FAILED, INVALID_VALUE};
use crate::tensors::Answer;

/// Whether each output comes as bytes, in the order in which they come.
///
/// # Errors
/// Where the model has no such output, and where one that JSON has no numbers for is not wanted as bytes.
pub(super) fn forms(model: &TensorModelInfo, request: &Inference) -> Result<Vec<bool>, ApiError> {
    let (said, otherwise) = &request.as_bytes;
    let wanted = model.check_outputs(request.outputs.as_deref())?;
    let form = |index: usize| {
        let output = &model.outputs[index];
        let said = said.iter().find(|(name, _)| *name == output.name);
        let is_bytes = said.map_or(*otherwise, |(_, is_bytes)| *is_bytes);
        if !is_bytes && matches!(output.tensor_type, TensorType::Fp16 | TensorType::Bf16) {
            let (name, kind) = (&output.name, output.tensor_type);
            let message = format!(
                "output {name} is {kind}, which JSON has no numbers for: expected binary_data for it"
            );
            return Err(ApiError::new(&INVALID_VALUE, message));
        }
        Ok(is_bytes)
    };
    wanted.into_iter().map(form).collect()
}

#[derive(Serialize)]
struct Told<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    parameters: Parameters,
    outputs: Vec<Output<'a>>,
}

/// Where the time went.
#[derive(Serialize)]
struct Parameters {
    /// Rows of the run, all requests in it together.
    batch_rows: usize,
    queue_us: f64,
    run_us: f64,
    /// Where the result was kept, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

#[derive(Serialize)]
struct Size {
    binary_data_size: usize,
}

/// The answer, with the outputs in their forms.
///
/// # Errors
/// Where an output has no form in JSON: strings that are not UTF-8.
pub(super) fn written(
    model: &TensorModelInfo,
    id: Option<&str>,
    answer: &Answer,
    forms: &[bool],
) -> Result<Response, ApiError> {
    let mut bytes = Vec::new();
    let outputs = answer.outputs.iter().zip(forms).map(|(tensor, is_bytes)| {
        let start = bytes.len();
        if *is_bytes {
            append(&mut bytes, tensor);
        }
        Output {
            name: tensor.name(),
            datatype: tensor.tensor_type().name(),
            shape: tensor.shape(),
            parameters: is_bytes.then(|| Size {
                binary_data_size: bytes.len() - start,
            }),
            data: (!is_bytes).then_some(Data(tensor)),
        }
    });
    let micros = |time: std::time::Duration| 1e6 * time.as_secs_f64();
    let told = Told {
        model_name: &model.name,
        model_version: &model.version,
        id,
        parameters: Parameters {
            batch_rows: answer.batch_rows,
            queue_us: micros(answer.queue),
            run_us: micros(answer.run),
            cache: answer.origin.map(Origin::name),
        },
        outputs: outputs.collect(),
    };
    let json = serde_json::to_vec(&told);
    let mut body = json.map_err(|error| ApiError::new(&ENGINE_FAILED, error.to_string()))?;
    if !forms.contains(&true) {
        return Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response());
    }
    let length = HeaderValue::from(body.len());
    body.append(&mut bytes);
    let kind = HeaderValue::from_static("application/octet-stream");
    Ok((
        [(header::CONTENT_TYPE, kind), (HEADER_LENGTH, length)],
        body,
    )
        .into_response())
}

/// A tensor as it lies in memory; strings each behind its length in four bytes.
fn append(bytes: &mut Vec<u8>, tensor: &Tensor) {
    if let Some(numbers) = tensor.bytes() {
        return bytes.extend_from_slice(numbers);
    }
    for string in tensor.strings().unwrap_or_default() {
        let length = u32::try_from(string.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&string[..length as usize]);
    }
}

/// Values in a flat list. JSON has neither NaN nor infinities: they are null.
struct Data<'a>(&'a Tensor);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use TensorType as T;
        fn numbers<T: Element + Serialize, S: Serializer>(
            tensor: &Tensor,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            let view = tensor.view::<T>().map_err(S::Error::custom)?;
            serializer.collect_seq(view.iter())
        }
        let Self(tensor) = self;
        match tensor.tensor_type() {
            T::Uint8 => numbers::<u8, S>(tensor, serializer),
            T::Uint16 => numbers::<u16, S>(tensor, serializer),
            T::Uint32 => numbers::<u32, S>(tensor, serializer),
            T::Uint64 => numbers::<u64, S>(tensor, serializer),
            T::Int8 => numbers::<i8, S>(tensor, serializer),
            T::Int16 => numbers::<i16, S>(tensor, serializer),
            T::Int32 => numbers::<i32, S>(tensor, serializer),
            T::Int64 => numbers::<i64, S>(tensor, serializer),
            T::Fp32 => numbers::<f32, S>(tensor, serializer),
            T::Fp64 => numbers::<f64, S>(tensor, serializer),
            T::Bool => {
                let truths = tensor.bytes().unwrap_or_default();
                serializer.collect_seq(truths.iter().map(|truth| *truth != 0))
            }
            T::Bytes => {
                let strings = tensor.strings().unwrap_or_default();
                let mut list = serializer.serialize_seq(Some(strings.len()))?;
                for string in strings {
                    let text = str::from_utf8(string).map_err(|_| {
                        S::Error::custom(
                            "an output of strings that are no text: ask for binary_data",
                        )
                    })?;
                    list.serialize_element(text)?;
                }
                list.end()
            }
            T::Fp16 | T::Bf16 => Err(S::Error::custom("JSON has no such numbers")),
        }
    }
}
