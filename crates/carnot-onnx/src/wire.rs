//! The wire format of Protocol Buffers: what ONNX files are made of, read within bounds and written.
//!
//! A message is a sequence of fields, each a tag (number × 8 + wire type) and a value. The reader never allocates more than
//! the bytes that it is given warrant: lengths are checked against what is left, messages are counted, and nesting ends at [`MAX_DEPTH`].

use std::cell::Cell;
use std::ops::Range;

use carnot_engine::SharedBytes;

use crate::OnnxError;

/// Deepest nesting of messages; a graph within a node within a graph takes three.
pub const MAX_DEPTH: usize = 64;
/// Most messages and strings in a file, so that a small file of empty ones takes no large memory.
pub const MAX_ITEMS: usize = 1 << 21;

/// A message that is being read.
#[derive(Clone)]
pub struct Reader<'a> {
    bytes: &'a SharedBytes,
    range: Range<usize>,
    depth: usize,
    items: &'a Cell<usize>,
    what: &'static str,
}

/// A field: its number and its value.
pub struct Field<'a> {
    pub number: u64,
    pub value: FieldValue<'a>,
}

/// A value as its wire type says.
pub enum FieldValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Reader<'a>),
}

impl<'a> Reader<'a> {
    /// A file; `items` counts what is found in it.
    pub fn new(bytes: &'a SharedBytes, items: &'a Cell<usize>, what: &'static str) -> Self {
        Self {
            bytes,
            range: 0..bytes.len(),
            depth: 0,
            items,
            what,
        }
    }

    /// The next field; none at the end.
    pub fn next_field(&mut self) -> Result<Option<Field<'a>>, OnnxError> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let at = self.range.start;
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 {
            return Err(self.malformed(at, "a field's number above 0", "0"));
        }
        let value = match tag & 7 {
            0 => FieldValue::Varint(self.varint()?),
            1 => FieldValue::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => FieldValue::Bytes(self.delimited()?),
            5 => FieldValue::Fixed32(u32::from_le_bytes(self.array()?)),
            other => {
                let got = format!("wire type {other} of field {number}");
                return Err(self.malformed(at, "wire type 0, 1, 2 or 5", &got));
            }
        };
        Ok(Some(Field { number, value }))
    }

    /// Reads every field with `take`, which says whether it knows it; unknown ones are passed over, as the format asks.
    pub fn each(
        mut self,
        mut take: impl FnMut(u64, FieldValue<'a>) -> Result<(), OnnxError>,
    ) -> Result<(), OnnxError> {
        while let Some(field) = self.next_field()? {
            take(field.number, field.value)?;
        }
        Ok(())
    }

    /// These bytes, shared with the file.
    pub fn shared(&self) -> SharedBytes {
        self.bytes.range(self.range.clone())
    }

    /// These bytes as text.
    pub fn text(&self) -> Result<String, OnnxError> {
        self.count_item()?;
        let bytes = &self.bytes[self.range.clone()];
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.malformed(self.range.start, "text in UTF-8", "other bytes")),
        }
    }

    /// These bytes, copied.
    pub fn to_vec(&self) -> Result<Vec<u8>, OnnxError> {
        self.count_item()?;
        Ok(self.bytes[self.range.clone()].to_vec())
    }

    /// These bytes as a message, for which errors will say `what`.
    pub fn message(&self, what: &'static str) -> Result<Self, OnnxError> {
        self.count_item()?;
        if self.depth >= MAX_DEPTH {
            let expected = format!("at most {MAX_DEPTH} messages within each other");
            return Err(self.malformed(self.range.start, &expected, "more"));
        }
        Ok(Self {
            depth: self.depth + 1,
            what,
            ..self.clone()
        })
    }

    /// How many bytes are left.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The next number of 7 bits a byte.
    pub fn varint(&mut self) -> Result<u64, OnnxError> {
        let start = self.range.start;
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed(start, "a number of 64 bits", "a longer one"))
    }

    /// The next bytes, as many as asked for.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], OnnxError> {
        let start = self.range.start;
        let bytes = self.bytes[self.range.clone()].first_chunk::<N>().copied();
        let expected = format!("{N} more bytes");
        let bytes = bytes.ok_or_else(|| self.malformed(start, &expected, "the end"))?;
        self.range.start += N;
        Ok(bytes)
    }

    fn delimited(&mut self) -> Result<Self, OnnxError> {
        let at = self.range.start;
        let length = self.varint()?;
        let left = self.range.len();
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= left);
        let Some(length) = length else {
            let expected = format!("a length of at most the {left} bytes left");
            return Err(self.malformed(at, &expected, "a larger one"));
        };
        let start = self.range.start;
        self.range.start += length;
        Ok(Self {
            range: start..start + length,
            ..self.clone()
        })
    }

    fn count_item(&self) -> Result<(), OnnxError> {
        self.items.set(self.items.get() + 1);
        if self.items.get() <= MAX_ITEMS {
            return Ok(());
        }
        let expected = format!("at most {MAX_ITEMS} messages and strings");
        Err(self.malformed(self.range.start, &expected, "more"))
    }

    fn malformed(&self, offset: usize, expected: &str, got: &str) -> OnnxError {
        OnnxError::Malformed {
            what: self.what,
            offset,
            expected: expected.to_owned(),
            got: got.to_owned(),
        }
    }
}

impl<'a> FieldValue<'a> {
    /// The value as bytes, a text or a message.
    pub fn bytes(self, what: &'static str) -> Result<Reader<'a>, OnnxError> {
        match self {
            Self::Bytes(reader) => Ok(reader),
            other => Err(other.unexpected(what, "bytes")),
        }
    }

    /// The value as text.
    pub fn text(self, what: &'static str) -> Result<String, OnnxError> {
        self.bytes(what)?.text()
    }

    /// The value as a message.
    pub fn message(self, what: &'static str) -> Result<Reader<'a>, OnnxError> {
        self.bytes(what)?.message(what)
    }

    /// The value as an integer.
    pub fn int(self, what: &'static str) -> Result<i64, OnnxError> {
        match self {
            Self::Varint(value) => Ok(value.cast_signed()),
            other => Err(other.unexpected(what, "an integer")),
        }
    }

    /// The value as a number of 32 bits with a fraction.
    pub fn float(self, what: &'static str) -> Result<f32, OnnxError> {
        match self {
            Self::Fixed32(bits) => Ok(f32::from_bits(bits)),
            other => Err(other.unexpected(what, "a number of 32 bits")),
        }
    }

    /// Appends the value's integers: one, or many packed.
    pub fn ints(self, what: &'static str, to: &mut Vec<i64>) -> Result<(), OnnxError> {
        match self {
            Self::Varint(value) => to.push(value.cast_signed()),
            Self::Bytes(mut packed) => {
                while !packed.is_empty() {
                    to.push(packed.varint()?.cast_signed());
                }
            }
            other => return Err(other.unexpected(what, "integers")),
        }
        Ok(())
    }

    /// Appends the value's numbers of 32 bits: one, or many packed.
    pub fn floats(self, what: &'static str, to: &mut Vec<f32>) -> Result<(), OnnxError> {
        match self {
            Self::Fixed32(bits) => to.push(f32::from_bits(bits)),
            Self::Bytes(mut packed) => {
                to.reserve(packed.len() / 4);
                while !packed.is_empty() {
                    to.push(f32::from_le_bytes(packed.array()?));
                }
            }
            other => return Err(other.unexpected(what, "numbers of 32 bits")),
        }
        Ok(())
    }

    /// Appends the value's numbers of 64 bits: one, or many packed.
    pub fn doubles(self, what: &'static str, to: &mut Vec<f64>) -> Result<(), OnnxError> {
        match self {
            Self::Fixed64(bits) => to.push(f64::from_bits(bits)),
            Self::Bytes(mut packed) => {
                to.reserve(packed.len() / 8);
                while !packed.is_empty() {
                    to.push(f64::from_le_bytes(packed.array()?));
                }
            }
            other => return Err(other.unexpected(what, "numbers of 64 bits")),
        }
        Ok(())
    }

    fn unexpected(&self, what: &'static str, expected: &str) -> OnnxError {
        let (got, offset) = match self {
            Self::Varint(_) => ("an integer", 0),
            Self::Fixed64(_) => ("8 bytes", 0),
            Self::Fixed32(_) => ("4 bytes", 0),
            Self::Bytes(reader) => ("bytes", reader.range.start),
        };
        OnnxError::Malformed {
            what,
            offset,
            expected: expected.to_owned(),
            got: got.to_owned(),
        }
    }
}

/// A message that is being written.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// An integer field.
    pub fn int(&mut self, number: u64, value: i64) {
        self.varint(number << 3);
        self.varint(value.cast_unsigned());
    }

    /// An integer field that readers take as 0 where it is not there.
    pub fn int_unless_zero(&mut self, number: u64, value: i64) {
        if value != 0 {
            self.int(number, value);
        }
    }

    /// A number of 32 bits with a fraction.
    pub fn float(&mut self, number: u64, value: f32) {
        self.varint(number << 3 | 5);
        self.bytes.extend(value.to_le_bytes());
    }

    /// Bytes, or a text.
    pub fn bytes(&mut self, number: u64, value: &[u8]) {
        self.varint(number << 3 | 2);
        self.varint(value.len() as u64);
        self.bytes.extend(value);
    }

    /// A text that readers take as empty where it is not there.
    pub fn text(&mut self, number: u64, value: &str) {
        if !value.is_empty() {
            self.bytes(number, value.as_bytes());
        }
    }

    /// A message.
    pub fn message(&mut self, number: u64, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(number, &inner.bytes);
    }

    /// Many integers, packed.
    pub fn ints(&mut self, number: u64, values: &[i64]) {
        let mut packed = Self::default();
        for value in values {
            packed.varint(value.cast_unsigned());
        }
        if !values.is_empty() {
            self.bytes(number, &packed.bytes);
        }
    }

    /// Many numbers of 32 bits, packed.
    pub fn floats(&mut self, number: u64, values: &[f32]) {
        let packed: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        if !values.is_empty() {
            self.bytes(number, &packed);
        }
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}
