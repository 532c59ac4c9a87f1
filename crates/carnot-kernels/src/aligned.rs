//! Zeroed memory that starts on a cache line; large pieces are mapped, and lie on huge pages where the system has them.

use std::fmt;

use memmap2::MmapMut;

/// From this size on memory is mapped: untouched pages cost nothing, and huge pages save faults and address translations.
const MAPPED: usize = 4 << 20;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

enum Memory {
    Heap(Vec<Line>),
    Mapped(MmapMut),
}

/// Zeroed bytes that start on a cache line, as packed weights, activation codes, keys and values need.
pub struct AlignedBytes {
    memory: Memory,
    length: usize,
}

impl AlignedBytes {
    /// `length` zeros.
    ///
    /// # Panics
    /// If the system has no more memory to map; memory that is only reserved is found missing when it is touched.
    pub fn zeroed(length: usize) -> Self {
        let memory = if length < MAPPED {
            Memory::Heap(vec![Line([0; 64]); length.div_ceil(64)])
        } else {
            let mapped = MmapMut::map_anon(length)
                .unwrap_or_else(|error| panic!("{length} bytes of memory: {error}"));
            #[cfg(target_os = "linux")]
            // A system without huge pages refuses the advice, and small ones do.
            let _ = mapped.advise(memmap2::Advice::HugePage);
            Memory::Mapped(mapped)
        };
        Self { memory, length }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match &self.memory {
            // SAFETY: `lines` holds at least `length` initialised bytes.
            Memory::Heap(lines) => unsafe {
                std::slice::from_raw_parts(lines.as_ptr().cast(), self.length)
            },
            Memory::Mapped(bytes) => bytes,
        }
    }

    /// The bytes, to write.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut self.memory {
            // SAFETY: as in `as_slice`, and exclusive through `&mut self`.
            Memory::Heap(lines) => unsafe {
                std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), self.length)
            },
            Memory::Mapped(bytes) => bytes,
        }
    }
}

impl AlignedBytes {
    /// The bytes as half floats, in the machine's order; an odd last byte is left out.
    pub fn as_halves(&self) -> &[u16] {
        let bytes = self.as_slice();
        // SAFETY: the memory starts on a cache line, and any bits are a `u16`.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / 2) }
    }

    /// The bytes as half floats, to write.
    pub fn as_mut_halves(&mut self) -> &mut [u16] {
        let bytes = self.as_mut_slice();
        // SAFETY: as in `as_halves`, and exclusive through `&mut self`.
        unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / 2) }
    }
}

impl Default for AlignedBytes {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl Clone for AlignedBytes {
    fn clone(&self) -> Self {
        let mut copy = Self::zeroed(self.length);
        copy.as_mut_slice().copy_from_slice(self.as_slice());
        copy
    }
}

impl fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBytes({})", self.length)
    }
}
