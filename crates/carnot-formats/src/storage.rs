//! The bytes of a file: mapped, or in memory. The only unsafe code of the crate is the call that maps.

use std::borrow::Cow;
use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::error::Error;

#[derive(Debug)]
pub(crate) enum Storage {
    Mapped(Mmap),
    Memory(Cow<'static, [u8]>),
}

impl Storage {
    pub fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        map(&file).map(Self::Mapped).map_err(io)
    }
}

#[expect(unsafe_code, reason = "mapping a file has no safe form")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only and private to this type. As with every mapped file, another process that truncates it while we
    // read ends ours with a signal; that is the price of not copying weights, and documented on `ModelFile::open`.
    unsafe { Mmap::map(file) }
}

impl Deref for Storage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Memory(bytes) => bytes,
        }
    }
}
