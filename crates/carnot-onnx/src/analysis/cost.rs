//! The work of a node: what any implementation has to multiply, to read and to write at least.

use super::Fact;
use super::infer::Call;
use super::reduction::{Einsum, attention_sizes, einsum_sizes};
use super::spatial::kernel;

/// What a node has to do. Each input is read once and each output written once, whatever caches do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Products that are added up.
    pub multiply_adds: u64,
    /// Operations that are no part of a multiply-add: one for each value of an elementwise operator, several of transcendental ones count as one.
    pub other_operations: u64,
    /// Bytes of inputs, weights among them.
    pub bytes_read: u64,
    /// Bytes of outputs that are wanted.
    pub bytes_written: u64,
    /// Numbers of the inputs that are constant.
    pub parameters: u64,
    /// Bytes of them, a part of those that are read.
    pub parameter_bytes: u64,
    /// Whether its products are of 8-bit integers.
    pub is_integer: bool,
}

impl Work {
    /// Two for each multiply-add, and the others.
    pub fn operations(&self) -> u64 {
        self.multiply_adds
            .saturating_mul(2)
            .saturating_add(self.other_operations)
    }
}

/// The work of a node whose outputs are known; none where an input's size is not, or the operator's work is not.
pub fn work(call: &Call<'_>, outputs: &[Fact]) -> Option<Work> {
    let mut work = Work::default();
    for (index, input) in call
        .inputs
        .iter()
        .enumerate()
        .filter(|(index, _)| call.has(*index))
    {
        let input = (*input)?;
        if !is_shape_only(call, index) {
            work.bytes_read = work.bytes_read.checked_add(input.bytes()?)?;
            if input.is_constant {
                work.parameter_bytes = work.parameter_bytes.checked_add(input.bytes()?)?;
            }
        }
        if input.is_constant {
            work.parameters = work.parameters.checked_add(input.elements()?)?;
        }
    }
    for (name, output) in call.node.outputs.iter().zip(outputs) {
        if !name.is_empty() {
            work.bytes_written = work.bytes_written.checked_add(output.bytes()?)?;
        }
    }
    if is_view(&call.node.operator) || outputs.iter().all(|output| output.is_constant) {
        // Nothing moves: the values stay where they are, or are computed when the model is opened.
        work.bytes_read = 0;
        work.bytes_written = 0;
        work.parameter_bytes = 0;
        return Some(work);
    }
    work.multiply_adds = multiply_adds(call, outputs)?;
    work.is_integer = is_integer(&call.node.operator);
    if work.multiply_adds == 0 {
        work.other_operations = other_operations(call, outputs)?;
    }
    Some(work)
}

/// Operators that multiply 8-bit integers, or may.
fn is_integer(operator: &str) -> bool {
    operator.starts_with("QLinear")
        || matches!(
            operator,
            "ConvInteger"
                | "MatMulInteger"
                | "MatMulIntegerToFloat"
                | "DynamicQuantizeMatMul"
                | "MatMulNBits"
        )
}

/// Operators of which runtimes make another name for the same values.
fn is_view(operator: &str) -> bool {
    matches!(
        operator,
        "Reshape"
            | "Flatten"
            | "Squeeze"
            | "Unsqueeze"
            | "Identity"
            | "Shape"
            | "Size"
            | "Constant"
            | "Dropout"
    )
}

/// Inputs that are read for what they say of shapes.
fn is_shape_only(call: &Call<'_>, index: usize) -> bool {
    index > 0
        && matches!(
            call.node.operator.as_str(),
            "Reshape" | "Expand" | "Resize" | "Tile" | "Slice"
        )
}

fn multiply_adds(call: &Call<'_>, outputs: &[Fact]) -> Option<u64> {
    let elements = outputs.first()?.elements()?;
    let each = match call.node.operator.as_str() {
        "Conv" | "FusedConv" | "ConvInteger" | "DeformConv" => per_place(call, 1)?,
        "QLinearConv" => per_place(call, 3)?,
        "ConvTranspose" => {
            // Each value that comes in is multiplied with a kernel for every channel that goes out.
            let channels = *call.shape(1)?.get(1)? as u64;
            let kernel = product(&kernel(call, 1)?)?;
            return call
                .input(0)?
                .elements()?
                .checked_mul(channels)?
                .checked_mul(kernel);
        }
        "MatMul"
        | "MatMulInteger"
        | "QLinearMatMul"
        | "MatMulNBits"
        | "MatMulIntegerToFloat"
        | "DynamicQuantizeMatMul" => *call.shape(0)?.last()? as u64,
        "Gemm" | "FusedGemm" => {
            let axis = usize::from(call.int("transA", 0) == 0);
            *call.shape(0)?.get(axis)? as u64
        }
        "Einsum" => {
            let Einsum { terms, sizes, .. } = einsum_sizes(call)?;
            if terms < 2 {
                return Some(0);
            }
            let all: Vec<usize> = sizes.iter().map(|one| one.1).collect();
            // The whole space of indices once for every further factor; an order of contraction may do with less.
            return product(&all)?.checked_mul(terms as u64 - 1);
        }
        "LSTM" | "GRU" | "RNN" => return recurrence(call),
        "Attention" => {
            let [b, heads, queries, _, keys, head, value] = attention_sizes(call)?;
            return product(&[b, heads, queries, keys, head.checked_add(value)?]);
        }
        _ => 0,
    };
    elements.checked_mul(each)
}

/// Multiply-adds for each place of a convolution: channels of a group × the kernel's size.
fn per_place(call: &Call<'_>, weights: usize) -> Option<u64> {
    let channels = *call.shape(weights)?.get(1)? as u64;
    channels.checked_mul(product(&kernel(call, weights)?)?)
}

/// For each step and sequence, the matrices of the input and of the state.
fn recurrence(call: &Call<'_>) -> Option<u64> {
    let [a, b, _] = *call.shape(0)? else {
        return None;
    };
    let matrices = call
        .input(1)?
        .elements()?
        .checked_add(call.input(2)?.elements()?)?;
    matrices.checked_mul(product(&[a, b])?)
}

/// Operators that move values do none; others one for each value, of the output or of the largest input.
fn other_operations(call: &Call<'_>, outputs: &[Fact]) -> Option<u64> {
    let output = outputs.first()?.elements()?;
    let largest = call
        .inputs
        .iter()
        .flatten()
        .filter_map(|fact| fact.elements())
        .max();
    let largest = largest.unwrap_or(0);
    Some(match call.node.operator.as_str() {
        "Cast" | "CastLike" | "Transpose" | "Concat" | "Split" | "Slice" | "Gather"
        | "GatherElements" | "GatherND" | "Scatter" | "ScatterElements" | "ScatterND"
        | "TensorScatter" | "Tile" | "Expand" | "Pad" | "ConstantOfShape" | "OneHot"
        | "EyeLike" | "ReverseSequence" | "Trilu" | "DepthToSpace" | "SpaceToDepth"
        | "CenterCropPad" | "Compress" | "Where" | "ReorderInput" | "ReorderOutput" => 0,
        "MaxPool" | "AveragePool" | "LpPool" => {
            output.checked_mul(product(&kernel(call, usize::MAX)?)?)?
        }
        "BatchNormalization" => output.checked_mul(2)?,
        // The largest, the sum, the exponential, the quotient, or four neighbours; mean, variance, quotient, scale and shift.
        "Softmax" | "LogSoftmax" | "Hardmax" | "Resize" | "Upsample" | "GridSample" => {
            output.checked_mul(4)?
        }
        "LayerNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "RMSNormalization"
        | "SimplifiedLayerNormalization"
        | "SkipLayerNormalization"
        | "SkipSimplifiedLayerNormalization"
        | "MeanVarianceNormalization"
        | "LpNormalization" => output.checked_mul(6)?,
        name if name.starts_with("Reduce")
            || name.starts_with("Arg")
            || name.starts_with("Global") =>
        {
            largest
        }
        "TopK" | "CumSum" | "CumProd" | "Det" | "NonZero" => largest,
        _ => output,
    })
}

fn product(sizes: &[usize]) -> Option<u64> {
    sizes
        .iter()
        .try_fold(1_u64, |product, size| product.checked_mul(*size as u64))
}
