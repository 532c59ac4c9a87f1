//! Writing version 3: metadata and tensor descriptions first, then the data, in order, as it comes.

use std::io::{self, Write};

use carnot_kernels::blocks::BlockType;

use super::read::tensor_bytes;
use super::{DEFAULT_ALIGNMENT, MAGIC, ValueKind};

/// Metadata to write, already encoded.
#[derive(Clone, Default, Debug)]
pub struct Metadata {
    count: u64,
    bytes: Vec<u8>,
}

impl Metadata {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn key(&mut self, key: &str, kind: ValueKind) {
        self.count += 1;
        self.text(key);
        self.bytes.extend((kind as u32).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend((text.len() as u64).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn array(&mut self, key: &str, kind: ValueKind, length: usize) {
        self.key(key, ValueKind::Array);
        self.bytes.extend((kind as u32).to_le_bytes());
        self.bytes.extend((length as u64).to_le_bytes());
    }

    /// Adds an unsigned integer.
    pub fn u32(&mut self, key: &str, value: u32) {
        self.key(key, ValueKind::U32);
        self.bytes.extend(value.to_le_bytes());
    }

    /// Adds a float.
    pub fn f32(&mut self, key: &str, value: f32) {
        self.key(key, ValueKind::F32);
        self.bytes.extend(value.to_le_bytes());
    }

    /// Adds a truth value.
    pub fn bool(&mut self, key: &str, value: bool) {
        self.key(key, ValueKind::Bool);
        self.bytes.push(u8::from(value));
    }

    /// Adds a text.
    pub fn string(&mut self, key: &str, value: &str) {
        self.key(key, ValueKind::String);
        self.text(value);
    }

    /// Adds an array of texts.
    pub fn strings<S: AsRef<str>>(&mut self, key: &str, values: &[S]) {
        self.array(key, ValueKind::String, values.len());
        for value in values {
            self.text(value.as_ref());
        }
    }

    /// Adds an array of integers.
    pub fn i32s(&mut self, key: &str, values: &[i32]) {
        self.array(key, ValueKind::I32, values.len());
        self.bytes
            .extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    /// Adds an array of floats.
    pub fn f32s(&mut self, key: &str, values: &[f32]) {
        self.array(key, ValueKind::F32, values.len());
        self.bytes
            .extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
}

/// A tensor to come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorHeader {
    /// The name.
    pub name: String,
    /// Row-major, outermost first.
    pub shape: Vec<usize>,
    /// How the values will be stored.
    pub dtype: BlockType,
}

impl TensorHeader {
    /// Bytes of the data.
    ///
    /// # Panics
    ///
    /// If the rows are not whole blocks.
    pub fn bytes(&self) -> usize {
        tensor_bytes(&self.shape, self.dtype)
            .expect("the writer's caller chose a type that fits the rows")
    }
}

/// A GGUF file being written; holds no tensor data.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// Bytes that each tensor still to come must have.
    expected: std::vec::IntoIter<usize>,
    /// Bytes of the current tensor still to come.
    left: usize,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// Writes everything but the data, which [`write`](Self::write) must then bring in the order of `tensors`.
    pub fn new(mut out: W, metadata: &Metadata, tensors: &[TensorHeader]) -> io::Result<Self> {
        let mut header = MAGIC.to_vec();
        header.extend(3_u32.to_le_bytes());
        header.extend((tensors.len() as u64).to_le_bytes());
        header.extend(metadata.count.to_le_bytes());
        header.extend(&metadata.bytes);
        let mut offset = 0;
        for tensor in tensors {
            describe(&mut header, tensor, offset);
            offset += (tensor.bytes() as u64).next_multiple_of(DEFAULT_ALIGNMENT);
        }
        header.resize(header.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
        out.write_all(&header)?;
        let expected = tensors
            .iter()
            .map(TensorHeader::bytes)
            .collect::<Vec<_>>()
            .into_iter();
        Ok(Self {
            out,
            expected,
            left: 0,
            padding: 0,
        })
    }

    /// Writes data; a tensor may come in pieces, but no piece may span two.
    ///
    /// # Panics
    ///
    /// If `data` is more than the rest of the current tensor.
    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if self.left == 0 {
            self.out
                .write_all(&[0; DEFAULT_ALIGNMENT as usize][..self.padding])?;
            self.left = self
                .expected
                .next()
                .expect("no more data than the tensors announced");
            self.padding = self.left.next_multiple_of(DEFAULT_ALIGNMENT as usize) - self.left;
        }
        self.left = self
            .left
            .checked_sub(data.len())
            .expect("no more data than the tensor announced");
        self.out.write_all(data)
    }

    /// Pads the last tensor and gives the output back.
    ///
    /// # Panics
    ///
    /// If data are missing.
    pub fn finish(mut self) -> io::Result<W> {
        assert!(
            self.left == 0 && self.expected.len() == 0,
            "every tensor that was announced was written"
        );
        self.out
            .write_all(&[0; DEFAULT_ALIGNMENT as usize][..self.padding])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

fn describe(header: &mut Vec<u8>, tensor: &TensorHeader, offset: u64) {
    header.extend((tensor.name.len() as u64).to_le_bytes());
    header.extend(tensor.name.as_bytes());
    header.extend((tensor.shape.len() as u32).to_le_bytes());
    header.extend(
        tensor
            .shape
            .iter()
            .rev()
            .flat_map(|&length| (length as u64).to_le_bytes()),
    );
    header.extend(tensor.dtype.ggml_id().to_le_bytes());
    header.extend(offset.to_le_bytes());
}
