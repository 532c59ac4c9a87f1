//! Results that were computed before: the same inputs of the same tenant to the same model give what they gave.
//!
//! A result is kept as the bytes of its tensors, each behind a head: the length of its name, the name, its type, its axes, its sizes, the length of its values;
//! numbers in 8 bytes, the lowest first. Strings are kept each behind its length.

use std::time::Instant;

use carnot_cache::{Bytes, Cache, Key};
use carnot_engine::{SharedBytes, Tensor, TensorModelInfo, TensorType};

use super::runner::{Answer, ModelHandle, Request};
use crate::admission::Limits;
use crate::error::{ApiError, ENGINE_FAILED};

/// Gives a result that is kept, or lets the model compute it and keeps it. Of those who ask for the same at once one computes.
///
/// # Errors
/// As [`ModelHandle::infer`].
pub(crate) async fn infer(
    cache: &Cache,
    model: &ModelHandle,
    limits: &Limits,
    request: Request,
) -> Result<Answer, ApiError> {
    // What the model does not take is refused, and never asked for.
    model.info().check_inputs(&request.inputs)?;
    model.info().check_outputs(request.outputs.as_deref())?;
    let begin = Instant::now();
    let key = key_of(model.info(), &request);
    let mut computed = None;
    let found = cache
        .get_or_compute(key, async {
            let answer = model.infer(limits, request).await?;
            let bytes = written(&answer.outputs);
            computed = Some(answer);
            Ok::<Bytes, ApiError>(bytes)
        })
        .await;
    let found = found.map_err(|error| ApiError::clone(&error))?;
    model.looked_up(found.origin, begin.elapsed());
    if let Some(answer) = computed {
        return Ok(answer);
    }
    let outputs = read(&found.value).ok_or_else(|| {
        let message = "a result that was kept cannot be read";
        ApiError::new(&ENGINE_FAILED, message)
    })?;
    Ok(Answer::kept(outputs, found.origin))
}

/// Names the result: by whose it is, what computes it, all of its inputs, and what of it is wanted.
fn key_of(model: &TensorModelInfo, request: &Request) -> Key {
    let mut key = Key::of(&request.tenant, &model.hash)
        .with("name", model.name.as_bytes())
        .with("version", model.version.as_bytes())
        .with("platform", model.platform.as_bytes());
    let mut inputs: Vec<&Tensor> = request.inputs.iter().collect();
    inputs.sort_by_key(|input| input.name().to_owned());
    for input in inputs {
        let sizes: Vec<u8> = input
            .shape()
            .iter()
            .flat_map(|size| size.to_le_bytes())
            .collect();
        key = key
            .with("input", input.name().as_bytes())
            .with("type", input.tensor_type().name().as_bytes())
            .with("shape", &sizes);
        key = if let Some(bytes) = input.bytes() {
            key.with("values", bytes)
        } else {
            let strings = input.strings().unwrap_or_default().iter();
            strings.fold(key, |key, string| key.with("string", string))
        };
    }
    let outputs = request.outputs.iter().flatten();
    outputs
        .fold(key, |key, output| key.with("output", output.as_bytes()))
        .finish()
}

fn written(tensors: &[Tensor]) -> Bytes {
    let mut bytes = Vec::new();
    let number = |bytes: &mut Vec<u8>, number: usize| {
        bytes.extend_from_slice(&(number as u64).to_le_bytes());
    };
    for tensor in tensors {
        for text in [tensor.name(), tensor.tensor_type().name()] {
            number(&mut bytes, text.len());
            bytes.extend_from_slice(text.as_bytes());
        }
        number(&mut bytes, tensor.shape().len());
        tensor
            .shape()
            .iter()
            .for_each(|size| number(&mut bytes, *size));
        if let Some(values) = tensor.bytes() {
            number(&mut bytes, values.len());
            bytes.extend_from_slice(values);
        }
        for string in tensor.strings().unwrap_or_default() {
            number(&mut bytes, string.len());
            bytes.extend_from_slice(string);
        }
    }
    Bytes::from(bytes)
}

/// The tensors, which share the bytes; none where they are not what was written.
fn read(bytes: &Bytes) -> Option<Vec<Tensor>> {
    let mut rest = bytes.clone();
    let mut tensors = Vec::new();
    while !rest.is_empty() {
        let name = text(&mut rest)?;
        let tensor_type = TensorType::parse(&text(&mut rest)?)?;
        let axes = number(&mut rest)?;
        if axes > rest.len() {
            return None;
        }
        let shape = (0..axes)
            .map(|_| number(&mut rest))
            .collect::<Option<Vec<usize>>>()?;
        let tensor = if tensor_type == TensorType::Bytes {
            let elements = shape
                .iter()
                .try_fold(1_usize, |product, size| product.checked_mul(*size))?;
            if elements > rest.len() {
                return None;
            }
            let strings = (0..elements).map(|_| Some(part(&mut rest)?.to_vec()));
            Tensor::from_strings(name, shape, strings.collect::<Option<Vec<_>>>()?)
        } else {
            Tensor::from_bytes(name, tensor_type, shape, SharedBytes::new(part(&mut rest)?))
        };
        tensors.push(tensor.ok()?);
    }
    Some(tensors)
}

fn number(bytes: &mut Bytes) -> Option<usize> {
    let (number, _) = bytes.split_first_chunk::<8>()?;
    let number = usize::try_from(u64::from_le_bytes(*number)).ok()?;
    let _ = bytes.split_to(8);
    Some(number)
}

/// What is behind its length.
fn part(bytes: &mut Bytes) -> Option<Bytes> {
    let length = number(bytes)?;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

fn text(bytes: &mut Bytes) -> Option<String> {
    String::from_utf8(part(bytes)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<Tensor> {
        vec![
            Tensor::from_f32("y", [2, 2], vec![1.0, -2.0, 0.5, 3.0]).unwrap(),
            Tensor::from_strings("s", [2], vec![b"a\xff".to_vec(), Vec::new()]).unwrap(),
            Tensor::from_i64("scalar", [], vec![7]).unwrap(),
        ]
    }

    #[test]
    fn what_was_kept_is_what_is_read() {
        let bytes = written(&tensors());
        assert_eq!(read(&bytes), Some(tensors()));
        assert_eq!(read(&Bytes::new()), Some(Vec::new()));
        for length in 1..bytes.len() {
            let cut = read(&bytes.slice(..length));
            assert!(cut.is_none_or(|cut| cut.len() < 3), "{length}");
        }
    }

    #[test]
    fn every_part_of_a_request_is_in_its_key() {
        let model = TensorModelInfo {
            hash: "1f".to_owned(),
            ..TensorModelInfo::default()
        };
        let request = |tenant: &str, inputs: Vec<Tensor>, outputs: Option<Vec<String>>| Request {
            inputs,
            outputs,
            tenant: tenant.into(),
            priority: 5,
            timeout: None,
        };
        let mut other = tensors();
        other[1] = Tensor::from_strings("s", [2], vec![b"a".to_vec(), b"\xff".to_vec()]).unwrap();
        let mut reshaped = tensors();
        reshaped[0] = reshaped[0].clone().reshaped([4, 1]).unwrap();
        let requests = [
            request("a", tensors(), None),
            request("b", tensors(), None),
            request("a", tensors(), Some(vec!["y".to_owned()])),
            request("a", other, None),
            request("a", reshaped, None),
        ];
        let keys: std::collections::HashSet<Key> = requests
            .iter()
            .map(|request| key_of(&model, request))
            .collect();
        assert_eq!(keys.len(), requests.len());
        let mut turned = tensors();
        turned.reverse();
        let same = request("a", turned, None);
        assert!(
            keys.contains(&key_of(&model, &same)),
            "the order of inputs does not count"
        );
    }
}
