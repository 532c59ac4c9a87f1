//! Where ONNX Runtime's library may be: what was named, the environment, Python's packages, the system.

use std::env;
use std::path::{Path, PathBuf};

use carnot_onnx::LibrarySearch;

/// Where to look; `explicit` is a library that was named.
pub fn search(explicit: Option<&Path>) -> LibrarySearch {
    let variable = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let user = variable("HOME").map(|home| home.join(".local"));
    let prefixes = [variable("VIRTUAL_ENV"), variable("CONDA_PREFIX"), user];
    let system = ["/usr/local", "/usr"].map(|prefix| Some(PathBuf::from(prefix)));
    let prefixes = prefixes.into_iter().chain(system).flatten();
    LibrarySearch {
        explicit: explicit.map(Path::to_owned),
        environment: variable("ORT_DYLIB_PATH"),
        site_packages: prefixes
            .flat_map(|prefix| LibrarySearch::site_packages_of(&prefix))
            .collect(),
        ..LibrarySearch::default()
    }
}
