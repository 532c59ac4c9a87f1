//! Names of addresses, from what the compiler left in the binary: functions, those that were inlined into them, files and lines.

#[cfg(target_os = "linux")]
mod table;

use std::collections::HashMap;
use std::ffi::c_void;
use std::path::Path;

/// A function on a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frame {
    /// Its path, without the hash of the compiler; `0x…` where nobody knows it.
    pub function: String,
    /// Where it stands, from the folder of its package on; empty where nobody knows it.
    pub file: String,
    /// The line there; 0 where nobody knows it.
    pub line: u32,
    /// Whether it has no frame of its own: it was inlined into the next.
    pub is_inlined: bool,
}

/// What stands at addresses of this process.
#[derive(Debug, Default)]
pub struct Names {
    frames: HashMap<u64, Vec<Frame>>,
}

impl Names {
    /// Looks each address up once. The first reads the binary's debug information, which takes most of the time and stays in memory.
    pub fn of<'a>(addresses: impl IntoIterator<Item = &'a u64>) -> Self {
        #[cfg(target_os = "linux")]
        let table = table::Table::of_this_program();
        let whole = |address: u64| {
            #[cfg(target_os = "linux")]
            return table.name(address);
            #[cfg(not(target_os = "linux"))]
            return None::<String>;
        };
        let mut frames = HashMap::new();
        for &address in addresses {
            frames
                .entry(address)
                .or_insert_with(|| resolve(address, whole(address.saturating_sub(1))));
        }
        Self { frames }
    }

    /// The functions at an address, the innermost first: more than one where some were inlined.
    pub fn frames(&self, address: u64) -> &[Frame] {
        self.frames.get(&address).map_or(&[], Vec::as_slice)
    }
}

/// Functions that allocate for others: the allocator and what notes it, the standard library, and its hash maps.
const FOR_OTHERS: [&str; 7] = [
    "carnot_sampling::heap",
    "backtrace::",
    "alloc::",
    "core::",
    "std::",
    "hashbrown::",
    "test::",
];
/// Where their files are.
const FILES_FOR_OTHERS: [&str; 4] = ["alloc/src/", "core/src/", "std/src/", "hashbrown-"];

impl Names {
    /// Whose allocation it is, of a stack whose innermost call is first: the first function that is neither the allocator's nor the standard library's.
    pub fn allocating(&self, addresses: &[u64]) -> Option<&Frame> {
        let mut frames = addresses.iter().flat_map(|&address| self.frames(address));
        frames.find(|frame| !allocates_for_others(frame))
    }
}

fn allocates_for_others(frame: &Frame) -> bool {
    // `<alloc::vec::Vec<T> as core::clone::Clone>::clone`, `<T as alloc::string::ToString>::to_string`.
    let name = frame.function.trim_start_matches(['<', '&']);
    let name = match name.split_once(" as ") {
        Some((of, what)) if of.len() == 1 => what,
        _ => name,
    };
    // What the compiler puts between a program and its allocator stands where the allocator is declared.
    let last = name.rsplit("::").next().unwrap_or(name);
    let is_shim = ["__rust_", "__rdl_", "__rg_"]
        .iter()
        .any(|begin| last.starts_with(begin));
    let is_unknown = frame.function.starts_with("0x") && frame.file.is_empty();
    is_shim
        || is_unknown
        || FOR_OTHERS.iter().any(|begin| name.starts_with(begin))
        || FILES_FOR_OTHERS
            .iter()
            .any(|begin| frame.file.starts_with(begin))
}

/// The functions at an address; `whole` is the path of the one that was compiled there, where it is known.
fn resolve(address: u64, whole: Option<String>) -> Vec<Frame> {
    let mut frames = Vec::new();
    backtrace::resolve(address as *mut c_void, |symbol| {
        let name = symbol
            .name()
            .map_or_else(|| unknown(address), |name| format!("{name:#}"));
        let file = symbol.filename().map(shortened).unwrap_or_default();
        frames.push(Frame {
            function: with_modules(name, &file),
            file,
            line: symbol.lineno().unwrap_or(0),
            is_inlined: true,
        });
    });
    if frames.is_empty() {
        frames.push(Frame {
            function: unknown(address),
            file: String::new(),
            line: 0,
            is_inlined: true,
        });
    }
    if let Some(compiled) = frames.last_mut() {
        compiled.is_inlined = false;
        compiled.function = whole.unwrap_or_else(|| compiled.function.clone());
    }
    frames
}

fn unknown(address: u64) -> String {
    format!("{address:#x}")
}

/// A path from `crates/`, or from the folder of the package, on: where things were built says nothing to anybody else.
fn shortened(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    let folders = ["src", "tests", "examples", "benches"];
    let source = parts
        .iter()
        .rposition(|part| folders.contains(&part.as_ref()));
    let begin = source.map_or(0, |source| source.saturating_sub(1));
    parts[begin..].join("/")
}

/// A function's name with its modules. Tables of lines have `step` where the function is `carnot_llm::engine::step`; the file says the rest.
fn with_modules(name: String, file: &str) -> String {
    let is_whole = name
        .split('<')
        .next()
        .is_some_and(|name| name.contains("::"));
    let Some((package, path)) = file.split_once("/src/").filter(|_| !is_whole) else {
        return name;
    };
    // Packages from elsewhere have their version in the name of their folder.
    let package = package
        .rsplit_once('-')
        .filter(|(_, version)| version.starts_with(|first: char| first.is_ascii_digit()))
        .map_or(package, |(package, _)| package);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let modules = path
        .split('/')
        .filter(|part| !["lib", "main", "mod"].contains(part));
    std::iter::once(package.replace('-', "_"))
        .chain(modules.map(str::to_owned))
        .chain([name])
        .collect::<Vec<_>>()
        .join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_found_by_its_address() {
        let address = a_function_is_found_by_its_address as *const () as u64 + 1;
        let names = Names::of([&address]);
        let function = &names.frames(address).last().unwrap().function;
        assert!(
            function.ends_with("a_function_is_found_by_its_address"),
            "{function}"
        );
    }

    #[test]
    fn what_nobody_knows_is_its_address() {
        assert_eq!(Names::of([&16]).frames(16)[0].function, "0x10");
    }

    #[test]
    fn modules_are_those_of_the_file() {
        let whole = |name: &str, file| with_modules(name.to_owned(), file);
        let file = "carnot-llm/src/engine/draws.rs";
        assert_eq!(whole("draw", file), "carnot_llm::engine::draws::draw");
        assert_eq!(
            whole("draw<a::B>", file),
            "carnot_llm::engine::draws::draw<a::B>"
        );
        assert_eq!(whole("std::io::read", "std/src/io.rs"), "std::io::read");
        assert_eq!(whole("run", "tokio-1.48.0/src/lib.rs"), "tokio::run");
        assert_eq!(whole("memcpy", ""), "memcpy");
    }

    #[test]
    fn who_allocates_is_neither_the_allocator_nor_the_library() {
        let check = |function: &str, file: &str, expected: bool| {
            let frame = Frame {
                function: function.to_owned(),
                file: file.to_owned(),
                line: 1,
                is_inlined: false,
            };
            assert_eq!(allocates_for_others(&frame), expected, "{function}");
        };
        check("carnot_sampling::heap::capture", "", true);
        check("__rustc::__rust_alloc", "", true);
        check(
            "<alloc::vec::Vec<T> as core::clone::Clone>::clone",
            "",
            true,
        );
        check("<T as alloc::string::ToString>::to_string", "", true);
        check("push", "alloc/src/vec/mod.rs", true);
        check("player::__rust_realloc", "player/src/main.rs", true);
        check("0x7f00", "", true);
        check("bank::Bank::keep", "video-pipeline/src/bank.rs", false);
        check("<bank::Bank as core::clone::Clone>::clone", "", false);
        check("malloc_of_mine", "", false);
    }

    #[test]
    fn paths_begin_with_their_package() {
        let path = Path::new("/home/somebody/carnot/crates/carnot-llm/src/engine/draws.rs");
        assert_eq!(shortened(path), "carnot-llm/src/engine/draws.rs");
        assert_eq!(shortened(Path::new("other.c")), "other.c");
    }
}
