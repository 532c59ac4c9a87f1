//! The unwind tables of what is loaded into this process: the binary, its libraries, the kernel's page of code.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::slice;

use framehop::x86_64::UnwinderX86_64;
use framehop::{ExplicitModuleSectionInfo, Module, Unwinder as _};

/// How tables say where `.eh_frame` is, as all linkers write it: 32 bits with a sign, from here.
const RELATIVE_I32: u8 = 0x1b;

/// An unwinder that knows all modules. Their tables are copied, some megabytes, so that a library may go.
pub fn unwinder() -> UnwinderX86_64<Vec<u8>> {
    let mut modules: Vec<Module<Vec<u8>>> = Vec::new();
    // SAFETY: the callback gets the vector that it casts back to, and keeps nothing of it.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut modules).cast()) };
    let mut unwinder = UnwinderX86_64::new();
    for module in modules {
        unwinder.add_module(module);
    }
    unwinder
}

unsafe extern "C" fn visit(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    modules: *mut c_void,
) -> c_int {
    // SAFETY: the system hands in a module that stays loaded for the length of the call; the other is the vector of `unwinder`.
    let (info, modules) = unsafe { (&*info, &mut *modules.cast::<Vec<Module<Vec<u8>>>>()) };
    // SAFETY: as many headers as it says.
    let headers = unsafe { slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    // SAFETY: the headers are those of a module at this address.
    modules.extend(unsafe { module(info.dlpi_addr, headers) });
    0
}

/// The module whose headers these are, if it has unwind tables.
///
/// # Safety
/// It is loaded at `base`, and stays so.
unsafe fn module(base: u64, headers: &[libc::Elf64_Phdr]) -> Option<Module<Vec<u8>>> {
    let loaded = || {
        headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD)
    };
    let range = |header: &libc::Elf64_Phdr| header.p_vaddr..header.p_vaddr + header.p_memsz;
    let code = loaded().find(|header| header.p_flags & libc::PF_X != 0)?;
    let index = headers
        .iter()
        .find(|header| header.p_type == libc::PT_GNU_EH_FRAME)?;
    // SAFETY: the segment is loaded.
    let index_bytes = unsafe { bytes(base, &range(index)) };
    let begin = frames_begin(index.p_vaddr, &index_bytes)?;
    let end = loaded()
        .map(range)
        .find(|segment| segment.contains(&begin))?
        .end;
    let sections = ExplicitModuleSectionInfo {
        base_svma: 0,
        text_svma: Some(range(code)),
        // SAFETY: the range lies in a segment that is loaded.
        eh_frame: Some(unsafe { bytes(base, &(begin..end)) }),
        eh_frame_svma: Some(begin..end),
        eh_frame_hdr: Some(index_bytes),
        eh_frame_hdr_svma: Some(range(index)),
        ..ExplicitModuleSectionInfo::default()
    };
    let whole = loaded().map(|header| range(header).start).min()?
        ..loaded().map(|header| range(header).end).max()?;
    let name = String::new();
    Some(Module::new(
        name,
        base + whole.start..base + whole.end,
        base,
        sections,
    ))
}

/// Where `.eh_frame` begins, by the index of it that lies at `address`.
fn frames_begin(address: u64, index: &[u8]) -> Option<u64> {
    let &[1, RELATIVE_I32, _, _, a, b, c, d, ..] = index else {
        return None;
    };
    let distance = i32::from_le_bytes([a, b, c, d]);
    (address + 4).checked_add_signed(i64::from(distance))
}

/// A copy of what is loaded there.
///
/// # Safety
/// The range lies in a segment of a module that is loaded at `base`.
unsafe fn bytes(base: u64, range: &Range<u64>) -> Vec<u8> {
    let length = (range.end - range.start) as usize;
    // SAFETY: the caller's.
    unsafe { slice::from_raw_parts((base + range.start) as *const u8, length) }.to_vec()
}
