//! A tool that writes what it is told into the file `NVTX_TEST_LOG`. Written against the documented layout, not against our side of it.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::OpenOptions;
use std::io::Write;

#[repr(C)]
struct Callbacks {
    struct_size: usize,
    get: extern "C" fn(c_uint, *mut *mut *mut *mut c_void, *mut c_uint) -> c_int,
}

fn say(line: &str) {
    let path = std::env::var("NVTX_TEST_LOG").unwrap();
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

unsafe extern "C" fn push(attributes: *const u8) -> c_int {
    // The offsets of nvtxEventAttributes_t: version, size, kind of colour, colour, kind of message, message.
    unsafe {
        let (version, size) = (attributes.cast::<u16>().read(), attributes.add(2).cast::<u16>().read());
        let (has_colour, colour) = (attributes.add(8).cast::<i32>().read(), attributes.add(12).cast::<u32>().read());
        let kind = attributes.add(32).cast::<i32>().read();
        assert_eq!((version, size, kind), (3, 48, 1));
        let name = CStr::from_ptr(attributes.add(40).cast::<*const c_char>().read());
        let colour = if has_colour == 1 { format!("{colour:08x}") } else { "none".to_owned() };
        say(&format!("push {} {colour}", name.to_str().unwrap()));
    }
    0
}

extern "C" fn pop() -> c_int {
    say("pop");
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn InitializeInjectionNvtx2(get_export_table: extern "C" fn(u32) -> *const c_void) -> c_int {
    unsafe {
        let callbacks = &*get_export_table(1).cast::<Callbacks>();
        assert_eq!(callbacks.struct_size, 16);
        let version = get_export_table(3).cast::<u8>().add(8).cast::<u32>().read();
        let mut sizes = Vec::new();
        for module in 1..7 {
            let (mut table, mut size) = (std::ptr::null_mut(), 0);
            assert_eq!((callbacks.get)(module, &raw mut table, &raw mut size), 1);
            sizes.push(size.to_string());
            if module == 1 {
                *table.add(8).read() = push as *mut c_void;
                *table.add(11).read() = pop as *mut c_void;
            }
        }
        assert_eq!((callbacks.get)(9, std::ptr::null_mut(), std::ptr::null_mut()), 0);
        say(&format!("modules {}, version {version}", sizes.join(" ")));
    }
    1
}
