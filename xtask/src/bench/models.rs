//! The models that are measured: files of the repository, and synthetic ones that are written when they are first needed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::definition::Model;
use crate::process::{program, run};
use crate::{report, workspace};

/// Where `model` lies, once it is there. Synthetic ones are kept in the target folder between runs.
pub fn prepare(model: &Model, carnot: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    let (preset, dtype) = match model {
        Model::File(path) => return Ok(workspace::root().join(path)),
        Model::Synthetic(preset, dtype) => (preset, dtype),
    };
    let folder = target.join("bench/models");
    let path = folder.join(format!("{preset}-{}.gguf", dtype.to_lowercase()));
    if path.exists() {
        return Ok(path);
    }
    report::progress(&format!("writing {}", path.display()));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    // Under its own name only when it is whole.
    let partial = path.with_extension("partial");
    let output = partial.to_string_lossy();
    let arguments = ["synth", "--preset", preset, "--type", dtype, "-o", &output];
    run(&mut program(&carnot.to_string_lossy(), &arguments))?;
    fs::rename(&partial, &path).with_context(|| format!("naming {}", path.display()))?;
    Ok(path)
}
