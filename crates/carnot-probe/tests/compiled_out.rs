//! Without the feature `record` a span leaves no instruction behind; with it, it does. Looks at the assembly.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The instructions of `function` in `assembly`, without labels and directives.
fn instructions(assembly: &str, function: &str) -> Vec<String> {
    let body = assembly
        .split(&format!("\n{function}:\n"))
        .nth(1)
        .unwrap_or_else(|| panic!("{function} is in the assembly"));
    let lines = body
        .lines()
        .take_while(|line| !line.contains(".cfi_endproc"))
        .map(str::trim);
    lines
        .filter(|line| !line.starts_with('.') && !line.ends_with(':') && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// Builds in a folder of its own for each set of features: a fresh build writes no assembly, and must not find another's.
fn assembly(name: &str, features: &[&str]) -> String {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let output = Command::new(env!("CARGO"))
        .args([
            "rustc",
            "--quiet",
            "--release",
            "--example",
            "compiled_out",
            "--no-default-features",
            "--target-dir",
        ])
        .arg(&target)
        .args(features)
        .args(["--", "--emit", "asm", "-C", "codegen-units=1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let newest = newest_assembly(&target.join("release/examples"));
    std::fs::read_to_string(newest).expect("the assembly is readable")
}

fn newest_assembly(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder)
        .expect("the example was built")
        .flatten()
        .map(|entry| entry.path());
    let assembly = files.filter(|path| path.extension().is_some_and(|extension| extension == "s"));
    assembly
        .max_by_key(|path| {
            path.metadata()
                .and_then(|data| data.modified())
                .expect("files have times")
        })
        .expect("rustc wrote assembly")
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_span_without_the_feature_is_nothing() {
    let off = assembly("compiled-out", &[]);
    let merged = off.contains("with_probe = without_probe")
        || off.contains(".set with_probe, without_probe")
        || off.contains(".set without_probe, with_probe")
        || off.contains("without_probe = with_probe");
    if !merged {
        assert_eq!(
            instructions(&off, "with_probe"),
            instructions(&off, "without_probe")
        );
    }
    let on = assembly("compiled-in", &["--features", "record"]);
    assert_ne!(
        instructions(&on, "with_probe"),
        instructions(&on, "without_probe"),
        "the comparison can fail"
    );
}
