//! A tool of NVIDIA's, made for the test: it is loaded as Nsight Systems is, and writes down what it is told.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use carnot_probe::{Kind, enable, nvtx, record_span, site, span};

const TOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nvtx/tool.rs");

/// A folder of this test alone, gone when it is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("carnot-nvtx-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in a folder for temporary files harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn build(folder: &Path) -> PathBuf {
    let library = folder.join("libtool.so");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = Command::new(rustc)
        .args(["--edition", "2024", "--crate-type", "cdylib", TOOL, "-o"])
        .arg(&library)
        .status()
        .unwrap();
    assert!(status.success());
    library
}

/// What a tool at `library` is told by [`program`], which runs in a process of its own.
fn told(library: &Path, log: &Path) -> Vec<String> {
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", "program", "--include-ignored"])
        .env("NVTX_INJECTION64_PATH", library)
        .env("NVTX_TEST_LOG", log)
        .status()
        .unwrap();
    assert!(status.success());
    let log = fs::read_to_string(log).unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "what the other tests watch"]
fn program() {
    {
        let _before = span!("before recording is on");
    }
    enable();
    {
        let _prefill = span!("prefill", Kind::Phase);
        {
            let _attention = span!("attention", Kind::OperationF32);
        }
        span(site("vae\0decode", Kind::Stage)).end();
        record_span(site("measured elsewhere", Kind::Stage), None, 1, 2).end();
        span(site("cancelled", Kind::Other)).cancel();
    }
    if nvtx::push(site("all_reduce", Kind::Wait)) {
        nvtx::pop();
    }
    drop(nvtx::range(site("all_to_all", Kind::Wait)));
    let spans = carnot_probe::drain();
    let names: Vec<_> = spans.spans().map(|span| span.name.to_owned()).collect();
    assert_eq!(
        names,
        ["measured elsewhere", "prefill", "attention", "vae\0decode"]
    );
}

#[test]
fn a_tool_is_told_names_colours_and_nesting() {
    let folder = Folder::new("told");
    let told = told(&build(&folder.0), &folder.0.join("log"));
    assert_eq!(
        told,
        [
            "modules 16 9 15 7 16 7, version 3",
            "push Prefill_Stage ffff0000",
            "push Attention ff00ff00",
            "pop",
            "push vae decode none",
            "pop",
            "push cancelled none",
            "pop",
            "pop",
            "push AllReduce_Communication ffffa500",
            "pop",
            "push AllToAll_Communication ff00ffff",
            "pop",
        ]
    );
}

#[test]
fn a_tool_that_does_not_load_is_none() {
    let folder = Folder::new("missing");
    let log = folder.0.join("log");
    assert!(told(&folder.0.join("there is none.so"), &log).is_empty());
    let no_library = folder.0.join("text.so");
    fs::write(&no_library, "not a library").unwrap();
    assert!(told(&no_library, &log).is_empty());
}
