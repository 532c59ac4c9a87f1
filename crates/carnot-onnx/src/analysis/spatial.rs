//! Operators that slide windows over images: convolutions and pools; and those that give images other sizes.

use super::Fact;
use super::infer::Call;
use crate::model::DataType;

/// The outputs, where it is such an operator and what it needs is known.
pub fn outputs(call: &Call<'_>) -> Option<Vec<Fact>> {
    match call.node.operator.as_str() {
        "Conv" | "FusedConv" | "DeformConv" => call.one(0, convolution(call, 1)?),
        "ConvInteger" => {
            let shape = convolution(call, 1)?;
            Some(vec![Fact::new(DataType::INT32, Some(shape))])
        }
        "QLinearConv" => call.one(7, convolution(call, 3)?),
        "ConvTranspose" => call.one(0, transposed(call)?),
        "MaxPool" => {
            let shape = pool(call)?;
            let indices = Fact::new(DataType::INT64, Some(shape.clone()));
            Some(vec![call.fact(0, shape), indices])
        }
        "AveragePool" | "LpPool" => call.one(0, pool(call)?),
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => {
            let shape = call.shape(0)?;
            let size = |axis: usize, size: usize| if axis < 2 { size } else { 1 };
            let sizes = shape.iter().enumerate();
            call.one(0, sizes.map(|(axis, one)| size(axis, *one)).collect())
        }
        "ReorderInput" => call.one(0, reordered(call, [0, 3, 1, 2])?),
        "ReorderOutput" => call.one(0, ordered(call)?),
        "Resize" => call.one(0, resize(call)?),
        "Upsample" => call.one(0, scaled(call.shape(0)?, &scales(call, 1)?)?),
        "GridSample" => {
            let (x, grid) = (call.shape(0)?, call.shape(1)?);
            let (_, places) = grid.get(1..)?.split_last()?;
            call.one(0, [x.get(..2)?, places].concat())
        }
        "RoiAlign" => {
            let sizes = [call.int("output_height", 1), call.int("output_width", 1)];
            let [height, width] = sizes.map(|size| usize::try_from(size).ok());
            let (channels, regions) = (*call.shape(0)?.get(1)?, *call.shape(1)?.first()?);
            call.one(0, vec![regions, channels, height?, width?])
        }
        _ => None,
    }
}

/// Into ONNX Runtime's own order of channels in blocks; that these are filled up is left out.
fn reordered(call: &Call<'_>, from_channels_last: [usize; 4]) -> Option<Vec<usize>> {
    let shape = call.shape(0)?;
    if call.int("channels_last", 0) == 0 {
        return Some(shape.to_vec());
    }
    let sizes = from_channels_last.map(|axis| shape.get(axis).copied());
    sizes.into_iter().collect()
}

/// And back: it says how many channels are no filling.
fn ordered(call: &Call<'_>) -> Option<Vec<usize>> {
    let mut shape = call.shape(0)?.to_vec();
    *shape.get_mut(1)? = usize::try_from(call.node.int("channels")?).ok()?;
    if call.int("channels_last", 0) != 0 {
        shape.get_mut(1..)?.rotate_left(1);
    }
    Some(shape)
}

/// The window of a convolution or pool, each a number for each axis of the image.
pub struct Window {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pads: Vec<usize>,
    auto_pad: String,
}

impl Window {
    fn of(call: &Call<'_>, kernel: Vec<usize>) -> Option<Self> {
        let rank = kernel.len();
        let list = |name: &str, length: usize, otherwise: usize| match call.node.ints(name) {
            None => Some(vec![otherwise; length]),
            Some(values) if values.len() == length => values
                .iter()
                .map(|value| usize::try_from(*value).ok())
                .collect(),
            Some(_) => None,
        };
        let strides = list("strides", rank, 1)?;
        (!strides.contains(&0)).then_some(())?;
        Some(Self {
            strides,
            dilations: list("dilations", rank, 1)?,
            pads: list("pads", 2 * rank, 0)?,
            auto_pad: call.node.text("auto_pad").unwrap_or("NOTSET").to_owned(),
            kernel,
        })
    }

    /// The size of what a window sees along an axis.
    fn extent(&self, axis: usize) -> Option<usize> {
        let steps = self.kernel[axis].checked_sub(1)?;
        steps.checked_mul(self.dilations[axis])?.checked_add(1)
    }

    /// How many places a window has along an axis.
    fn places(&self, axis: usize, size: usize, is_ceiling: bool) -> Option<usize> {
        let (stride, extent) = (self.strides[axis], self.extent(axis)?);
        match self.auto_pad.as_str() {
            "SAME_UPPER" | "SAME_LOWER" => Some(size.div_ceil(stride)),
            "VALID" => Some(size.checked_sub(extent)? / stride + 1),
            _ => {
                let (before, behind) = (self.pads[axis], self.pads[axis + self.kernel.len()]);
                let padded = size.checked_add(before)?.checked_add(behind)?;
                let free = padded.checked_sub(extent)?;
                if !is_ceiling {
                    return Some(free / stride + 1);
                }
                let places = free.div_ceil(stride) + 1;
                // A window that would begin in what was added behind is left out.
                let is_outside = (places - 1).checked_mul(stride)? >= size + before;
                Some(places - usize::from(is_outside))
            }
        }
    }
}

/// The kernel's sizes along the axes of the image: as the node says, or as its weights are.
pub fn kernel(call: &Call<'_>, weights: usize) -> Option<Vec<usize>> {
    let said = call.node.ints("kernel_shape");
    match said {
        Some(sizes) => sizes
            .iter()
            .map(|size| usize::try_from(*size).ok())
            .collect(),
        None => Some(call.shape(weights)?.get(2..)?.to_vec()),
    }
}

fn convolution(call: &Call<'_>, weights: usize) -> Option<Vec<usize>> {
    let (x, w) = (call.shape(0)?, call.shape(weights)?);
    let window = Window::of(call, kernel(call, weights)?)?;
    if x.len() != window.kernel.len() + 2 || w.len() != x.len() {
        return None;
    }
    let image = x[2..].iter().enumerate();
    let image: Option<Vec<usize>> = image
        .map(|(axis, size)| window.places(axis, *size, false))
        .collect();
    Some([&[x[0], w[0]], &image?[..]].concat())
}

fn pool(call: &Call<'_>) -> Option<Vec<usize>> {
    let x = call.shape(0)?;
    let window = Window::of(call, kernel(call, usize::MAX)?)?;
    if x.len() != window.kernel.len() + 2 {
        return None;
    }
    let is_ceiling = call.int("ceil_mode", 0) == 1;
    let image = x[2..].iter().enumerate();
    let image: Option<Vec<usize>> = image
        .map(|(axis, size)| window.places(axis, *size, is_ceiling))
        .collect();
    Some([&x[..2], &image?[..]].concat())
}

fn transposed(call: &Call<'_>) -> Option<Vec<usize>> {
    let (x, w) = (call.shape(0)?, call.shape(1)?);
    let window = Window::of(call, kernel(call, 1)?)?;
    let rank = window.kernel.len();
    if x.len() != rank + 2 || w.len() != x.len() {
        return None;
    }
    let group = usize::try_from(call.int("group", 1)).ok()?;
    let mut shape = vec![x[0], w[1].checked_mul(group)?];
    let said = call.node.ints("output_shape");
    let added = call.node.ints("output_padding");
    for axis in 0..rank {
        if let Some(said) = said {
            // Some writers put the batch and the channels before it.
            shape.push(usize::try_from(*said.get(said.len().checked_sub(rank)? + axis)?).ok()?);
            continue;
        }
        let (size, stride) = (x[axis + 2], window.strides[axis]);
        let added = added.map_or(Some(0), |added| usize::try_from(*added.get(axis)?).ok())?;
        let size = match window.auto_pad.as_str() {
            "SAME_UPPER" | "SAME_LOWER" => size.checked_mul(stride)?,
            _ => {
                let steps = size.checked_sub(1)?.checked_mul(stride)?;
                let all = steps
                    .checked_add(window.extent(axis)?)?
                    .checked_add(added)?;
                all.checked_sub(window.pads[axis].saturating_add(window.pads[axis + rank]))?
            }
        };
        shape.push(size);
    }
    Some(shape)
}

fn scales(call: &Call<'_>, index: usize) -> Option<Vec<f64>> {
    use crate::model::AttributeValue;
    match call.node.attribute("scales") {
        Some(AttributeValue::Floats(values)) => {
            Some(values.iter().map(|one| f64::from(*one)).collect())
        }
        _ => call.input(index)?.values.clone(),
    }
}

fn scaled(shape: &[usize], scales: &[f64]) -> Option<Vec<usize>> {
    if shape.len() != scales.len() {
        return None;
    }
    let pairs = shape.iter().zip(scales);
    // In 32 bits, as runtimes count: 3 × 0.6 is 1 and not 2 there too.
    Some(
        pairs
            .map(|(size, scale)| (*size as f32 * *scale as f32).floor().max(0.0) as usize)
            .collect(),
    )
}

fn resize(call: &Call<'_>) -> Option<Vec<usize>> {
    let shape = call.shape(0)?;
    let axes: Vec<usize> = match call.node.ints("axes") {
        Some(axes) => {
            let axis = |axis: &i64| super::infer::axis_of(*axis, shape.len());
            axes.iter().map(axis).collect::<Option<_>>()?
        }
        None => (0..shape.len()).collect(),
    };
    let mut found = shape.to_vec();
    if call.has(3) {
        let sizes = call.whole(3)?;
        let policy = call
            .node
            .text("keep_aspect_ratio_policy")
            .unwrap_or("stretch");
        let ratio = |(axis, size): (&usize, &i64)| *size as f64 / shape[*axis] as f64;
        let ratios = axes.iter().zip(&sizes).map(ratio);
        let scale = match policy {
            "not_larger" => Some(ratios.fold(f64::INFINITY, f64::min)),
            "not_smaller" => Some(ratios.fold(0.0, f64::max)),
            _ => None,
        };
        for (axis, size) in axes.iter().zip(&sizes) {
            found[*axis] = match scale {
                Some(scale) => (scale * shape[*axis] as f64).round() as usize,
                None => usize::try_from(*size).ok()?,
            };
        }
        return Some(found);
    }
    // Version 10 has the scales where later ones have regions.
    let scales = scales(call, if call.opset < 11 { 1 } else { 2 })?;
    let chosen: Vec<usize> = axes.iter().map(|axis| shape[*axis]).collect();
    for (axis, size) in axes.iter().zip(scaled(&chosen, &scales)?) {
        found[*axis] = size;
    }
    Some(found)
}
