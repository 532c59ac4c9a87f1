//! ONNX Runtime's shared library: where it may be, which one fits, and that a process has one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::LoadDynamicError;
use ort::environment::Environment;

use crate::OnnxError;

/// Where to look for the library, in this order. Libraries read no environment: whoever fills this in does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibrarySearch {
    /// The library itself, where somebody named it: nothing else is tried then.
    pub explicit: Option<PathBuf>,
    /// What the environment's `ORT_DYLIB_PATH` says: the library, or the folder that it is in.
    pub environment: Option<PathBuf>,
    /// Folders of Python packages, in which the wheel `onnxruntime` has the library.
    pub site_packages: Vec<PathBuf>,
    /// Folders of the system's libraries.
    pub system: Vec<PathBuf>,
}

impl Default for LibrarySearch {
    /// The system's folders alone.
    fn default() -> Self {
        let folders = [
            "/usr/local/lib",
            "/usr/lib",
            "/usr/lib64",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/opt/onnxruntime/lib",
            "/opt/homebrew/lib",
        ];
        Self {
            explicit: None,
            environment: None,
            site_packages: Vec::new(),
            system: folders.map(PathBuf::from).to_vec(),
        }
    }
}

/// The library that this process has.
#[derive(Clone)]
pub struct LoadedLibrary {
    /// Its file.
    pub path: PathBuf,
    pub(super) environment: Environment,
}

/// A process can have one, and once it is there it stays.
static LOADED: Mutex<Option<LoadedLibrary>> = Mutex::new(None);

impl LibrarySearch {
    /// The `site-packages` of a Python installation or virtual environment, given the folder that `bin` is in.
    pub fn site_packages_of(prefix: &Path) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = fs::read_dir(prefix.join("lib"))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
            .flat_map(|entry| {
                ["site-packages", "dist-packages"].map(|name| entry.path().join(name))
            })
            .filter(|path| path.is_dir())
            .collect();
        found.sort();
        found
    }

    /// Loads the first library that fits, unless there is one already.
    ///
    /// # Errors
    /// [`OnnxError::NoLibrary`] with every place and what was there; [`OnnxError::OtherLibrary`] where a library is named and this process
    /// has another.
    pub fn load(&self) -> Result<LoadedLibrary, OnnxError> {
        // The lock guards a value that is only ever set whole.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = &*loaded {
            return self.check_same(library);
        }
        let mut searched = Vec::new();
        for place in self.places() {
            let candidates = libraries_in(&place);
            if candidates.is_empty() {
                searched.push(format!("{}: no library", place.display()));
            }
            for path in candidates {
                match load(&path) {
                    Ok(library) => return Ok(loaded.insert(library).clone()),
                    Err(reason) => searched.push(format!("{}: {reason}", path.display())),
                }
            }
        }
        Err(OnnxError::NoLibrary {
            expected: format!("1.{}", ort::MINOR_VERSION),
            searched,
        })
    }

    fn check_same(&self, library: &LoadedLibrary) -> Result<LoadedLibrary, OnnxError> {
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match &self.explicit {
            Some(wanted) if real(wanted) != real(&library.path) => Err(OnnxError::OtherLibrary {
                loaded: library.path.clone(),
                wanted: wanted.clone(),
            }),
            _ => Ok(library.clone()),
        }
    }

    /// Files and folders, in the order in which they are tried.
    fn places(&self) -> Vec<PathBuf> {
        if let Some(path) = &self.explicit {
            return vec![path.clone()];
        }
        let wheel = |folder: &PathBuf| folder.join("onnxruntime").join("capi");
        let environment = self.environment.iter().cloned();
        let wheels = self.site_packages.iter().map(wheel);
        environment
            .chain(wheels)
            .chain(self.system.iter().cloned())
            .collect()
    }
}

/// A file itself, or the libraries that a folder has, the newest name first.
fn libraries_in(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let is_library = |name: &str| {
        name.starts_with("libonnxruntime.so")
            || name == "onnxruntime.dll"
            || name
                .strip_prefix("libonnxruntime.")
                .is_some_and(|rest| rest.split('.').next_back() == Some("dylib"))
    };
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| is_library(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.reverse();
    found
}

fn load(path: &Path) -> Result<LoadedLibrary, String> {
    let builder = ort::init_from(path).map_err(|error| match error {
        LoadDynamicError::BadVersion { version_str, .. } => format!("version {version_str}"),
        other => other.to_string(),
    })?;
    // What goes wrong comes back as an error; nothing is printed.
    let silent = |_: ort::logging::LogLevel, _: &str, _: &str, _: &str, _: &str| {};
    let builder = builder.with_name("carnot").with_telemetry(false);
    let environment = builder.with_logger(std::sync::Arc::new(silent)).build();
    Ok(LoadedLibrary {
        path: path.to_owned(),
        environment: environment.map_err(|error| error.to_string())?,
    })
}

impl std::fmt::Debug for LoadedLibrary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.path.display(), ort::info())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, EngineKind, Options};

    #[test]
    fn a_library_that_is_nowhere_is_told_with_every_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let wrong = folder.path().join("libonnxruntime.so.1.2");
        std::fs::write(&wrong, "no library").expect("it can be written");
        let search = LibrarySearch {
            explicit: None,
            environment: Some(wrong.clone()),
            site_packages: vec![PathBuf::from("/nowhere")],
            system: vec![folder.path().to_owned()],
        };
        let error = search.load().expect_err("there is none").to_string();
        let places = [
            wrong.to_string_lossy().into_owned(),
            "/nowhere/onnxruntime/capi: no library".to_owned(),
        ];
        for place in places {
            assert!(error.contains(&place), "{error}");
        }
        assert!(
            error.contains("1.17") && error.contains("pip install onnxruntime"),
            "{error}"
        );
        let options = Options {
            library: search,
            ..Options::default()
        };
        let choice = Engine::choose(&options).expect("the embedded engine is always there");
        assert_eq!(choice.engine, EngineKind::Embedded);
        assert!(choice.why.contains("no ONNX Runtime"), "{}", choice.why);
    }
}
