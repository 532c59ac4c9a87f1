//! Requests into one run, and its results back to requests.

use std::sync::Arc;

use carnot_engine::{EngineError, Tensor, TensorModelInfo, common_rows};

use super::queue::Group;

/// What a request asks, in the model's order, and what it has in common with those that may run with it.
#[derive(Clone, Debug)]
pub(super) struct Ordered {
    pub inputs: Vec<Tensor>,
    pub group: Arc<Group>,
    pub rows: usize,
}

/// Puts the inputs of a request into the model's order and counts its rows: 1 where the model has none.
///
/// # Errors
/// Where the model does not take them, or has no such output.
pub(super) fn ordered(
    model: &TensorModelInfo,
    mut inputs: Vec<Tensor>,
    outputs: Option<Vec<String>>,
) -> Result<Ordered, EngineError> {
    model.check_inputs(&inputs)?;
    model.check_outputs(outputs.as_deref())?;
    let place = |tensor: &Tensor| {
        model
            .inputs
            .iter()
            .position(|info| info.name == tensor.name())
    };
    inputs.sort_by_key(place);
    if !model.is_batchable {
        let shapes = inputs.iter().map(|input| input.shape().to_vec()).collect();
        return Ok(Ordered {
            group: Arc::new(Group { shapes, outputs }),
            inputs,
            rows: 1,
        });
    }
    let rows = common_rows(&inputs)?;
    let shapes = inputs.iter().map(|input| input.shape()[1..].to_vec());
    Ok(Ordered {
        group: Arc::new(Group {
            shapes: shapes.collect(),
            outputs,
        }),
        inputs,
        rows,
    })
}

/// The inputs of several requests as those of one run: the first's rows, then the second's. A single request's are shared, several are
/// copied once.
///
/// # Errors
/// Where they do not fit together.
pub(super) fn joined(requests: &[&[Tensor]]) -> Result<Vec<Tensor>, EngineError> {
    let Some(first) = requests.first() else {
        return Ok(Vec::new());
    };
    let column = |index| {
        let tensors: Vec<&Tensor> = requests
            .iter()
            .filter_map(|one: &&[Tensor]| one.get(index))
            .collect();
        Tensor::concat_rows(&tensors)
    };
    (0..first.len()).map(column).collect()
}

/// The results of a run as those of requests with so many rows each; they share its values.
///
/// # Errors
/// Where an output has another number of rows than went in.
pub(super) fn split(outputs: &[Tensor], rows: &[usize]) -> Result<Vec<Vec<Tensor>>, EngineError> {
    let mut requests: Vec<Vec<Tensor>> = rows.iter().map(|_| Vec::new()).collect();
    for output in outputs {
        for (request, piece) in requests.iter_mut().zip(output.split_rows(rows)?) {
            request.push(piece);
        }
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnot_engine::{TensorInfo, TensorType};

    fn tensor(name: &str, shape: [usize; 2], from: u8) -> Tensor {
        let values = (0..shape[0] * shape[1]).map(|index| f32::from(from) + index as f32);
        Tensor::from_f32(name, shape, values.collect()).unwrap()
    }

    fn model() -> TensorModelInfo {
        let input = |name, width| TensorInfo::new(name, TensorType::Fp32, [None, Some(width)]);
        TensorModelInfo {
            inputs: vec![input("a", 2), input("b", 1)],
            outputs: vec![input("y", 2)],
            is_batchable: true,
            ..TensorModelInfo::default()
        }
    }

    #[test]
    fn inputs_come_into_the_order_of_the_model() {
        let given = vec![tensor("b", [3, 1], 0), tensor("a", [3, 2], 0)];
        let ordered = ordered(&model(), given, None).unwrap();
        let names: Vec<&str> = ordered.inputs.iter().map(Tensor::name).collect();
        assert_eq!((names, ordered.rows), (vec!["a", "b"], 3));
        assert_eq!(ordered.group.shapes, [vec![2], vec![1]]);
    }

    #[test]
    fn inputs_of_other_rows_are_refused() {
        let given = vec![tensor("a", [3, 2], 0), tensor("b", [2, 1], 0)];
        let error = ordered(&model(), given, None).unwrap_err();
        assert_eq!(error.to_string(), "tensor b: rows: expected 3, got 2");
    }

    #[test]
    fn what_was_joined_comes_apart_without_a_copy() {
        let (one, two) = ([tensor("a", [1, 2], 0)], [tensor("a", [3, 2], 50)]);
        let joined = joined(&[&one, &two]).unwrap();
        assert_eq!(joined[0].shape(), [4, 2]);
        let split = split(&joined, &[1, 3]).unwrap();
        assert_eq!(split, [one.to_vec(), two.to_vec()]);
        let (whole, part) = (joined[0].bytes().unwrap(), split[1][0].bytes().unwrap());
        assert!(whole.as_ptr_range().contains(&part.as_ptr()));
        assert!(super::split(&joined, &[1, 1]).is_err());
    }
}
