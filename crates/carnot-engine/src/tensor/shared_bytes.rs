//! Bytes that several tensors share: whoever owns them, for as long as anyone needs them.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::Element;

/// A range of bytes that somebody owns: a vector, a mapped file, an engine's output. Clones and ranges share the owner.
#[derive(Clone)]
pub struct SharedBytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl SharedBytes {
    /// All the bytes of an owner, whose `as_ref` must always be the same.
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let range = 0..owner.as_ref().len();
        let owner = Arc::new(owner);
        Self { owner, range }
    }

    /// The bytes of numbers, which stay where they are and so are aligned for them.
    pub fn from_vec<T: Element>(numbers: Vec<T>) -> Self {
        Self::new(Numbers(numbers))
    }

    /// Part of these bytes, sharing the owner. Panics where `range` is not within them, as slices do.
    #[must_use]
    pub fn range(&self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.len(),
            "range {range:?} of {} bytes",
            self.len()
        );
        let start = self.range.start;
        Self {
            owner: Arc::clone(&self.owner),
            range: start + range.start..start + range.end,
        }
    }

    /// Copies parts behind each other into memory that is aligned for every number; `size` is theirs in all.
    pub(super) fn concat<'a>(parts: impl Iterator<Item = &'a [u8]>, size: usize) -> Self {
        let mut words = vec![0_u64; size.div_ceil(8)];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Self::from_vec(words).range(0..at)
    }
}

/// Numbers, seen as the bytes that they are.
struct Numbers<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for Numbers<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<&[u8]> for SharedBytes {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}
