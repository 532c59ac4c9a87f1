//! Operators that sum up: products of matrices, reductions along axes, normalisations, quantisation, recurrences, attention.

use super::Fact;
use super::infer::{Call, axis_of, broadcast};
use crate::model::DataType;

/// The outputs, where it is such an operator and what it needs is known.
pub fn outputs(call: &Call<'_>) -> Option<Vec<Fact>> {
    match call.node.operator.as_str() {
        "MatMul" => call.one(0, product(call.shape(0)?, call.shape(1)?)?),
        "MatMulIntegerToFloat" | "DynamicQuantizeMatMul" => {
            let shape = product(call.shape(0)?, call.shape(1)?)?;
            Some(vec![Fact::new(DataType::FLOAT, Some(shape))])
        }
        "MatMulInteger" => {
            let shape = product(call.shape(0)?, call.shape(1)?)?;
            Some(vec![Fact::new(DataType::INT32, Some(shape))])
        }
        "QLinearMatMul" => call.one(7, product(call.shape(0)?, call.shape(3)?)?),
        "Gemm" | "FusedGemm" => gemm(call),
        "Einsum" => einsum(call),
        "Det" => {
            let shape = call.shape(0)?;
            call.one(0, shape[..shape.len().checked_sub(2)?].to_vec())
        }
        "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax"
        | "ReduceMean" | "ReduceMin" | "ReduceProd" | "ReduceSum" | "ReduceSumSquare" => {
            reduce(call)
        }
        "ArgMax" | "ArgMin" => arg(call),
        "TopK" => top_k(call),
        "Softmax"
        | "LogSoftmax"
        | "Hardmax"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "LpNormalization"
        | "RotaryEmbedding"
        | "SimplifiedLayerNormalization"
        | "SkipLayerNormalization"
        | "SkipSimplifiedLayerNormalization"
        | "RMSNormalization" => call.one(0, call.shape(0)?.to_vec()),
        "LayerNormalization" => layer_normalization(call),
        "BatchNormalization" => batch_normalization(call),
        "QuantizeLinear" => quantize(call),
        "DequantizeLinear" => {
            let data_type = call
                .node
                .int("output_dtype")
                .map(DataType)
                .or(call.data_type(1));
            Some(vec![Fact {
                data_type,
                ..call.fact(1, call.shape(0)?.to_vec())
            }])
        }
        "DynamicQuantizeLinear" => Some(vec![
            Fact::new(DataType::UINT8, Some(call.shape(0)?.to_vec())),
            Fact::new(DataType::FLOAT, Some(Vec::new())),
            Fact::new(DataType::UINT8, Some(Vec::new())),
        ]),
        "LSTM" | "GRU" | "RNN" => recurrence(call),
        "Attention" if call.node.domain.is_empty() => attention(call),
        "MatMulNBits" => {
            let n = usize::try_from(call.node.int("N")?).ok()?;
            let (_, before) = call.shape(0)?.split_last()?;
            call.one(0, [before, &[n]].concat())
        }
        "NegativeLogLikelihoodLoss" | "SoftmaxCrossEntropyLoss" => loss(call),
        _ => None,
    }
}

/// The shape of a product of matrices, with vectors and batches as in `NumPy`.
fn product(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let (left, right) = match (a.len(), b.len()) {
        (0, _) | (_, 0) => return None,
        (1, _) => (vec![1, a[0]], b.to_vec()),
        _ => (a.to_vec(), b.to_vec()),
    };
    let right = if right.len() == 1 {
        vec![right[0], 1]
    } else {
        right
    };
    let (left_batch, left) = left.split_at(left.len() - 2);
    let (right_batch, right) = right.split_at(right.len() - 2);
    if left[1] != right[0] {
        return None;
    }
    let mut shape = broadcast(left_batch, right_batch)?;
    if a.len() > 1 {
        shape.push(left[0]);
    }
    if b.len() > 1 {
        shape.push(right[1]);
    }
    Some(shape)
}

fn gemm(call: &Call<'_>) -> Option<Vec<Fact>> {
    let ([a0, a1], [b0, b1]) = (
        *call.shape(0)?.first_chunk()?,
        *call.shape(1)?.first_chunk()?,
    );
    let rows = if call.int("transA", 0) == 0 { a0 } else { a1 };
    let columns = if call.int("transB", 0) == 0 { b1 } else { b0 };
    call.one(0, vec![rows, columns])
}

/// What an `Einsum` says.
pub struct Einsum {
    /// How many inputs it has.
    pub terms: usize,
    /// The letters of its output.
    pub output: Vec<char>,
    /// The size of each letter.
    pub sizes: Vec<(char, usize)>,
}

/// The letters of an `Einsum`'s inputs and output, and the size of each; dots stand for `0`, `1`, … from the right.
pub fn einsum_sizes(call: &Call<'_>) -> Option<Einsum> {
    let equation: String = call
        .node
        .text("equation")?
        .chars()
        .filter(|one| *one != ' ')
        .collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left.to_owned(), Some(right.to_owned())),
        None => (equation.clone(), None),
    };
    let mut sizes: Vec<(char, usize)> = Vec::new();
    let mut terms = Vec::new();
    let mut most_dots = 0;
    for (index, term) in left.split(',').enumerate() {
        let shape = call.shape(index)?;
        let letters = term.replace("...", "").chars().count();
        let dots = if term.contains("...") {
            shape.len().checked_sub(letters)?
        } else {
            0
        };
        most_dots = most_dots.max(dots);
        let term = expanded(term, dots)?;
        if term.len() != shape.len() {
            return None;
        }
        for (letter, size) in term.iter().zip(shape) {
            match sizes.iter_mut().find(|(known, _)| known == letter) {
                Some((_, known)) => *known = (*known).max(*size),
                None => sizes.push((*letter, *size)),
            }
        }
        terms.push(term);
    }
    let output = if let Some(right) = right {
        expanded(&right, most_dots)?
    } else {
        let is_once =
            |letter: &char| terms.iter().flatten().filter(|one| *one == letter).count() == 1;
        let letters = sizes.iter().map(|one| one.0);
        // Dots come first, the highest number first; then letters by the alphabet.
        let (mut dots, mut others): (Vec<char>, Vec<char>) =
            letters.partition(char::is_ascii_digit);
        dots.sort_unstable();
        dots.reverse();
        others.retain(is_once);
        others.sort_unstable();
        [dots, others].concat()
    };
    Some(Einsum {
        terms: terms.len(),
        output,
        sizes,
    })
}

fn expanded(term: &str, dots: usize) -> Option<Vec<char>> {
    let digits: Option<String> = (0..dots)
        .rev()
        .map(|dot| char::from_digit(dot as u32, 10))
        .collect();
    Some(term.replace("...", &digits?).chars().collect())
}

fn einsum(call: &Call<'_>) -> Option<Vec<Fact>> {
    let Einsum { output, sizes, .. } = einsum_sizes(call)?;
    let size = |letter: &char| Some(sizes.iter().find(|(known, _)| known == letter)?.1);
    let shape: Option<Vec<usize>> = output.iter().map(size).collect();
    call.one(0, shape?)
}

fn reduce(call: &Call<'_>) -> Option<Vec<Fact>> {
    let shape = call.shape(0)?;
    let axes = if call.has_list(1, "axes") {
        call.list(1, "axes")?
    } else {
        Vec::new()
    };
    if axes.is_empty() && call.int("noop_with_empty_axes", 0) == 1 {
        return call.one(0, shape.to_vec());
    }
    let axes: Option<Vec<usize>> = axes
        .iter()
        .map(|axis| axis_of(*axis, shape.len()))
        .collect();
    let axes = axes?;
    let is_reduced = |axis: usize| axes.is_empty() || axes.contains(&axis);
    call.one(0, reduced(shape, call.int("keepdims", 1) == 1, is_reduced))
}

fn reduced(shape: &[usize], keeps: bool, is_reduced: impl Fn(usize) -> bool) -> Vec<usize> {
    let size = |(axis, size): (usize, &usize)| match (is_reduced(axis), keeps) {
        (false, _) => Some(*size),
        (true, true) => Some(1),
        (true, false) => None,
    };
    shape.iter().enumerate().filter_map(size).collect()
}

fn arg(call: &Call<'_>) -> Option<Vec<Fact>> {
    let shape = call.shape(0)?;
    let axis = axis_of(call.int("axis", 0), shape.len())?;
    let shape = reduced(shape, call.int("keepdims", 1) == 1, |one| one == axis);
    Some(vec![Fact::new(DataType::INT64, Some(shape))])
}

fn top_k(call: &Call<'_>) -> Option<Vec<Fact>> {
    let mut shape = call.shape(0)?.to_vec();
    let axis = axis_of(call.int("axis", -1), shape.len())?;
    let count = match call.node.int("k") {
        Some(count) => count,
        None => *call.whole(1)?.first()?,
    };
    shape[axis] = usize::try_from(count).ok()?.min(shape[axis]);
    let indices = Fact::new(DataType::INT64, Some(shape.clone()));
    Some(vec![call.fact(0, shape), indices])
}

fn layer_normalization(call: &Call<'_>) -> Option<Vec<Fact>> {
    let shape = call.shape(0)?;
    let axis = axis_of(call.int("axis", -1), shape.len())?;
    let mean = reduced(shape, true, |one| one >= axis);
    let statistics = Fact::new(DataType(call.int("stash_type", 1)), Some(mean));
    Some(vec![
        call.fact(0, shape.to_vec()),
        statistics.clone(),
        statistics,
    ])
}

fn batch_normalization(call: &Call<'_>) -> Option<Vec<Fact>> {
    let mut outputs = vec![call.fact(0, call.shape(0)?.to_vec())];
    for index in [3, 4] {
        if outputs.len() < call.node.outputs.len() {
            outputs.push(call.fact(index, call.shape(index)?.to_vec()));
        }
    }
    Some(outputs)
}

fn quantize(call: &Call<'_>) -> Option<Vec<Fact>> {
    let said = call
        .node
        .int("output_dtype")
        .filter(|one| *one != 0)
        .map(DataType);
    let data_type = if call.has(2) {
        call.data_type(2)?
    } else {
        said.unwrap_or(DataType::UINT8)
    };
    Some(vec![Fact::new(data_type, Some(call.shape(0)?.to_vec()))])
}

fn recurrence(call: &Call<'_>) -> Option<Vec<Fact>> {
    let [x, y, _] = *call.shape(0)? else {
        return None;
    };
    let is_batch_first = call.int("layout", 0) == 1;
    let (steps, batch) = if is_batch_first { (y, x) } else { (x, y) };
    let [directions, _, hidden] = *call.shape(2)? else {
        return None;
    };
    let (all, last) = if is_batch_first {
        (
            vec![batch, steps, directions, hidden],
            vec![batch, directions, hidden],
        )
    } else {
        (
            vec![steps, directions, batch, hidden],
            vec![directions, batch, hidden],
        )
    };
    let state = call.fact(0, last);
    Some(vec![call.fact(0, all), state.clone(), state])
}

/// Batch, heads of queries, queries, heads of keys, keys with those of the past, and the sizes of a key's head and a value's.
pub fn attention_sizes(call: &Call<'_>) -> Option<[usize; 7]> {
    let (q, k, v) = (call.shape(0)?, call.shape(1)?, call.shape(2)?);
    let sizes = match (q, k, v) {
        (&[b, heads, queries, head], &[_, key_heads, keys, _], &[_, _, _, value]) => {
            [b, heads, queries, key_heads, keys, head, value]
        }
        (&[b, queries, width], &[_, keys, _], &[_, _, value_width]) => {
            let heads = usize::try_from(call.node.int("q_num_heads")?).ok()?;
            let key_heads = usize::try_from(call.node.int("kv_num_heads")?).ok()?;
            let head = width.checked_div(heads)?;
            [
                b,
                heads,
                queries,
                key_heads,
                keys,
                head,
                value_width.checked_div(key_heads)?,
            ]
        }
        _ => return None,
    };
    let [b, heads, queries, key_heads, keys, head, value] = sizes;
    let past = if call.has(4) {
        *call.shape(4)?.get(2)?
    } else {
        0
    };
    Some([
        b,
        heads,
        queries,
        key_heads,
        keys.checked_add(past)?,
        head,
        value,
    ])
}

fn attention(call: &Call<'_>) -> Option<Vec<Fact>> {
    let [b, heads, queries, key_heads, keys, head, value] = attention_sizes(call)?;
    let y = if call.shape(0)?.len() == 4 {
        vec![b, heads, queries, value]
    } else {
        vec![b, queries, heads.checked_mul(value)?]
    };
    Some(vec![
        call.fact(0, y),
        call.fact(1, vec![b, key_heads, keys, head]),
        call.fact(2, vec![b, key_heads, keys, value]),
        call.fact(0, vec![b, heads, queries, keys]),
    ])
}

fn loss(call: &Call<'_>) -> Option<Vec<Fact>> {
    let reduction = call.node.text("reduction").unwrap_or("mean");
    let shape = if reduction == "none" {
        call.shape(1)?.to_vec()
    } else {
        Vec::new()
    };
    Some(vec![
        call.fact(0, shape),
        call.fact(0, call.shape(0)?.to_vec()),
    ])
}
