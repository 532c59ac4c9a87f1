//! The values of a tensor in JSON: nested or flat, they are read row by row into the numbers that they become, without a tree in between.

use std::fmt;

use carnot_engine::{EngineError, Tensor, TensorType};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

/// One value, as JSON has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Truth(bool),
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(value) => write!(f, "{value}"),
            Self::Signed(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Truth(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "{value:?}"),
        }
    }
}

macro_rules! values {
    (integers: $($integer:ident $number:ty),*; floats: $($float:ident $wide:ty),*) => {
        /// Values of a tensor.
        #[derive(Clone, Debug, PartialEq)]
        pub(super) enum Values {
            /// Of a type that is not known yet.
            Any(Vec<Scalar>),
            Bool(Vec<bool>),
            Bytes(Vec<Vec<u8>>),
            $($integer(Vec<$number>),)*
            $($float(Vec<$wide>),)*
        }

        impl Values {
            /// None yet, of a type that JSON can tell.
            pub fn of(tensor_type: TensorType) -> Option<Self> {
                match tensor_type {
                    TensorType::Bool => Some(Self::Bool(Vec::new())),
                    TensorType::Bytes => Some(Self::Bytes(Vec::new())),
                    $(TensorType::$integer => Some(Self::$integer(Vec::new())),)*
                    $(TensorType::$float => Some(Self::$float(Vec::new())),)*
                    TensorType::Fp16 | TensorType::Bf16 => None,
                }
            }

            /// One more; gives it back where it is none of the type.
            fn push(&mut self, value: Scalar) -> Result<(), Scalar> {
                match (self, value) {
                    (Self::Any(values), value) => values.push(value),
                    (Self::Bool(values), Scalar::Truth(value)) => values.push(value),
                    (Self::Bool(values), Scalar::Unsigned(value @ 0..=1)) => values.push(value == 1),
                    (Self::Bytes(values), Scalar::Text(value)) => values.push(value.into_bytes()),
                    $((Self::$integer(values), Scalar::Unsigned(value)) => {
                        values.push(<$number>::try_from(value).map_err(|_| Scalar::Unsigned(value))?);
                    }
                    (Self::$integer(values), Scalar::Signed(value)) => {
                        values.push(<$number>::try_from(value).map_err(|_| Scalar::Signed(value))?);
                    })*
                    $((Self::$float(values), Scalar::Unsigned(value)) => values.push(value as $wide),
                    (Self::$float(values), Scalar::Signed(value)) => values.push(value as $wide),
                    (Self::$float(values), Scalar::Float(value)) => {
                        let near = value as $wide;
                        if !near.is_finite() {
                            return Err(Scalar::Float(value));
                        }
                        values.push(near);
                    })*
                    (_, value) => return Err(value),
                }
                Ok(())
            }

            /// A tensor of these values.
            pub fn tensor(self, name: &str, shape: Vec<usize>) -> Result<Tensor, EngineError> {
                match self {
                    Self::Any(values) => Err(EngineError::InvalidTensor {
                        tensor: name.to_owned(),
                        what: "datatype",
                        expected: "one".to_owned(),
                        got: format!("{} values of none", values.len()),
                    }),
                    Self::Bool(values) => Tensor::from_bools(name, shape, &values),
                    Self::Bytes(values) => Tensor::from_strings(name, shape, values),
                    $(Self::$integer(values) => Tensor::from_vec(name, shape, values),)*
                    $(Self::$float(values) => Tensor::from_vec(name, shape, values),)*
                }
            }
        }
    };
}

values! {
    integers: Uint8 u8, Uint16 u16, Uint32 u32, Uint64 u64, Int8 i8, Int16 i16, Int32 i32, Int64 i64;
    floats: Fp32 f32, Fp64 f64
}

impl Values {
    /// The same values as those of a type, where they were read before it was known.
    pub fn typed(self, tensor_type: TensorType) -> Result<Self, Scalar> {
        let Self::Any(values) = self else {
            return Ok(self);
        };
        let typed = Self::of(tensor_type).unwrap_or(Self::Any(Vec::new()));
        values.into_iter().try_fold(typed, |mut typed, value| {
            typed.push(value)?;
            Ok(typed)
        })
    }
}

/// Reads values, nested as deeply as they are, behind each other.
pub(super) struct Flat<'a>(pub &'a mut Values);

impl<'de> DeserializeSeed<'de> for Flat<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Flat<'_> {
    fn push<E: Error>(self, value: Scalar) -> Result<(), E> {
        let pushed = self.0.push(value);
        pushed.map_err(|value| E::custom(format_args!("data: {value} is not of the datatype")))
    }
}

impl<'de> Visitor<'de> for Flat<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("values, or lists of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Flat(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.push(Scalar::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.push(Scalar::Signed(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.push(Scalar::Float(value))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.push(Scalar::Truth(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.push(Scalar::Text(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tensor_type: TensorType, json: &str) -> Result<Values, String> {
        let mut values = Values::of(tensor_type).unwrap();
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let read = Flat(&mut values).deserialize(&mut deserializer);
        read.map(|()| values).map_err(|error| error.to_string())
    }

    #[test]
    fn nested_and_flat_are_the_same() {
        let wanted = Ok(Values::Fp32(vec![1.0, -2.5, 3.0, 4.0]));
        assert_eq!(read(TensorType::Fp32, "[1, -2.5, 3, 4e0]"), wanted);
        assert_eq!(read(TensorType::Fp32, "[[1, -2.5], [3.0, 4]]"), wanted);
        assert_eq!(
            read(TensorType::Bytes, r#"["a", ["é"]]"#),
            Ok(Values::Bytes(vec![b"a".to_vec(), "é".into()]))
        );
        assert_eq!(
            read(TensorType::Bool, "[true, 0, 1]"),
            Ok(Values::Bool(vec![true, false, true]))
        );
        assert_eq!(
            read(TensorType::Uint64, "[18446744073709551615]"),
            Ok(Values::Uint64(vec![u64::MAX]))
        );
    }

    #[test]
    fn what_is_not_of_the_type_is_refused() {
        for (tensor_type, json) in [
            (TensorType::Int8, "[128]"),
            (TensorType::Uint8, "[-1]"),
            (TensorType::Int32, "[1.0]"),
            (TensorType::Fp32, "[1e39]"),
            (TensorType::Fp32, r#"["1"]"#),
            (TensorType::Bool, "[2]"),
            (TensorType::Bytes, "[1]"),
            (TensorType::Fp64, "[null]"),
            (TensorType::Fp64, r#"[{"a": 1}]"#),
        ] {
            assert!(read(tensor_type, json).is_err(), "{tensor_type} {json}");
        }
    }

    #[test]
    fn values_before_their_type_are_the_same_after_it() {
        let mut any = Values::Any(Vec::new());
        let mut deserializer = serde_json::Deserializer::from_str("[[1], [2.5]]");
        Flat(&mut any).deserialize(&mut deserializer).unwrap();
        assert_eq!(
            any.clone().typed(TensorType::Fp64),
            Ok(Values::Fp64(vec![1.0, 2.5]))
        );
        assert_eq!(any.typed(TensorType::Int16), Err(Scalar::Float(2.5)));
    }
}
