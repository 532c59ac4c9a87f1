//! What a model has to do: the shape of every value, and for each node its multiply-adds, operations and bytes, without running it.
//!
//! Shapes go from node to node, and small values with them, for models compute shapes from shapes. Nothing is guessed: an operator
//! that is not known, or a shape that follows from values that only a run has, ends what is known behind it, and is listed by name.
//! Free dimensions that the caller does not give are taken as 1, and that is said.

mod cost;
mod fact;
mod folding;
mod infer;
mod movement;
mod reduction;
mod spatial;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use carnot_engine::Tensor;

use crate::OnnxError;
use crate::model::{DataType, Dimension, Graph, Model, ValueInfo};

pub use cost::Work;
pub use fact::Fact;

/// What is known of an input beside what the model says.
#[derive(Clone, Debug)]
pub enum InputGiven {
    /// Its size along each axis.
    Shape(Vec<usize>),
    /// Its values, from which shapes may follow.
    Values(Tensor),
}

/// What a model has to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Analysis {
    /// Every node, in the model's order; those of inner graphs that certainly run stand behind theirs.
    pub nodes: Vec<NodeAnalysis>,
    /// The shape of every value that is known.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// What was taken as given though nobody said it, such as `batch of x is 1`.
    pub assumed: Vec<String>,
    /// Operators of whose work nothing is known, and how many nodes have them.
    pub unknown_operators: BTreeMap<String, usize>,
    /// Numbers in the model's weights: what was learnt, and tables that belong to it.
    pub parameters: u64,
}

/// What a node has to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeAnalysis {
    /// Its name; where it has none, its operator and place, as `Conv_3`.
    pub name: String,
    /// Its operator, with its domain where that is not ONNX's own.
    pub operator: String,
    /// Its outputs' shapes; none where they are not known.
    pub outputs: Vec<Option<Vec<usize>>>,
    /// Its work; none where it is not known.
    pub work: Option<Work>,
}

impl Analysis {
    /// Multiply-adds of all nodes whose work is known.
    pub fn multiply_adds(&self) -> u64 {
        self.works().map(|work| work.multiply_adds).sum()
    }

    /// Floating-point or integer operations of all nodes whose work is known: two for each multiply-add, and the others.
    pub fn operations(&self) -> u64 {
        self.works().map(Work::operations).sum()
    }

    /// Bytes that all nodes read and write whose work is known.
    pub fn bytes(&self) -> u64 {
        self.works()
            .map(|work| work.bytes_read + work.bytes_written)
            .sum()
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&NodeAnalysis> {
        self.nodes.iter().find(|node| node.name == name)
    }

    fn works(&self) -> impl Iterator<Item = &Work> {
        self.nodes.iter().filter_map(|node| node.work.as_ref())
    }
}

/// Analyses a model. `given` are inputs of which more is known than the model says, by name; the cost is some microseconds for each node.
///
/// # Errors
/// [`OnnxError::Invalid`] where `given` names no input or contradicts it, or a node's inputs cannot be together.
pub fn analyze<S: BuildHasher>(
    model: &Model,
    given: &HashMap<String, InputGiven, S>,
) -> Result<Analysis, OnnxError> {
    analyze_seen(model, given, &BTreeMap::new())
}

/// The same where a run told the types and shapes of values, by name: they stand in where shapes follow from nothing else. What the
/// nodes behind them have to do is known then; what a node of an unknown operator has to do is not.
///
/// # Errors
/// As [`analyze`].
pub fn analyze_seen<S: BuildHasher>(
    model: &Model,
    given: &HashMap<String, InputGiven, S>,
    seen: &BTreeMap<String, (DataType, Vec<usize>)>,
) -> Result<Analysis, OnnxError> {
    let fact = |(name, (data_type, shape)): (&String, &(DataType, Vec<usize>))| {
        (name.clone(), Fact::new(*data_type, Some(shape.clone())))
    };
    let seen: HashMap<String, Fact> = seen.iter().map(fact).collect();
    let mut analysis = Analysis::default();
    let known: Vec<&ValueInfo> = model.graph.required_inputs().collect();
    if let Some(name) = given
        .keys()
        .find(|name| !known.iter().any(|input| input.name == **name))
    {
        let names: Vec<&str> = known.iter().map(|input| input.name.as_str()).collect();
        return Err(OnnxError::Invalid {
            what: "input",
            name: name.clone(),
            expected: format!("one of: {}", names.join(", ")),
            got: "another name".to_owned(),
        });
    }
    let mut facts = HashMap::new();
    let mut dimensions = HashMap::new();
    // What is given first, so that a dimension's name has its size wherever it stands.
    let (told, untold): (Vec<&ValueInfo>, Vec<&ValueInfo>) = known
        .into_iter()
        .partition(|input| given.contains_key(&input.name));
    for input in told.into_iter().chain(untold) {
        let fact = of_input(
            input,
            given.get(&input.name),
            &mut dimensions,
            &mut analysis,
        )?;
        facts.insert(input.name.clone(), fact);
    }
    analysis.parameters = parameters(&model.graph);
    infer::Inference::new(model, &seen, &mut analysis).graph(&model.graph, &mut facts)?;
    for (name, fact) in facts {
        if let Some(shape) = fact.shape {
            analysis.shapes.insert(name, shape);
        }
    }
    Ok(analysis)
}

/// Weights, without scalars and what only says shapes: integers of one axis.
fn parameters(graph: &Graph) -> u64 {
    let mut count = 0;
    graph.each_tensor(&mut |tensor| {
        if tensor.shape.len() > 1 || !tensor.data_type.is_whole() {
            count += tensor.elements().unwrap_or(0) as u64;
        }
    });
    count
}

fn of_input(
    input: &ValueInfo,
    given: Option<&InputGiven>,
    dimensions: &mut HashMap<String, usize>,
    analysis: &mut Analysis,
) -> Result<Fact, OnnxError> {
    let Some(data_type) = input.data_type() else {
        return Ok(Fact::default());
    };
    let invalid = |got: &[usize]| OnnxError::Invalid {
        what: "input",
        name: input.name.clone(),
        expected: format!("{:?}", input.dimensions().unwrap_or_default()),
        got: format!("{got:?}"),
    };
    let shape = match given {
        Some(InputGiven::Shape(shape)) => shape.as_slice(),
        Some(InputGiven::Values(tensor)) => tensor.shape(),
        None => &[],
    };
    let Some(declared) = input.dimensions() else {
        let shape = given.map(|_| shape.to_vec());
        let values = values_of(given);
        return Ok(Fact {
            values,
            ..Fact::new(data_type, shape)
        });
    };
    if given.is_some() && shape.len() != declared.len() {
        return Err(invalid(shape));
    }
    let mut found = Vec::with_capacity(declared.len());
    for (axis, dimension) in declared.iter().enumerate() {
        let told = given.map(|_| shape[axis]);
        let size = match dimension {
            Dimension::Fixed(size) => *size,
            Dimension::Named(name) => {
                if told.is_none() && !dimensions.contains_key(name) {
                    analysis
                        .assumed
                        .push(format!("{name} of {} is 1", input.name));
                }
                *dimensions.entry(name.clone()).or_insert(told.unwrap_or(1))
            }
            Dimension::Unknown => {
                if told.is_none() {
                    analysis
                        .assumed
                        .push(format!("axis {axis} of {} is 1", input.name));
                }
                told.unwrap_or(1)
            }
        };
        // A name is a hint: two inputs may give it different sizes, and runtimes let them.
        if matches!(dimension, Dimension::Fixed(_)) && told.is_some_and(|told| told != size) {
            return Err(invalid(shape));
        }
        found.push(told.unwrap_or(size));
    }
    let values = values_of(given);
    Ok(Fact {
        values,
        ..Fact::new(data_type, Some(found))
    })
}

fn values_of(given: Option<&InputGiven>) -> Option<Vec<f64>> {
    match given {
        Some(InputGiven::Values(tensor)) => values::of_tensor(tensor),
        _ => None,
    }
}
