//! Where the workspace is, what is in it, and what cargo knows of it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context;
use serde_json::Value;

use crate::process;

/// Folders that hold no source of ours.
const NOT_SOURCE: [&str; 6] = [
    ".git",
    "target",
    "carnot-out",
    "corpus",
    "artifacts",
    "__pycache__",
];

/// The workspace's root folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
}

/// A file of the workspace. `text` is empty where it is not UTF-8.
pub struct SourceFile {
    /// Relative to the root, with `/`.
    pub path: String,
    pub text: String,
}

impl SourceFile {
    /// What follows the last dot of the name; empty where there is none.
    pub fn extension(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        name.rsplit_once('.').map_or("", |(_, extension)| extension)
    }
}

/// All files that people wrote, by path. Read from the disk, not from git, so that it works in an unpacked archive too.
pub fn files() -> anyhow::Result<Vec<SourceFile>> {
    let mut paths = Vec::new();
    collect(root(), &mut paths).with_context(|| format!("listing {}", root().display()))?;
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() {
            paths.push(entry.path());
        } else if kind.is_dir() && !NOT_SOURCE.iter().any(|name| entry.file_name() == *name) {
            collect(&entry.path(), paths)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<SourceFile> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let relative = path.strip_prefix(root()).unwrap_or(path);
    Ok(SourceFile {
        path: relative.to_string_lossy().replace('\\', "/"),
        text: String::from_utf8(bytes).unwrap_or_default(),
    })
}

/// One of our crates, as cargo sees it.
pub struct Package {
    pub name: String,
    /// All dependencies: normal, of tests and of build scripts.
    pub dependencies: Vec<Dependency>,
}

pub struct Dependency {
    pub name: String,
    /// Whether only tests, benchmarks and examples use it.
    pub is_dev: bool,
}

/// What `cargo metadata` says of the workspace.
pub struct Metadata {
    pub packages: Vec<Package>,
    pub target: PathBuf,
}

impl Metadata {
    pub fn read() -> anyhow::Result<Self> {
        let arguments = ["metadata", "--format-version", "1", "--no-deps"];
        let json = process::output(&mut process::cargo(&arguments))?;
        Self::parse(&serde_json::from_slice(&json).context("cargo metadata")?)
    }

    fn parse(json: &Value) -> anyhow::Result<Self> {
        let target = json["target_directory"]
            .as_str()
            .context("cargo metadata: no target_directory")?;
        let packages = json["packages"]
            .as_array()
            .context("cargo metadata: no packages")?;
        Ok(Self {
            packages: packages.iter().map(Package::parse).collect(),
            target: target.into(),
        })
    }
}

impl Package {
    fn parse(json: &Value) -> Self {
        let dependency = |json: &Value| Dependency {
            name: text(&json["name"]),
            is_dev: json["kind"] == "dev",
        };
        Self {
            name: text(&json["name"]),
            dependencies: json["dependencies"]
                .as_array()
                .into_iter()
                .flatten()
                .map(dependency)
                .collect(),
        }
    }
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_gives_names_kinds_and_the_target_folder() {
        let json = serde_json::json!({ "target_directory": "/t", "packages": [{ "name": "a", "dependencies": [
            { "name": "b", "kind": null }, { "name": "c", "kind": "dev" },
        ] }] });
        let metadata = Metadata::parse(&json).unwrap();
        assert_eq!(metadata.target, Path::new("/t"));
        let package = &metadata.packages[0];
        let found: Vec<_> = package
            .dependencies
            .iter()
            .map(|d| (d.name.as_str(), d.is_dev))
            .collect();
        assert_eq!(
            (package.name.as_str(), found),
            ("a", vec![("b", false), ("c", true)])
        );
    }

    #[test]
    fn files_are_found_with_relative_paths() {
        let files = files().unwrap();
        assert!(files.iter().any(|file| file.path == "xtask/src/main.rs"));
        assert!(files.iter().all(|file| !file.path.starts_with("target/")));
    }
}
