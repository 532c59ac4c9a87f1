//! Operators that move values: to other shapes, places and types.

use super::Fact;
use super::infer::{Call, axis_of, broadcast};
use crate::model::{AttributeValue, DataType};

/// The outputs, where it is such an operator and what it needs is known.
pub fn outputs(call: &Call<'_>) -> Option<Vec<Fact>> {
    match call.node.operator.as_str() {
        "Constant" => constant(call),
        "Shape" => shape_of(call),
        "Size" => Some(vec![Fact::new(DataType::INT64, Some(Vec::new()))]),
        "Cast" => Some(vec![Fact::new(
            DataType(call.node.int("to")?),
            Some(call.shape(0)?.to_vec()),
        )]),
        "CastLike" => call.one(1, call.shape(0)?.to_vec()),
        "Reshape" => reshape(call),
        "Flatten" => flatten(call),
        "Squeeze" => squeeze(call),
        "Unsqueeze" => unsqueeze(call),
        "Transpose" => transpose(call),
        "Concat" => concat(call),
        "Split" => split(call),
        "Slice" => slice(call),
        "Gather" => gather(call),
        "GatherElements" => call.one(0, call.shape(1)?.to_vec()),
        "GatherND" => gather_nd(call),
        "Scatter" | "ScatterElements" | "ScatterND" | "TensorScatter" | "ReverseSequence"
        | "Trilu" | "CumSum" | "CumProd" => call.one(0, call.shape(0)?.to_vec()),
        "Tile" => tile(call),
        "Expand" => {
            let shape = sizes(&call.whole(1)?)?;
            call.one(0, broadcast(call.shape(0)?, &shape)?)
        }
        "Pad" => pad(call),
        "ConstantOfShape" => constant_of_shape(call),
        "Range" => range(call),
        "OneHot" => one_hot(call),
        "EyeLike" | "RandomNormalLike" | "RandomUniformLike" | "Bernoulli" => {
            let data_type = call.node.int("dtype").map(DataType).or(call.data_type(0));
            Some(vec![Fact {
                data_type,
                ..call.fact(0, call.shape(0)?.to_vec())
            }])
        }
        "RandomNormal" | "RandomUniform" => {
            let shape = sizes(call.node.ints("shape")?)?;
            Some(vec![Fact::new(DataType(call.int("dtype", 1)), Some(shape))])
        }
        "Multinomial" => {
            let shape = vec![
                *call.shape(0)?.first()?,
                usize::try_from(call.int("sample_size", 1)).ok()?,
            ];
            Some(vec![Fact::new(DataType(call.int("dtype", 6)), Some(shape))])
        }
        "Dropout" => {
            let shape = call.shape(0)?.to_vec();
            let mask = Fact::new(DataType::BOOL, Some(shape.clone()));
            Some(vec![call.fact(0, shape), mask])
        }
        "DepthToSpace" | "SpaceToDepth" => blocks(call),
        "CenterCropPad" => center_crop_pad(call),
        "Compress" => compress(call),
        "NonZero" => non_zero(call),
        _ => None,
    }
}

/// Sizes that are 0 or more.
fn sizes(values: &[i64]) -> Option<Vec<usize>> {
    values
        .iter()
        .map(|size| usize::try_from(*size).ok())
        .collect()
}

fn constant(call: &Call<'_>) -> Option<Vec<Fact>> {
    let node = call.node;
    let listed = |data_type, values: Vec<f64>, is_scalar: bool| Fact {
        shape: Some(if is_scalar {
            Vec::new()
        } else {
            vec![values.len()]
        }),
        values: Some(values),
        ..Fact::new(data_type, None)
    };
    let attribute = node.attributes.first()?;
    let fact = match &attribute.value {
        AttributeValue::Tensor(tensor) => super::values::of_proto(tensor),
        AttributeValue::Int(value) => listed(DataType::INT64, vec![*value as f64], true),
        AttributeValue::Float(value) => listed(DataType::FLOAT, vec![f64::from(*value)], true),
        AttributeValue::Ints(values) => listed(
            DataType::INT64,
            values.iter().map(|value| *value as f64).collect(),
            false,
        ),
        AttributeValue::Floats(values) => listed(
            DataType::FLOAT,
            values.iter().map(|value| f64::from(*value)).collect(),
            false,
        ),
        AttributeValue::String(_) => Fact::new(DataType::STRING, Some(Vec::new())),
        AttributeValue::Strings(values) => Fact::new(DataType::STRING, Some(vec![values.len()])),
        _ => return None,
    };
    Some(vec![fact])
}

fn shape_of(call: &Call<'_>) -> Option<Vec<Fact>> {
    let rank = call.shape(0)?.len() as i64;
    let bound = |value: i64| if value < 0 { value + rank } else { value }.clamp(0, rank);
    let start = bound(call.int("start", 0));
    let end = bound(call.int("end", rank));
    let count = usize::try_from(end - start).unwrap_or(0);
    Some(vec![Fact::new(DataType::INT64, Some(vec![count]))])
}

fn reshape(call: &Call<'_>) -> Option<Vec<Fact>> {
    let input = call.shape(0)?;
    let wanted = call.list(1, "shape")?;
    let allows_zero = call.int("allowzero", 0) == 1;
    let elements = call.input(0)?.elements()?;
    let mut shape = Vec::with_capacity(wanted.len());
    for (axis, size) in wanted.iter().enumerate() {
        shape.push(match size {
            0 if !allows_zero => *input.get(axis)?,
            -1 => 1,
            size => usize::try_from(*size).ok()?,
        });
    }
    if let Some(free) = wanted.iter().position(|size| *size == -1) {
        let others = shape
            .iter()
            .try_fold(1_u64, |product, size| product.checked_mul(*size as u64))?;
        shape[free] = usize::try_from(elements.checked_div(others)?).ok()?;
    }
    let product = shape
        .iter()
        .try_fold(1_u64, |product, size| product.checked_mul(*size as u64))?;
    (product == elements).then(|| call.one(0, shape))?
}

fn flatten(call: &Call<'_>) -> Option<Vec<Fact>> {
    let shape = call.shape(0)?;
    let axis = call.int("axis", 1);
    let axis = if axis == shape.len() as i64 {
        shape.len()
    } else {
        axis_of(axis, shape.len())?
    };
    let (before, behind) = shape.split_at(axis);
    call.one(0, vec![before.iter().product(), behind.iter().product()])
}

fn squeeze(call: &Call<'_>) -> Option<Vec<Fact>> {
    let shape = call.shape(0)?;
    if !call.has_list(1, "axes") {
        return call.one(0, shape.iter().copied().filter(|size| *size != 1).collect());
    }
    let axes = call.list(1, "axes")?;
    let axes: Option<Vec<usize>> = axes
        .iter()
        .map(|axis| axis_of(*axis, shape.len()))
        .collect();
    let axes = axes?;
    let kept = shape
        .iter()
        .enumerate()
        .filter(|(axis, _)| !axes.contains(axis));
    call.one(0, kept.map(|(_, size)| *size).collect())
}

fn unsqueeze(call: &Call<'_>) -> Option<Vec<Fact>> {
    let shape = call.shape(0)?;
    let axes = call.list(1, "axes")?;
    let rank = shape.len() + axes.len();
    let axes: Option<Vec<usize>> = axes.iter().map(|axis| axis_of(*axis, rank)).collect();
    let axes = axes?;
    let mut left = shape.iter();
    let size = |axis| {
        if axes.contains(&axis) {
            Some(1)
        } else {
            left.next().copied()
        }
    };
    let shape: Option<Vec<usize>> = (0..rank).map(size).collect();
    call.one(0, shape?)
}

/// The order of axes of a `Transpose`; the reverse where none is given.
pub fn permutation(call: &Call<'_>) -> Option<Vec<usize>> {
    let rank = call.shape(0)?.len();
    match call.node.ints("perm") {
        None => Some((0..rank).rev().collect()),
        Some(order) if order.len() == rank => {
            order.iter().map(|axis| axis_of(*axis, rank)).collect()
        }
        Some(_) => None,
    }
}

fn transpose(call: &Call<'_>) -> Option<Vec<Fact>> {
    let shape = call.shape(0)?;
    let order = permutation(call)?;
    call.one(0, order.iter().map(|axis| shape[*axis]).collect())
}

fn concat(call: &Call<'_>) -> Option<Vec<Fact>> {
    let mut shape = call.shape(0)?.to_vec();
    let axis = axis_of(call.int("axis", 1), shape.len())?;
    for index in 1..call.inputs.len() {
        let other = call.shape(index)?;
        if other.len() != shape.len() {
            return None;
        }
        shape[axis] = shape[axis].checked_add(*other.get(axis)?)?;
    }
    call.one(0, shape)
}

fn split(call: &Call<'_>) -> Option<Vec<Fact>> {
    let shape = call.shape(0)?;
    let axis = axis_of(call.int("axis", 0), shape.len())?;
    let sizes = if call.has_list(1, "split") {
        self::sizes(&call.list(1, "split")?)?
    } else {
        let count = call.node.outputs.len();
        let each = shape[axis].div_ceil(count.max(1));
        let at = |index| each.min(shape[axis].saturating_sub(index * each));
        (0..count).map(at).collect()
    };
    let piece = |size: &usize| {
        let mut shape = shape.to_vec();
        shape[axis] = *size;
        call.fact(0, shape)
    };
    Some(sizes.iter().map(piece).collect())
}

/// For each axis of a `Slice`: where it starts, its step, and how many there are.
pub fn slices(call: &Call<'_>) -> Option<Vec<(i64, i64, usize)>> {
    let shape = call.shape(0)?;
    let (starts, ends) = (call.list(1, "starts")?, call.list(2, "ends")?);
    let axes = if call.has_list(3, "axes") {
        call.list(3, "axes")?
    } else {
        (0..starts.len() as i64).collect()
    };
    let steps = if call.has(4) {
        call.whole(4)?
    } else {
        vec![1; starts.len()]
    };
    let mut slices: Vec<(i64, i64, usize)> = shape.iter().map(|size| (0, 1, *size)).collect();
    for (index, axis) in axes.iter().enumerate() {
        let axis = axis_of(*axis, shape.len())?;
        let size = shape[axis] as i64;
        let (start, end, step) = (*starts.get(index)?, *ends.get(index)?, *steps.get(index)?);
        let from_end = |value: i64| {
            if value < 0 {
                value.saturating_add(size)
            } else {
                value
            }
        };
        let (start, distance) = match step {
            0 => return None,
            1.. => {
                let start = from_end(start).clamp(0, size);
                (start, from_end(end).clamp(0, size) - start)
            }
            // Backwards from the last value at most, and to the first.
            _ if size == 0 => (0, 0),
            _ => {
                let start = from_end(start).clamp(0, size - 1);
                (start, start - from_end(end).clamp(-1, size - 1))
            }
        };
        let count = distance
            .max(0)
            .cast_unsigned()
            .div_ceil(step.unsigned_abs());
        slices[axis] = (start, step, usize::try_from(count).ok()?);
    }
    Some(slices)
}

fn slice(call: &Call<'_>) -> Option<Vec<Fact>> {
    call.one(
        0,
        slices(call)?
            .into_iter()
            .map(|(_, _, count)| count)
            .collect(),
    )
}

fn gather(call: &Call<'_>) -> Option<Vec<Fact>> {
    let (shape, indices) = (call.shape(0)?, call.shape(1)?);
    let axis = axis_of(call.int("axis", 0), shape.len())?;
    call.one(0, [&shape[..axis], indices, &shape[axis + 1..]].concat())
}

fn gather_nd(call: &Call<'_>) -> Option<Vec<Fact>> {
    let (shape, indices) = (call.shape(0)?, call.shape(1)?);
    let batch = usize::try_from(call.int("batch_dims", 0)).ok()?;
    let (depth, before) = indices.split_last()?;
    let behind = shape.get(batch.checked_add(*depth)?..)?;
    call.one(0, [before, behind].concat())
}

fn tile(call: &Call<'_>) -> Option<Vec<Fact>> {
    let (shape, repeats) = (call.shape(0)?, sizes(&call.whole(1)?)?);
    let pairs = shape.iter().zip(&repeats);
    let shape: Option<Vec<usize>> = pairs
        .map(|(size, times)| size.checked_mul(*times))
        .collect();
    call.one(0, shape?)
}

fn pad(call: &Call<'_>) -> Option<Vec<Fact>> {
    let shape = call.shape(0)?;
    let attribute = if call.opset < 2 { "paddings" } else { "pads" };
    let pads = call.list(1, attribute)?;
    let axes: Vec<usize> = if call.has(3) {
        let axes = call.whole(3)?;
        axes.iter()
            .map(|axis| axis_of(*axis, shape.len()))
            .collect::<Option<_>>()?
    } else {
        (0..shape.len()).collect()
    };
    let mut padded = shape.to_vec();
    for (index, axis) in axes.iter().enumerate() {
        let both = pads
            .get(index)?
            .checked_add(*pads.get(index + axes.len())?)?;
        padded[*axis] = usize::try_from((padded[*axis] as i64).checked_add(both)?).ok()?;
    }
    call.one(0, padded)
}

fn constant_of_shape(call: &Call<'_>) -> Option<Vec<Fact>> {
    let shape = sizes(&call.whole(0)?)?;
    let data_type = match call.node.attribute("value") {
        Some(AttributeValue::Tensor(tensor)) => tensor.data_type,
        _ => DataType::FLOAT,
    };
    Some(vec![Fact::new(data_type, Some(shape))])
}

fn range(call: &Call<'_>) -> Option<Vec<Fact>> {
    let value = |index| call.input(index)?.values.as_ref()?.first().copied();
    let (start, limit, delta): (f64, f64, f64) = (value(0)?, value(1)?, value(2)?);
    let count = ((limit - start) / delta).ceil().max(0.0);
    (count.is_finite() && count < 1e12).then(|| call.one(0, vec![count as usize]))?
}

fn one_hot(call: &Call<'_>) -> Option<Vec<Fact>> {
    let indices = call.shape(0)?;
    let depth = usize::try_from(*call.whole(1)?.first()?).ok()?;
    let axis = axis_of(call.int("axis", -1), indices.len() + 1)?;
    let (before, behind) = indices.split_at(axis);
    call.one(2, [before, &[depth], behind].concat())
}

fn blocks(call: &Call<'_>) -> Option<Vec<Fact>> {
    let [n, c, h, w] = *call.shape(0)? else {
        return None;
    };
    let block = usize::try_from(call.node.int("blocksize")?)
        .ok()
        .filter(|size| *size > 0)?;
    let square = block.checked_mul(block)?;
    let shape = if call.node.operator == "DepthToSpace" {
        vec![n, c / square, h.checked_mul(block)?, w.checked_mul(block)?]
    } else {
        vec![n, c.checked_mul(square)?, h / block, w / block]
    };
    call.one(0, shape)
}

fn center_crop_pad(call: &Call<'_>) -> Option<Vec<Fact>> {
    let mut shape = call.shape(0)?.to_vec();
    let wanted = sizes(&call.whole(1)?)?;
    let axes: Vec<usize> = match call.node.ints("axes") {
        Some(axes) => axes
            .iter()
            .map(|axis| axis_of(*axis, shape.len()))
            .collect::<Option<_>>()?,
        None => (0..shape.len()).collect(),
    };
    for (axis, size) in axes.iter().zip(&wanted) {
        shape[*axis] = *size;
    }
    call.one(0, shape)
}

fn compress(call: &Call<'_>) -> Option<Vec<Fact>> {
    let kept = call.input(1)?.values.as_ref()?;
    let mut shape = call.shape(0)?.to_vec();
    let chosen = |most: usize| {
        kept.iter()
            .take(most)
            .filter(|value| **value != 0.0)
            .count()
    };
    if let Some(axis) = call.node.int("axis") {
        let axis = axis_of(axis, shape.len())?;
        shape[axis] = chosen(shape[axis]);
    } else {
        shape = vec![chosen(shape.iter().product())];
    }
    call.one(0, shape)
}

fn non_zero(call: &Call<'_>) -> Option<Vec<Fact>> {
    let values = call.input(0)?.values.as_ref()?;
    let count = values.iter().filter(|value| **value != 0.0).count();
    let shape = vec![call.shape(0)?.len(), count];
    Some(vec![Fact::new(DataType::INT64, Some(shape))])
}
