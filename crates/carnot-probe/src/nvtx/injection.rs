//! The protocol by which a tool takes part, as NVTX 3 documents it for programs that link no library of NVIDIA's (`nvtxDetail/nvtxInit.h`,
//! `nvtxTypes.h`; NVTX is under the Apache licence 2.0 with LLVM exceptions).
//!
//! ```text
//! NVTX_INJECTION64_PATH ─▶ a shared library ─▶ InitializeInjectionNvtx2(get_export_table)
//!                                                 │ asks for the tables of the modules
//!                                                 ▼
//!                          SLOTS ◀── writes its functions into those that it wants
//! ```
//!
//! That happens once, at the first range; afterwards a range reads a slot. A library that does not load, or that says 0, is no tool.

use std::cell::RefCell;
use std::env;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStringExt;
use std::ptr::{self, null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::labels::label;
use crate::site::{self, SiteId};

/// The variable in which a tool says where it is.
const PATH: &str = if size_of::<usize>() == 4 {
    "NVTX_INJECTION32_PATH"
} else {
    "NVTX_INJECTION64_PATH"
};
/// The version of the interface.
const VERSION: u16 = 3;

/// Functions of each module, the first of which is none: none, core, CUDA, `OpenCL`, CUDA's runtime, core with domains, synchronisation.
const FUNCTIONS: [usize; 7] = [0, 16, 9, 15, 7, 16, 7];
const MOST: usize = 16;
const CORE: usize = 1;
/// Numbers of functions of the core.
const RANGE_PUSH: usize = 8;
const RANGE_POP: usize = 11;

type Function = AtomicPtr<c_void>;
type GetExportTable = extern "C" fn(u32) -> *const c_void;
type Initialize = unsafe extern "C" fn(GetExportTable) -> c_int;
type Push = unsafe extern "C" fn(*const Attributes) -> c_int;
type Pop = unsafe extern "C" fn() -> c_int;

/// What a tool has put in; null is a function that it does not want.
static SLOTS: [[Function; MOST]; FUNCTIONS.len()] =
    [const { [const { Function::new(null_mut()) }; MOST] }; FUNCTIONS.len()];
static TABLES: Tables = Tables::new();
static CALLBACKS: Callbacks = Callbacks {
    struct_size: size_of::<Callbacks>(),
    get_module_function_table,
};
static VERSION_INFO: VersionInfo = VersionInfo {
    struct_size: size_of::<VersionInfo>(),
    version: VERSION as u32,
    reserved: 0,
    set_injection_version,
};

/// For each module pointers to its slots, and a null behind them.
struct Tables([[*const Function; MOST + 1]; FUNCTIONS.len()]);

// SAFETY: it is never written, and what it points to are atomics that live for ever.
unsafe impl Sync for Tables {}

impl Tables {
    const fn new() -> Self {
        let mut tables = [[null(); MOST + 1]; FUNCTIONS.len()];
        let mut module = 0;
        while module < FUNCTIONS.len() {
            let mut function = 1;
            while function < FUNCTIONS[module] {
                tables[module][function] = &raw const SLOTS[module][function];
                function += 1;
            }
            module += 1;
        }
        Self(tables)
    }
}

#[repr(C)]
struct Callbacks {
    struct_size: usize,
    get_module_function_table:
        unsafe extern "C" fn(c_uint, *mut *const *const Function, *mut c_uint) -> c_int,
}

#[repr(C)]
struct VersionInfo {
    struct_size: usize,
    version: u32,
    reserved: u32,
    set_injection_version: extern "C" fn(u32),
}

/// What a range is told with: `nvtxEventAttributes_t`, 48 bytes.
#[repr(C)]
struct Attributes {
    version: u16,
    size: u16,
    category: u32,
    color_type: i32,
    color: u32,
    payload_type: i32,
    reserved: i32,
    payload: u64,
    message_type: i32,
    message: *const c_char,
}

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, symbol: *const c_char) -> *mut c_void;
    fn dlclose(library: *mut c_void) -> c_int;
}

extern "C" fn get_export_table(id: u32) -> *const c_void {
    match id {
        1 => ptr::from_ref(&CALLBACKS).cast(),
        3 => ptr::from_ref(&VERSION_INFO).cast(),
        _ => null(),
    }
}

extern "C" fn set_injection_version(_: u32) {}

/// Gives the table of a module and how many functions it has; 0 where there is no such module.
unsafe extern "C" fn get_module_function_table(
    module: c_uint,
    table: *mut *const *const Function,
    size: *mut c_uint,
) -> c_int {
    let module = module as usize;
    if !(1..FUNCTIONS.len()).contains(&module) {
        return 0;
    }
    // SAFETY: the tool gives places to write to, or null.
    unsafe {
        if !size.is_null() {
            *size = FUNCTIONS[module] as c_uint;
        }
        if !table.is_null() {
            *table = TABLES.0[module].as_ptr();
        }
    }
    1
}

/// What a tool wants to be told.
#[derive(Clone, Copy)]
struct Tool {
    push: Push,
    pop: Pop,
}

fn tool() -> Option<Tool> {
    static TOOL: OnceLock<Option<Tool>> = OnceLock::new();
    *TOOL.get_or_init(|| {
        let path = env::var_os(PATH)?;
        let path = CString::new(path.into_vec()).ok()?;
        // SAFETY: whoever set the variable wants this library in the process.
        unsafe { load(&path) }.then(attached).flatten()
    })
}

/// Loads the tool and lets it attach; whether it did.
///
/// # Safety
/// `path` must lead to a library whose initialisers may run, and that follows the protocol.
unsafe fn load(path: &CString) -> bool {
    const LAZY: c_int = 1;
    // SAFETY: the caller's.
    unsafe {
        let library = dlopen(path.as_ptr(), LAZY);
        if library.is_null() {
            return false;
        }
        let symbol = dlsym(library, c"InitializeInjectionNvtx2".as_ptr());
        let attached = !symbol.is_null() && {
            let initialize = std::mem::transmute::<*mut c_void, Initialize>(symbol);
            initialize(get_export_table) != 0
        };
        if !attached {
            dlclose(library);
        }
        attached
    }
}

/// The functions of a tool that has attached. Ranges are told to one that wants both ends of them.
fn attached() -> Option<Tool> {
    let function = |number: usize| {
        let function = SLOTS[CORE][number].load(Ordering::Acquire);
        (!function.is_null()).then_some(function)
    };
    let (push, pop) = (function(RANGE_PUSH)?, function(RANGE_POP)?);
    // SAFETY: the tool was told by their numbers which functions these are.
    Some(unsafe {
        Tool {
            push: std::mem::transmute::<*mut c_void, Push>(push),
            pop: std::mem::transmute::<*mut c_void, Pop>(pop),
        }
    })
}

/// A site's name as C wants it, and its colour.
#[derive(Clone)]
struct Label {
    name: CString,
    colour: Option<u32>,
}

thread_local! {
    /// Labels of the sites that this thread has passed.
    static LABELS: RefCell<Vec<Option<Label>>> = const { RefCell::new(Vec::new()) };
}

/// Pushes a range; whether a tool listens. A thread that is ending has none.
pub fn push(site: SiteId) -> bool {
    let Some(tool) = tool() else {
        return false;
    };
    let told = LABELS.try_with(|labels| {
        let mut labels = labels.borrow_mut();
        let at = site.0 as usize;
        if labels.len() <= at {
            labels.resize(at + 1, None);
        }
        let Label { name, colour } = labels[at].get_or_insert_with(|| label_of(site));
        let attributes = Attributes {
            version: VERSION,
            size: size_of::<Attributes>() as u16,
            category: 0,
            color_type: i32::from(colour.is_some()),
            color: colour.unwrap_or(0),
            payload_type: 0,
            reserved: 0,
            payload: 0,
            message_type: 1,
            message: name.as_ptr(),
        };
        // SAFETY: the attributes and the name live as long as the call.
        unsafe { (tool.push)(&raw const attributes) };
    });
    told.is_ok()
}

/// Pops the range that was pushed last.
pub fn pop() {
    if let Some(tool) = tool() {
        // SAFETY: a tool's function, which takes nothing.
        unsafe { (tool.pop)() };
    }
}

#[cold]
fn label_of(site: SiteId) -> Label {
    let info = site::info(site);
    let (name, colour) = label(&info);
    Label {
        name: CString::new(name.replace('\0', " ")).expect("there is no zero in it"),
        colour,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_as_long_as_nvidias() {
        assert_eq!(size_of::<Attributes>(), 48);
        assert_eq!(std::mem::offset_of!(Attributes, message), 40);
    }

    #[test]
    fn tables_have_a_slot_for_each_function_and_none_beyond() {
        for (module, functions) in FUNCTIONS.iter().enumerate().skip(1) {
            let table = &TABLES.0[module];
            assert!(table[0].is_null() && table[*functions..].iter().all(|slot| slot.is_null()));
            assert!(table[1..*functions].iter().all(|slot| !slot.is_null()));
        }
    }
}
