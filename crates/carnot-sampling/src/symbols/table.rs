//! The table of symbols of this program's file: the whole paths of its functions.

use std::env;
use std::fs::File;

use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSymbol as _, ReadCache, SymbolKind};

/// Functions of this program, by where they begin.
#[derive(Debug, Default)]
pub struct Table {
    /// First address, address after the last, name as the linker has it.
    functions: Vec<(u64, u64, String)>,
}

impl Table {
    /// The table of the program that runs; empty where its file cannot be read, or says nothing.
    pub fn of_this_program() -> Self {
        let functions = env::current_exe()
            .ok()
            .and_then(|path| File::open(path).ok())
            .and_then(read)
            .unwrap_or_default();
        Self { functions }
    }

    /// The path of the function that an address lies in.
    pub fn name(&self, address: u64) -> Option<String> {
        let after = self
            .functions
            .partition_point(|(begin, _, _)| *begin <= address);
        let (_, end, name) = self.functions.get(after.checked_sub(1)?)?;
        (address < *end).then(|| format!("{:#}", rustc_demangle::demangle(name)))
    }
}

fn read(file: File) -> Option<Vec<(u64, u64, String)>> {
    let cache = ReadCache::new(file);
    let program: ElfFile64<Endianness, _> = ElfFile64::parse(&cache).ok()?;
    let base = base();
    let symbols = program
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text);
    let mut functions: Vec<_> = symbols
        .filter_map(|symbol| {
            let begin = base + symbol.address();
            Some((begin, begin + symbol.size(), symbol.name().ok()?.to_owned()))
        })
        .collect();
    functions.sort_unstable();
    Some(functions)
}

/// What is added to the addresses of the file: the system loads a program wherever it likes.
fn base() -> u64 {
    unsafe extern "C" fn first(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        base: *mut std::ffi::c_void,
    ) -> std::ffi::c_int {
        // SAFETY: the system hands in the program itself first, and the other is the number below.
        unsafe { *base.cast::<u64>() = (*info).dlpi_addr };
        1
    }
    let mut base = 0_u64;
    // SAFETY: the callback writes a number to where it is told.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut base).cast()) };
    base
}
