//! Metadata values, borrowed from the file.

/// The type of a metadata value, as stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ValueKind {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueKind {
    pub(super) fn from_id(id: u32) -> Option<Self> {
        use ValueKind::{Array, Bool, F32, F64, I8, I16, I32, I64, String, U8, U16, U32, U64};
        [
            U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64,
        ]
        .get(id as usize)
        .copied()
    }

    /// Bytes of one scalar; strings and arrays vary.
    pub(super) fn bytes(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }

    /// Decodes exactly the bytes of one scalar; `None` for a bool that is neither.
    pub(super) fn scalar(self, bytes: &[u8]) -> Option<Value<'static>> {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let unsigned = u64::from_le_bytes(wide);
        let shift = 64 - 8 * bytes.len() as u32;
        Some(match self {
            Self::I8 | Self::I16 | Self::I32 | Self::I64 => {
                Value::Signed((unsigned << shift) as i64 >> shift)
            }
            Self::F32 => Value::Float(f64::from(f32::from_bits(unsigned as u32))),
            Self::F64 => Value::Float(f64::from_bits(unsigned)),
            Self::Bool if unsigned > 1 => return None,
            Self::Bool => Value::Bool(unsigned == 1),
            _ => Value::Unsigned(unsigned),
        })
    }
}

/// A metadata value; the widths of numbers are forgotten.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value<'a> {
    /// An unsigned integer.
    Unsigned(u64),
    /// A signed integer.
    Signed(i64),
    /// A float.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Text.
    String(&'a str),
    /// Scalars or strings, all of one type.
    Array(Array<'a>),
}

impl<'a> Value<'a> {
    /// The value as an unsigned integer, if it is a whole number that is not negative.
    pub fn as_u64(self) -> Option<u64> {
        match self {
            Self::Unsigned(value) => Some(value),
            Self::Signed(value) => u64::try_from(value).ok(),
            _ => None,
        }
    }

    /// The value as a float, if it is a number.
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(value),
            Self::Unsigned(value) => Some(value as f64),
            Self::Signed(value) => Some(value as f64),
            _ => None,
        }
    }

    /// The value as text.
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            Self::String(value) => Some(value),
            _ => None,
        }
    }

    /// The value as a truth value.
    pub fn as_bool(self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The value as an array.
    pub fn as_array(self) -> Option<Array<'a>> {
        match self {
            Self::Array(value) => Some(value),
            _ => None,
        }
    }

    /// What the value is, for messages.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Unsigned(value) => value.to_string(),
            Self::Signed(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::String(value) => format!("{value:?}"),
            Self::Array(array) => format!("an array of {} {:?}", array.len(), array.kind()),
        }
    }
}

/// An array of metadata, decoded as it is read.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Array<'a> {
    kind: ValueKind,
    length: usize,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// `bytes` hold exactly `length` valid elements.
    pub(super) fn new(kind: ValueKind, length: usize, bytes: &'a [u8]) -> Self {
        Self {
            kind,
            length,
            bytes,
        }
    }

    /// The type of the elements.
    pub fn kind(self) -> ValueKind {
        self.kind
    }

    /// The number of elements.
    pub fn len(self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.length == 0
    }

    /// The elements, if they are strings.
    pub fn strings(self) -> Option<impl Iterator<Item = &'a str>> {
        (self.kind == ValueKind::String).then_some(Strings { bytes: self.bytes })
    }

    /// The elements, if they are numbers.
    pub fn numbers(self) -> Option<impl Iterator<Item = f64> + 'a> {
        let bytes = self.kind.bytes()?;
        let elements = self.bytes.chunks_exact(bytes);
        Some(elements.map(move |bytes| {
            self.kind
                .scalar(bytes)
                .and_then(Value::as_f64)
                .unwrap_or(0.0)
        }))
    }
}

struct Strings<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (length, rest) = self.bytes.split_first_chunk()?;
        let (text, rest) =
            rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        self.bytes = rest;
        std::str::from_utf8(text).ok()
    }
}
