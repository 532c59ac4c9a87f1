//! What is known of a value.

use crate::model::DataType;

/// What is known of a value without running the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fact {
    /// The type of its numbers.
    pub data_type: Option<DataType>,
    /// Its size along each axis.
    pub shape: Option<Vec<usize>>,
    /// Its values, where they are few and follow from what is given. Whole numbers beyond 2⁵³ are near what they were; those at the ends
    /// of INT64, which mean "to the end", stay there.
    pub values: Option<Vec<f64>>,
    /// Whether it is a weight or follows from weights alone.
    pub is_constant: bool,
}

impl Fact {
    /// A value of which the type is known, and perhaps the shape.
    pub fn new(data_type: DataType, shape: Option<Vec<usize>>) -> Self {
        Self {
            data_type: Some(data_type),
            shape,
            ..Self::default()
        }
    }

    /// How many values it has.
    pub fn elements(&self) -> Option<u64> {
        let shape = self.shape.as_ref()?;
        // A zero makes it zero, but the other sizes still have to be countable, for others multiply parts of them.
        let product = |product: u64, size: &usize| product.checked_mul((*size as u64).max(1));
        let elements = shape.iter().try_fold(1_u64, product)?;
        Some(if shape.contains(&0) { 0 } else { elements })
    }

    /// How many bytes they take; that of a type that is not known counts as 4 each.
    pub fn bytes(&self) -> Option<u64> {
        let bits = self.data_type.and_then(DataType::bits).unwrap_or(32) as u64;
        Some(self.elements()?.checked_mul(bits)?.div_ceil(8))
    }

    /// Its values as whole numbers.
    pub fn whole(&self) -> Option<Vec<i64>> {
        Some(
            self.values
                .as_ref()?
                .iter()
                .map(|value| *value as i64)
                .collect(),
        )
    }
}
