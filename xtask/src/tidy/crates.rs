//! What every crate has: a README for those who meet it, a map for those who open it, the workspace's lints.

use super::Finding;
use crate::workspace::SourceFile;

/// Lines of `//!` that a library's map has at least.
const MAP_LINES: usize = 3;

pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let manifests = files.iter().filter_map(|file| {
        let folder = file.path.strip_suffix("/Cargo.toml")?;
        (folder.starts_with("crates/") || folder == "xtask").then_some((folder, file))
    });
    manifests
        .flat_map(|(folder, manifest)| check_crate(folder, manifest, files))
        .collect()
}

fn check_crate(folder: &str, manifest: &SourceFile, files: &[SourceFile]) -> Vec<Finding> {
    let find = |name: &str| {
        let path = format!("{folder}/{name}");
        files.iter().find(move |file| file.path == path)
    };
    let mut findings = Vec::new();
    if find("README.md").is_none() && folder != "xtask" {
        findings.push(Finding::new(
            folder,
            "has no README.md; a paragraph will do",
        ));
    }
    if let Some(library) = find("src/lib.rs")
        && map_lines(&library.text) < MAP_LINES
    {
        let what = format!("its `//!` map has fewer than {MAP_LINES} lines");
        findings.push(Finding::new(library.path.as_str(), what));
    }
    if !manifest.text.contains("[lints]\nworkspace = true") {
        let what = "does not take the workspace's lints (`[lints] workspace = true`)";
        findings.push(Finding::new(manifest.path.as_str(), what));
    }
    findings
}

fn map_lines(text: &str) -> usize {
    text.lines()
        .take_while(|line| line.starts_with("//!"))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: [(&str, &str); 3] = [
        ("crates/a/Cargo.toml", "[lints]\nworkspace = true\n"),
        ("crates/a/README.md", "# a"),
        ("crates/a/src/lib.rs", "//! One.\n//!\n//! Three.\n"),
    ];

    fn findings(changed: usize, text: Option<&str>) -> Vec<String> {
        let files = SOUND
            .iter()
            .enumerate()
            .filter_map(|(index, (path, sound))| {
                let text = if index == changed { text? } else { sound };
                let (path, text) = ((*path).to_owned(), text.to_owned());
                Some(SourceFile { path, text })
            });
        let files: Vec<_> = files.collect();
        check(&files)
            .into_iter()
            .map(|finding| finding.place)
            .collect()
    }

    #[test]
    fn a_sound_crate_passes() {
        assert!(findings(usize::MAX, None).is_empty());
    }

    #[test]
    fn each_lack_is_found() {
        assert_eq!(findings(0, Some("[package]\n")), ["crates/a/Cargo.toml"]);
        assert_eq!(findings(1, None), ["crates/a"]);
        assert_eq!(
            findings(2, Some("//! One.\nmod a;\n")),
            ["crates/a/src/lib.rs"]
        );
    }
}
