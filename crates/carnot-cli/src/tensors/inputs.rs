//! What goes into a tensor model: random values of the declared types, of shapes that are declared or given.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use carnot_engine::{EngineError, Tensor, TensorInfo, TensorModelInfo, TensorType};
use carnot_formats::npz;
use carnot_onnx::{Dimension, InputGiven, Model, ValueInfo};
use carnot_record::TensorInputSummary;

use crate::wrong_usage::WrongUsage;

/// The inputs of a run, and what is told of them.
#[derive(Debug)]
pub struct Inputs {
    /// One for each input of the model.
    pub tensors: Vec<Tensor>,
    /// The same, as records describe them.
    pub summary: Vec<TensorInputSummary>,
    /// Sizes that nobody gave.
    pub assumed: Vec<String>,
}

impl Inputs {
    /// What an analysis is given of them: all their values.
    pub fn given(&self) -> HashMap<String, InputGiven> {
        let given = |tensor: &Tensor| {
            let given = InputGiven::Values(tensor.clone());
            (tensor.name().to_owned(), given)
        };
        self.tensors.iter().map(given).collect()
    }
}

/// The inputs of `model`, from `given` where something is: `x:1x3x224x224,mask:1x8`, or a file `….npz`.
pub fn inputs(model: &Model, given: Option<&str>) -> anyhow::Result<Inputs> {
    let infos = model.info("", "", "");
    let infos = infos.map_err(|error| WrongUsage::error(error.to_string()))?;
    let is_file = |path: &&Path| path.extension().is_some_and(|ending| ending == "npz");
    if let Some(path) = given.map(Path::new).filter(is_file) {
        return from_file(&infos, path);
    }
    let shapes = shapes(given.unwrap_or_default())?;
    if let Some((name, _)) = shapes
        .iter()
        .find(|(name, _)| !infos.inputs.iter().any(|info| info.name == *name))
    {
        let names: Vec<&str> = infos.inputs.iter().map(|one| one.name.as_str()).collect();
        let names = names.join(", ");
        return Err(WrongUsage::error(format!(
            "--inputs: input {name}: expected one of: {names}"
        )));
    }
    let (shapes, assumed) = resolved(model, &shapes)?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut made = Inputs {
        tensors: Vec::new(),
        summary: Vec::new(),
        assumed,
    };
    for (info, shape) in infos.inputs.iter().zip(shapes) {
        let tensor = random.tensor(info, shape)?;
        info.check(&tensor)
            .map_err(|error| WrongUsage::error(format!("--inputs: {error}")))?;
        made.summary.push(summary(&tensor, "random"));
        made.tensors.push(tensor);
    }
    Ok(made)
}

/// A file may have this much.
const MOST_BYTES: u64 = 4 << 30;

/// The arrays of an `.npz` file, each by the name of an input.
fn from_file(model: &TensorModelInfo, path: &Path) -> anyhow::Result<Inputs> {
    let name = path.display().to_string();
    let wrong = |error: &dyn std::fmt::Display| {
        let error = error.to_string();
        WrongUsage::error(if error.contains(&name) {
            error
        } else {
            format!("{name}: {error}")
        })
    };
    let bytes = fs::read(path).map_err(|error| wrong(&error))?;
    let arrays = npz::read(&name, &bytes, MOST_BYTES).map_err(|error| wrong(&error))?;
    let mut made = Inputs {
        tensors: Vec::new(),
        summary: Vec::new(),
        assumed: Vec::new(),
    };
    for array in arrays {
        let tensor = tensor_of(array).map_err(|error| wrong(&error))?;
        made.summary.push(summary(&tensor, &name));
        made.tensors.push(tensor);
    }
    model
        .check_inputs(&made.tensors)
        .map_err(|error| wrong(&error))?;
    Ok(made)
}

fn tensor_of(array: npz::Array) -> Result<Tensor, EngineError> {
    let tensor_type = match array.data_type.as_str() {
        "b1" => TensorType::Bool,
        "u1" => TensorType::Uint8,
        "u2" => TensorType::Uint16,
        "u4" => TensorType::Uint32,
        "u8" => TensorType::Uint64,
        "i1" => TensorType::Int8,
        "i2" => TensorType::Int16,
        "i4" => TensorType::Int32,
        "i8" => TensorType::Int64,
        "f2" => TensorType::Fp16,
        "f8" => TensorType::Fp64,
        // The reader lets no other through than `f4`.
        _ => TensorType::Fp32,
    };
    Tensor::from_bytes(array.name, tensor_type, array.shape, array.bytes)
}

/// A tensor as records describe it; `values` says where its values are from.
fn summary(tensor: &Tensor, values: &str) -> TensorInputSummary {
    TensorInputSummary {
        name: tensor.name().to_owned(),
        data_type: tensor.tensor_type().to_string(),
        shape: tensor.shape().iter().map(|size| *size as u64).collect(),
        values: values.to_owned(),
    }
}

/// `name:1x3x224x224,…`; a name may have colons in it, and a scalar has nothing behind the last.
fn shapes(text: &str) -> anyhow::Result<Vec<(String, Vec<usize>)>> {
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    let shape = |part: &str| {
        let (name, sizes) = part.trim().rsplit_once(':')?;
        let sizes = sizes.split(['x', '×']).filter(|size| !size.is_empty());
        let sizes = sizes.map(|size| size.parse().ok()).collect::<Option<_>>()?;
        Some((name.to_owned(), sizes))
    };
    let parsed = |part: &str| {
        shape(part).ok_or_else(|| {
            WrongUsage::error(format!(
                "--inputs {part}: expected an input and its shape, such as x:1x3x224x224, or a file that ends in .npz"
            ))
        })
    };
    parts.map(parsed).collect()
}

type Resolved = (Vec<Vec<usize>>, Vec<String>);

/// The shape of each input: what is given, or what is declared with 1 for what is free; and what was assumed so.
fn resolved(model: &Model, given: &[(String, Vec<usize>)]) -> anyhow::Result<Resolved> {
    let told = |input: &ValueInfo| {
        let found = given.iter().find(|(name, _)| *name == input.name);
        found.map(|(_, shape)| shape)
    };
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    for input in model.graph.required_inputs() {
        let declared = input.dimensions().unwrap_or_default();
        for (dimension, size) in declared.iter().zip(told(input).into_iter().flatten()) {
            if let Dimension::Named(name) = dimension {
                sizes.entry(name).or_insert(*size);
            }
        }
    }
    let mut assumed = Vec::new();
    let mut shapes = Vec::new();
    for input in model.graph.required_inputs() {
        if let Some(shape) = told(input) {
            shapes.push(shape.clone());
            continue;
        }
        let Some(declared) = input.dimensions() else {
            let name = &input.name;
            return Err(WrongUsage::error(format!(
                "the model says nothing of the shape of {name}; give it: --inputs {name}:1x3x224x224"
            )));
        };
        let mut shape = Vec::new();
        for (axis, dimension) in declared.iter().enumerate() {
            let known = match dimension {
                Dimension::Fixed(size) => Some(*size),
                Dimension::Named(name) => sizes.get(name.as_str()).copied(),
                Dimension::Unknown => None,
            };
            if known.is_none() {
                assumed.push(match dimension {
                    Dimension::Named(name) => format!("{name} of {} is 1", input.name),
                    _ => format!("axis {axis} of {} is 1", input.name),
                });
            }
            if let (None, Dimension::Named(name)) = (known, dimension) {
                sizes.insert(name, 1);
            }
            shape.push(known.unwrap_or(1));
        }
        shapes.push(shape);
    }
    Ok((shapes, assumed))
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From −1 to 1.
    fn fraction(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    /// Numbers with a fraction from −1 to 1, bytes of any value, other integers 0 or 1: they may be indices of whatever is there.
    fn tensor(&mut self, info: &TensorInfo, shape: Vec<usize>) -> anyhow::Result<Tensor> {
        use TensorType as T;
        const MOST: usize = 1 << 34;
        let name = info.name.as_str();
        let size = info.tensor_type.size().unwrap_or(1);
        let elements = shape
            .iter()
            .try_fold(1_usize, |all, size| all.checked_mul(*size));
        let elements = elements.filter(|elements| elements.saturating_mul(size) <= MOST);
        let Some(count) = elements else {
            return Err(WrongUsage::error(format!(
                "--inputs: {name}: expected at most {MOST} bytes, got {shape:?}"
            )));
        };
        let bytes: Vec<u8> = match info.tensor_type {
            T::Fp32 => (0..count)
                .flat_map(|_| self.fraction().to_le_bytes())
                .collect(),
            T::Fp64 => (0..count)
                .flat_map(|_| f64::from(self.fraction()).to_le_bytes())
                .collect(),
            T::Fp16 => (0..count)
                .flat_map(|_| half_bits(self.fraction()).to_le_bytes())
                .collect(),
            T::Bf16 => (0..count)
                .flat_map(|_| ((self.fraction().to_bits() >> 16) as u16).to_le_bytes())
                .collect(),
            T::Uint8 | T::Int8 => (0..count).map(|_| self.next() as u8).collect(),
            T::Bytes => {
                let tensor = Tensor::from_strings(name, shape, vec![b"a".to_vec(); count]);
                return Ok(tensor?);
            }
            _ => {
                let mut bytes = vec![0; count * size];
                for value in bytes.chunks_mut(size) {
                    value[0] = (self.next() >> 63) as u8;
                }
                bytes
            }
        };
        Ok(Tensor::from_bytes(name, info.tensor_type, shape, bytes)?)
    }
}

/// A number within ±1 in half precision, the bits beyond left out; what is too small for its normal numbers is 0.
fn half_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let exponent = ((bits >> 23) & 0xff) as i32 - 127 + 15;
    if exponent <= 0 {
        return sign;
    }
    sign | ((exponent as u16) << 10) | ((bits >> 13) & 0x3ff) as u16
}

#[cfg(test)]
mod tests {
    use carnot_onnx::{DataType, GraphBuilder};

    use super::*;

    fn model() -> Model {
        let mut builder = GraphBuilder::new("m", 17);
        let batch = || Dimension::Named("batch".to_owned());
        builder.input("x:0", DataType::FLOAT, [batch(), Dimension::Fixed(3)]);
        builder.input("ids", DataType::INT64, [batch(), Dimension::Unknown]);
        builder.finish()
    }

    fn made(given: Option<&str>) -> (Vec<Vec<usize>>, Vec<String>) {
        let made = inputs(&model(), given).expect("they fit");
        let shapes = made.tensors.iter().map(|one| one.shape().to_vec());
        (shapes.collect(), made.assumed)
    }

    #[test]
    fn what_is_free_is_1_or_what_another_input_says() {
        let (shapes, assumed) = made(None);
        assert_eq!(shapes, [[1, 3], [1, 1]]);
        assert_eq!(assumed, ["batch of x:0 is 1", "axis 1 of ids is 1"]);
        let (shapes, assumed) = made(Some("x:0:4x3"));
        assert_eq!(shapes, [[4, 3], [4, 1]]);
        assert_eq!(assumed, ["axis 1 of ids is 1"]);
    }

    #[test]
    fn what_does_not_fit_is_refused_in_one_line() {
        let refused = |given: &str| {
            let error = inputs(&model(), Some(given)).expect_err("it does not fit");
            assert!(error.downcast_ref::<WrongUsage>().is_some());
            error.to_string()
        };
        assert!(refused("y:1").contains("expected one of: x:0, ids"));
        assert!(refused("x:0:1x4").contains("[?, 3]"));
        assert!(refused("x:0:1xq").contains("x:1x3x224x224"));
        assert!(refused("ids").contains(".npz"));
        assert!(refused("x:0:9999999999999x3").contains("bytes"));
    }

    #[test]
    fn integers_are_indices_of_anything() {
        let made = inputs(&model(), Some("ids:2x50")).expect("they fit");
        let ids = made.tensors[1].view::<i64>().expect("whole numbers");
        assert!(ids.contains(&0) && ids.contains(&1));
        assert!(ids.iter().all(|id| (0..2).contains(id)));
        let x = made.tensors[0].view::<f32>().expect("fractions");
        assert!(x.iter().all(|value| value.abs() <= 1.0));
    }

    #[test]
    fn half_precision_is_what_it_is_elsewhere() {
        for (value, bits) in [(0.0, 0), (1.0, 0x3c00), (-0.5, 0xb800), (0.75, 0x3a00)] {
            assert_eq!(half_bits(value), bits);
        }
    }
}
