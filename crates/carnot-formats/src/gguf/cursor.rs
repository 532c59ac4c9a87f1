//! A position in a GGUF file that cannot run past its end.

use super::value::{Array, Value, ValueKind};
use crate::error::{Error, File};

pub(super) struct Cursor<'a> {
    pub file: File<'a>,
    bytes: &'a [u8],
    pub position: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(file: File<'a>, bytes: &'a [u8]) -> Self {
        Self {
            file,
            bytes,
            position: 0,
        }
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    pub fn take(&mut self, count: usize, field: &str) -> Result<&'a [u8], Error> {
        if count > self.remaining() {
            let found = format!("{} before the end of the file", self.remaining());
            return Err(self.file.malformed(
                field,
                format!("{count} bytes at {}", self.position),
                found,
            ));
        }
        let taken = &self.bytes[self.position..self.position + count];
        self.position += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &str) -> Result<[u8; N], Error> {
        let taken = self.take(N, field)?;
        Ok(std::array::from_fn(|index| taken[index]))
    }

    pub fn u32(&mut self, field: &str) -> Result<u32, Error> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, field: &str) -> Result<u64, Error> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A count of things of at least `least_bytes` each, which must fit in what remains.
    pub fn count(&mut self, least_bytes: usize, field: &str) -> Result<usize, Error> {
        let count = self.u64(field)?;
        let most = self.remaining() / least_bytes;
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(self.file.malformed(
                field,
                format!("at most {most}, for the file's size"),
                count,
            )),
        }
    }

    pub fn string(&mut self, field: &str) -> Result<&'a str, Error> {
        let length = self.count(1, field)?;
        let bytes = self.take(length, field)?;
        std::str::from_utf8(bytes).map_err(|error| {
            self.file.malformed(
                field,
                "UTF-8",
                format!("a bad byte at {}", error.valid_up_to()),
            )
        })
    }

    pub fn kind(&mut self, field: &str) -> Result<ValueKind, Error> {
        let id = self.u32(field)?;
        ValueKind::from_id(id)
            .ok_or_else(|| self.file.malformed(field, "a value type from 0 to 12", id))
    }

    pub fn value(&mut self, field: &str) -> Result<Value<'a>, Error> {
        match self.kind(field)? {
            ValueKind::String => self.string(field).map(Value::String),
            ValueKind::Array => self.array_value(field).map(Value::Array),
            kind => {
                let bytes = self.take(kind.bytes().unwrap_or(0), field)?;
                kind.scalar(bytes)
                    .ok_or_else(|| self.file.malformed(field, "a bool of 0 or 1", bytes[0]))
            }
        }
    }

    fn array_value(&mut self, field: &str) -> Result<Array<'a>, Error> {
        let kind = self.kind(field)?;
        if kind == ValueKind::Array {
            return Err(self.file.unsupported(
                "an array of arrays in",
                field,
                "arrays hold scalars or strings",
            ));
        }
        // A string is at least its length.
        let length = self.count(kind.bytes().unwrap_or(8), field)?;
        let start = self.position;
        match kind.bytes() {
            Some(bytes) => {
                self.take(length * bytes, field)?;
            }
            None => {
                for _ in 0..length {
                    self.string(field)?;
                }
            }
        }
        Ok(Array::new(kind, length, &self.bytes[start..self.position]))
    }
}
