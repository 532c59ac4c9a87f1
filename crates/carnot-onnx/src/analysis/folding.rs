//! The values of small tensors that follow from those before them, so that shapes which a model computes are known.

use super::Fact;
use super::infer::{Call, axis_of, broadcast};
use super::movement::{permutation, slices};
use super::values::MOST;
use crate::model::{AttributeValue, DataType};

/// Fills in the values of outputs that are small and follow.
pub fn fold(call: &Call<'_>, outputs: &mut [Fact]) {
    let small = |fact: &Fact| fact.elements().is_some_and(|count| count <= MOST as u64);
    if !outputs.iter().all(small) {
        return;
    }
    if call.node.operator == "Split" {
        return split(call, outputs);
    }
    let Some(output) = outputs.first_mut().filter(|output| output.values.is_none()) else {
        return;
    };
    let Some(values) = values(call, output) else {
        return;
    };
    if output.elements() == Some(values.len() as u64) {
        let data_type = output.data_type;
        output.values = Some(
            values
                .into_iter()
                .map(|value| rounded(value, data_type))
                .collect(),
        );
    }
}

/// As a value of the type: whole, a truth, or of 32 bits.
fn rounded(value: f64, data_type: Option<DataType>) -> f64 {
    match data_type {
        Some(DataType::BOOL) => f64::from(value != 0.0),
        Some(DataType::FLOAT) => f64::from(value as f32),
        Some(one) if one.is_whole() => value.trunc(),
        _ => value,
    }
}

fn values(call: &Call<'_>, output: &Fact) -> Option<Vec<f64>> {
    let shape = output.shape.as_deref()?;
    let input = |index| call.input(index)?.values.as_deref();
    match call.node.operator.as_str() {
        "Shape" => {
            let whole = call.shape(0)?;
            let rank = whole.len() as i64;
            let start = call.int("start", 0);
            let start = if start < 0 { start + rank } else { start }.clamp(0, rank) as usize;
            Some(
                whole[start..]
                    .iter()
                    .take(shape[0])
                    .map(|size| *size as f64)
                    .collect(),
            )
        }
        "Size" => Some(vec![call.input(0)?.elements()? as f64]),
        "Identity" | "Cast" | "CastLike" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
            Some(input(0)?.to_vec())
        }
        "ConstantOfShape" => {
            let value = match call.node.attribute("value") {
                Some(AttributeValue::Tensor(tensor)) => {
                    *super::values::of_proto(tensor).values?.first()?
                }
                _ => 0.0,
            };
            Some(vec![value; output.elements()? as usize])
        }
        "Range" => {
            let (start, delta) = (*input(0)?.first()?, *input(2)?.first()?);
            Some(
                (0..shape[0])
                    .map(|index| start + index as f64 * delta)
                    .collect(),
            )
        }
        "Transpose" => {
            let (order, whole, values) = (permutation(call)?, call.shape(0)?, input(0)?);
            let strides = strides(whole);
            let at = |index: &[usize]| {
                order
                    .iter()
                    .zip(index)
                    .map(|(axis, at)| strides[*axis] * at)
                    .sum()
            };
            picked(shape, values, at)
        }
        "Slice" => {
            let (slices, values) = (slices(call)?, input(0)?);
            let strides = strides(call.shape(0)?);
            let at = |index: &[usize]| {
                let places = slices.iter().zip(index);
                let places =
                    places.map(|((start, step, _), at)| (start + step * *at as i64) as usize);
                places
                    .zip(&strides)
                    .map(|(place, stride)| place * stride)
                    .sum()
            };
            picked(shape, values, at)
        }
        "Gather" => gather(call, shape),
        "Concat" => concat(call, shape),
        "Expand" => stretched(call.shape(0)?, input(0)?, shape),
        "Where" => {
            let part = |index| stretched(call.shape(index)?, input(index)?, shape);
            let (condition, yes, no) = (part(0)?, part(1)?, part(2)?);
            let all = condition.iter().zip(yes.iter().zip(&no));
            Some(
                all.map(|(truth, (yes, no))| if *truth == 0.0 { *no } else { *yes })
                    .collect(),
            )
        }
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" if output.elements() == Some(1) => {
            let values = input(0)?.iter().copied();
            Some(vec![match call.node.operator.as_str() {
                "ReduceProd" => values.product(),
                "ReduceSum" => values.sum(),
                "ReduceMax" => values.fold(f64::NEG_INFINITY, f64::max),
                _ => values.fold(f64::INFINITY, f64::min),
            }])
        }
        name => match unary(name) {
            Some(function) => Some(input(0)?.iter().map(|value| function(*value)).collect()),
            None => binary(call, shape),
        },
    }
}

fn unary(operator: &str) -> Option<fn(f64) -> f64> {
    Some(match operator {
        "Abs" => f64::abs,
        "Neg" => |value| -value,
        "Floor" => f64::floor,
        "Ceil" => f64::ceil,
        "Round" => f64::round_ties_even,
        "Sqrt" => f64::sqrt,
        "Exp" => f64::exp,
        "Log" => f64::ln,
        "Reciprocal" => f64::recip,
        "Not" => |value| f64::from(value == 0.0),
        _ => return None,
    })
}

fn binary(call: &Call<'_>, shape: &[usize]) -> Option<Vec<f64>> {
    let is_whole = call.data_type(0).is_some_and(DataType::is_whole);
    let truth = |is_true: bool| f64::from(is_true);
    let is_c_mod = call.int("fmod", 0) == 1;
    let function = |a: f64, b: f64| {
        Some(match call.node.operator.as_str() {
            "Add" | "Sum" => a + b,
            "Sub" => a - b,
            "Mul" => a * b,
            "Div" if is_whole && b == 0.0 => return None,
            "Div" if is_whole => (a / b).trunc(),
            "Div" => a / b,
            "Mod" if b == 0.0 => return None,
            "Mod" if is_c_mod => a % b,
            "Mod" => a - b * (a / b).floor(),
            "Pow" => a.powf(b),
            "Max" => a.max(b),
            "Min" => a.min(b),
            "Equal" => truth(a == b),
            "Less" => truth(a < b),
            "LessOrEqual" => truth(a <= b),
            "Greater" => truth(a > b),
            "GreaterOrEqual" => truth(a >= b),
            "And" => truth(a != 0.0 && b != 0.0),
            "Or" => truth(a != 0.0 || b != 0.0),
            "Xor" => truth((a != 0.0) != (b != 0.0)),
            _ => return None,
        })
    };
    let part = |index| {
        stretched(
            call.shape(index)?,
            call.input(index)?.values.as_deref()?,
            shape,
        )
    };
    let mut values = part(0)?;
    if call.inputs.len() < 2 {
        return None;
    }
    for index in 1..call.inputs.len() {
        let others = part(index)?;
        let pairs = values.iter().zip(&others);
        values = pairs
            .map(|(a, b)| function(*a, *b))
            .collect::<Option<_>>()?;
    }
    Some(values)
}

fn gather(call: &Call<'_>, shape: &[usize]) -> Option<Vec<f64>> {
    let (whole, values) = (call.shape(0)?, call.input(0)?.values.as_deref()?);
    let (indices, places) = (call.whole(1)?, call.shape(1)?);
    let axis = axis_of(call.int("axis", 0), whole.len())?;
    let (strides, place_strides) = (strides(whole), strides(places));
    let at = |index: &[usize]| {
        let inner = &index[axis..axis + places.len()];
        let place: usize = inner
            .iter()
            .zip(&place_strides)
            .map(|(at, stride)| at * stride)
            .sum();
        let chosen = indices.get(place).and_then(|at| axis_of(*at, whole[axis]));
        let before: usize = index[..axis]
            .iter()
            .zip(&strides)
            .map(|(at, stride)| at * stride)
            .sum();
        let behind = index[axis + places.len()..]
            .iter()
            .zip(&strides[axis + 1..]);
        let behind: usize = behind.map(|(at, stride)| at * stride).sum();
        // An index that is not there picks nothing, below.
        chosen.map_or(usize::MAX, |chosen| {
            before + chosen * strides[axis] + behind
        })
    };
    picked(shape, values, at)
}

fn concat(call: &Call<'_>, shape: &[usize]) -> Option<Vec<f64>> {
    let axis = axis_of(call.int("axis", 1), shape.len())?;
    let outer: usize = shape[..axis].iter().product();
    let mut found = Vec::new();
    for row in 0..outer {
        for index in 0..call.inputs.len() {
            let each: usize = call.shape(index)?[axis..].iter().product();
            let values = call.input(index)?.values.as_deref()?;
            found.extend(values.get(row * each..(row + 1) * each)?);
        }
    }
    Some(found)
}

fn split(call: &Call<'_>, outputs: &mut [Fact]) {
    let Some((shape, values)) = call
        .shape(0)
        .zip(call.input(0).and_then(|fact| fact.values.as_deref()))
    else {
        return;
    };
    let Some(axis) = axis_of(call.int("axis", 0), shape.len()) else {
        return;
    };
    let strides = strides(shape);
    let mut start = 0;
    for output in outputs {
        let Some(piece) = output.shape.clone() else {
            return;
        };
        let at = |index: &[usize]| {
            let places: usize = index
                .iter()
                .zip(&strides)
                .map(|(at, stride)| at * stride)
                .sum();
            places + start * strides[axis]
        };
        output.values = picked(&piece, values, at);
        start += piece[axis];
    }
}

fn stretched(from: &[usize], values: &[f64], shape: &[usize]) -> Option<Vec<f64>> {
    (broadcast(from, shape)?.as_slice() == shape).then_some(())?;
    let strides = strides(from);
    let missing = shape.len() - from.len();
    let at = |index: &[usize]| {
        let places = index[missing..].iter().zip(from.iter().zip(&strides));
        places
            .map(|(at, (size, stride))| if *size == 1 { 0 } else { at * stride })
            .sum()
    };
    picked(shape, values, at)
}

/// How far apart neighbours along each axis are.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// For every place of `shape` in order the value that `at` says.
fn picked(shape: &[usize], values: &[f64], at: impl Fn(&[usize]) -> usize) -> Option<Vec<f64>> {
    let count: usize = shape.iter().product();
    let mut index = vec![0; shape.len()];
    let mut found = Vec::with_capacity(count);
    for _ in 0..count {
        found.push(*values.get(at(&index))?);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Some(found)
}
