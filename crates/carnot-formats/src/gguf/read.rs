//! Reading: the header, checked whole before anything is used.

use std::collections::HashSet;
use std::ops::Range;

use carnot_kernels::blocks::BlockType;

use super::cursor::Cursor;
use super::value::{Array, Value};
use super::{DEFAULT_ALIGNMENT, MAGIC, unsupported_type_name};
use crate::error::{Error, File};

/// The header of a GGUF file.
#[derive(Clone, Debug)]
pub struct Gguf<'a> {
    file: File<'a>,
    /// 2 or 3.
    pub version: u32,
    /// Keys and values, in the order of the file; keys are distinct.
    pub metadata: Vec<(&'a str, Value<'a>)>,
    /// Tensors, in the order of the file; names are distinct and data do not overlap.
    pub tensors: Vec<TensorInfo<'a>>,
}

/// One tensor of a GGUF file.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorInfo<'a> {
    /// The name.
    pub name: &'a str,
    /// Row-major, outermost first: the reverse of the file's order.
    pub shape: Vec<usize>,
    /// How the values are stored.
    pub dtype: BlockType,
    /// Where in the file the data lie.
    pub data: Range<usize>,
}

/// The smallest key and value: an empty key, a type and a byte.
const LEAST_PAIR_BYTES: usize = 8 + 4 + 1;

/// The smallest description of a tensor: an empty name, one dimension, a type and an offset.
const LEAST_TENSOR_BYTES: usize = 8 + 4 + 8 + 4 + 8;

const MOST_DIMENSIONS: u32 = 4;

impl<'a> Gguf<'a> {
    /// Reads the header of the file `name`, whose bytes are `bytes`.
    pub fn read(name: &'a str, bytes: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(File(name), bytes);
        let version = read_version(&mut cursor)?;
        let tensors = cursor.count(1, "number of tensors")?;
        let pairs = cursor.count(LEAST_PAIR_BYTES, "number of metadata keys")?;
        let metadata = read_metadata(&mut cursor, pairs)?;
        let mut gguf = Self {
            file: File(name),
            version,
            metadata,
            tensors: Vec::new(),
        };
        let most = cursor.remaining() / LEAST_TENSOR_BYTES;
        if tensors > most {
            return Err(gguf.file.malformed(
                "number of tensors",
                format!("at most {most}, for the file's size"),
                tensors,
            ));
        }
        let alignment = gguf.alignment()?;
        gguf.tensors = read_tensors(&mut cursor, tensors, alignment, bytes.len())?;
        check_overlap(gguf.file, &gguf.tensors)?;
        Ok(gguf)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.metadata
            .iter()
            .find(|(candidate, _)| *candidate == key)
            .map(|(_, value)| *value)
    }

    pub(crate) fn file(&self) -> File<'a> {
        self.file
    }

    /// A value that, if present, must be of the kind that `convert` accepts.
    fn optional<T>(
        &self,
        key: &str,
        kind: &str,
        convert: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        convert(value)
            .map(Some)
            .ok_or_else(|| self.file.malformed(key, kind, value.describe()))
    }

    /// What a missing key is reported as.
    pub(crate) fn missing(&self, key: &str, kind: &str) -> Error {
        self.file.malformed(key, kind, "no such key")
    }

    pub(crate) fn optional_usize(&self, key: &str) -> Result<Option<usize>, Error> {
        // Shapes far beyond any model only serve to overflow arithmetic later.
        let small = |value: Value| {
            value
                .as_u64()
                .filter(|value| *value < 1 << 31)
                .map(|value| value as usize)
        };
        self.optional(key, "a whole number below 2^31", small)
    }

    pub(crate) fn usize(&self, key: &str) -> Result<usize, Error> {
        self.optional_usize(key)?
            .ok_or_else(|| self.missing(key, "a whole number"))
    }

    pub(crate) fn optional_f32(&self, key: &str) -> Result<Option<f32>, Error> {
        let finite = |value: Value| {
            value
                .as_f64()
                .map(|value| value as f32)
                .filter(|value| value.is_finite())
        };
        self.optional(key, "a finite number", finite)
    }

    pub(crate) fn optional_str(&self, key: &str) -> Result<Option<&'a str>, Error> {
        self.optional(key, "a string", Value::as_str)
    }

    pub(crate) fn str(&self, key: &str) -> Result<&'a str, Error> {
        self.optional_str(key)?
            .ok_or_else(|| self.missing(key, "a string"))
    }

    pub(crate) fn optional_bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.optional(key, "a bool", Value::as_bool)
    }

    pub(crate) fn optional_array(&self, key: &str) -> Result<Option<Array<'a>>, Error> {
        self.optional(key, "an array", Value::as_array)
    }

    fn alignment(&self) -> Result<usize, Error> {
        let key = "general.alignment";
        let alignment = self
            .optional_usize(key)?
            .unwrap_or(DEFAULT_ALIGNMENT as usize);
        if alignment.is_power_of_two() {
            Ok(alignment)
        } else {
            Err(self.file.malformed(key, "a power of two", alignment))
        }
    }
}

fn read_version(cursor: &mut Cursor) -> Result<u32, Error> {
    let magic = cursor.take(MAGIC.len(), "magic")?;
    if magic != MAGIC {
        return Err(cursor.file.malformed(
            "magic",
            "GGUF",
            format!("{:?}", String::from_utf8_lossy(magic)),
        ));
    }
    match cursor.u32("version")? {
        version @ (2 | 3) => Ok(version),
        version if matches!(version.swap_bytes(), 2 | 3) => {
            Err(cursor
                .file
                .unsupported("byte order", "big-endian", "little-endian is"))
        }
        version => Err(cursor
            .file
            .unsupported("GGUF version", version, "2 and 3 are")),
    }
}

fn read_metadata<'a>(
    cursor: &mut Cursor<'a>,
    pairs: usize,
) -> Result<Vec<(&'a str, Value<'a>)>, Error> {
    let mut metadata = Vec::new();
    let mut seen = HashSet::new();
    for index in 0..pairs {
        let key = cursor.string(&format!("metadata key {index}"))?;
        if !seen.insert(key) {
            return Err(cursor
                .file
                .malformed(key, "one value", "the key a second time"));
        }
        metadata.push((key, cursor.value(key)?));
    }
    Ok(metadata)
}

fn read_tensors<'a>(
    cursor: &mut Cursor<'a>,
    count: usize,
    alignment: usize,
    file_bytes: usize,
) -> Result<Vec<TensorInfo<'a>>, Error> {
    let mut tensors = Vec::new();
    let mut seen = HashSet::new();
    for index in 0..count {
        let (tensor, offset) = read_tensor(cursor, index)?;
        if !seen.insert(tensor.name) {
            return Err(cursor.file.malformed(
                format!("tensor {}", tensor.name),
                "one description",
                "a second one",
            ));
        }
        tensors.push((tensor, offset));
    }
    let start = cursor.position.next_multiple_of(alignment);
    let placed = tensors
        .into_iter()
        .map(|(tensor, offset)| place(cursor.file, tensor, offset, start, alignment, file_bytes));
    placed.collect()
}

/// A tensor's description, its data still at 0, and its offset.
fn read_tensor<'a>(cursor: &mut Cursor<'a>, index: usize) -> Result<(TensorInfo<'a>, u64), Error> {
    let name = cursor.string(&format!("name of tensor {index}"))?;
    let field = |part: &str| format!("{part} of tensor {name}");
    let dimensions = cursor.u32(&field("dimensions"))?;
    if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
        return Err(cursor
            .file
            .malformed(field("dimensions"), "1 to 4", dimensions));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let length = cursor.u64(&field("shape"))?;
        match usize::try_from(length) {
            Ok(length) if length > 0 => shape.push(length),
            _ => {
                return Err(cursor
                    .file
                    .malformed(field("shape"), "lengths above 0", length));
            }
        }
    }
    shape.reverse();
    let type_id = cursor.u32(&field("type"))?;
    let Some(dtype) = BlockType::from_ggml(type_id) else {
        let (file, tensor) = (cursor.file.0.to_owned(), name.to_owned());
        return Err(Error::UnsupportedTensorType {
            file,
            tensor,
            found: unsupported_type_name(type_id),
        });
    };
    let offset = cursor.u64(&field("offset"))?;
    let bytes = tensor_bytes(&shape, dtype).ok_or_else(|| {
        let expected = format!(
            "rows of whole blocks of {} and a size below 2^63",
            dtype.block_len()
        );
        cursor
            .file
            .malformed(field("shape"), expected, format!("{shape:?}"))
    })?;
    Ok((
        TensorInfo {
            name,
            shape,
            dtype,
            data: 0..bytes,
        },
        offset,
    ))
}

/// Bytes of a tensor; `None` if its rows are not whole blocks or its size overflows.
pub(crate) fn tensor_bytes(shape: &[usize], dtype: BlockType) -> Option<usize> {
    let (row, rows) = shape.split_last()?;
    if row % dtype.block_len() != 0 {
        return None;
    }
    let row_bytes = (row / dtype.block_len()).checked_mul(dtype.block_bytes())?;
    // The number of elements must fit as well, whatever they weigh.
    shape.iter().try_fold(1_isize, |product, &length| {
        product.checked_mul(isize::try_from(length).ok()?)
    })?;
    rows.iter()
        .try_fold(row_bytes, |product, &length| product.checked_mul(length))
        .filter(|bytes| isize::try_from(*bytes).is_ok())
}

fn place<'a>(
    file: File,
    tensor: TensorInfo<'a>,
    offset: u64,
    start: usize,
    alignment: usize,
    file_bytes: usize,
) -> Result<TensorInfo<'a>, Error> {
    let field = || format!("offset of tensor {}", tensor.name);
    if !offset.is_multiple_of(alignment as u64) {
        return Err(file.malformed(field(), format!("a multiple of {alignment}"), offset));
    }
    let bytes = tensor.data.len();
    let begin = usize::try_from(offset)
        .ok()
        .and_then(|offset| start.checked_add(offset));
    let end = begin
        .and_then(|begin| begin.checked_add(bytes))
        .filter(|end| *end <= file_bytes);
    match (begin, end) {
        (Some(begin), Some(end)) => Ok(TensorInfo {
            data: begin..end,
            ..tensor
        }),
        _ => Err(file.malformed(
            field(),
            format!("{bytes} bytes within the file's {file_bytes}"),
            format!("{start} + {offset}"),
        )),
    }
}

fn check_overlap(file: File, tensors: &[TensorInfo]) -> Result<(), Error> {
    let mut sorted: Vec<&TensorInfo> = tensors.iter().collect();
    sorted.sort_unstable_by_key(|tensor| tensor.data.start);
    for pair in sorted.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        if first.data.end > second.data.start {
            let found = format!(
                "{} (the end of {} is {})",
                second.data.start, first.name, first.data.end
            );
            return Err(file.malformed(
                format!("offset of tensor {}", second.name),
                "data of its own",
                found,
            ));
        }
    }
    Ok(())
}
