//! Opening: find the files, read their headers, check them against the configuration.

use std::path::Path;

use super::{ModelFile, Origin, Stored};
use crate::config;
use crate::error::{Error, File};
use crate::gguf::Gguf;
use crate::layout;
use crate::storage::Storage;

pub(super) fn from_path(path: &Path) -> Result<ModelFile, Error> {
    if path.is_dir() {
        return from_directory(path);
    }
    let storage = Storage::open(path)?;
    if path
        .extension()
        .is_some_and(|extension| extension == "safetensors")
    {
        let directory = path.parent().unwrap_or(Path::new(""));
        return from_shards(directory, stem(path), &[path.to_owned()]);
    }
    from_gguf(stem(path), path.display().to_string(), storage)
}

/// A file's name without its extension; a directory's whole name, which may hold dots.
fn stem(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let name = if path.is_dir() {
        absolute.file_name()
    } else {
        absolute.file_stem()
    };
    name.map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

pub(super) fn from_gguf(name: String, file: String, storage: Storage) -> Result<ModelFile, Error> {
    let gguf = Gguf::read(&file, &storage)?;
    let config = config::gguf::read(&gguf, &storage)?;
    let stored = gguf.tensors.into_iter().map(|tensor| Stored {
        name: tensor.name.to_owned(),
        shape: tensor.shape,
        dtype: tensor.dtype,
        storage: 0,
        data: tensor.data,
    });
    let tensors = stored.collect();
    let model = ModelFile {
        name,
        file,
        storages: vec![storage],
        tensors,
        index: [].into(),
        config,
        origin: Origin::Gguf,
    };
    model.checked()
}

fn from_directory(directory: &Path) -> Result<ModelFile, Error> {
    let index = directory.join("model.safetensors.index.json");
    let names = if index.exists() {
        crate::safetensors::shards(File(&index.display().to_string()), &read(&index)?)?
    } else {
        vec!["model.safetensors".to_owned()]
    };
    let paths: Vec<_> = names.iter().map(|name| directory.join(name)).collect();
    from_shards(directory, stem(directory), &paths)
}

fn from_shards(
    directory: &Path,
    name: String,
    paths: &[std::path::PathBuf],
) -> Result<ModelFile, Error> {
    let config_path = directory.join("config.json");
    let config = config::huggingface::parse(
        File(&config_path.display().to_string()),
        &read(&config_path)?,
    )?;
    let (mut storages, mut tensors) = (Vec::new(), Vec::new());
    for (index, path) in paths.iter().enumerate() {
        let storage = Storage::open(path)?;
        for tensor in crate::safetensors::read(&path.display().to_string(), &storage)? {
            if layout::is_derived(&tensor.name)
                || config.tied_embeddings && tensor.name == "lm_head.weight"
            {
                continue;
            }
            let name = layout::canonical_name(&tensor.name).unwrap_or(tensor.name);
            tensors.push(Stored {
                name,
                shape: tensor.shape,
                dtype: tensor.dtype,
                storage: index,
                data: tensor.data,
            });
        }
        storages.push(storage);
    }
    let file = paths.first().map_or_else(
        || directory.display().to_string(),
        |path| path.display().to_string(),
    );
    let origin = Origin::Directory(directory.to_owned());
    ModelFile {
        name,
        file,
        storages,
        tensors,
        index: [].into(),
        config,
        origin,
    }
    .checked()
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })
}

impl ModelFile {
    /// Builds the index and holds the tensors to the configuration.
    fn checked(mut self) -> Result<Self, Error> {
        for (index, tensor) in self.tensors.iter().enumerate() {
            if self.index.insert(tensor.name.clone(), index).is_some() {
                let file = File(&self.file);
                return Err(file.malformed(
                    format!("tensor {}", tensor.name),
                    "one of the name",
                    "a second one",
                ));
            }
        }
        self.check()?;
        Ok(self)
    }

    fn check(&self) -> Result<(), Error> {
        let file = File(&self.file);
        if !self.index.contains_key("token_embd.weight") {
            return Err(self.missing("token_embd.weight"));
        }
        self.config.validate(file)?;
        let mut known = 0;
        for spec in self.config.tensors() {
            let Some(tensor) = self.optional_tensor(&spec.name) else {
                if spec.required {
                    return Err(self.missing(&spec.name));
                }
                continue;
            };
            known += 1;
            if tensor.shape != spec.shape {
                let (expected, found) =
                    (format!("{:?}", spec.shape), format!("{:?}", tensor.shape));
                return Err(file.malformed(format!("shape of {}", spec.name), expected, found));
            }
            if tensor.shape.len() == 1 && tensor.dtype.is_quantized() {
                return Err(file.malformed(
                    format!("type of {}", spec.name),
                    "a float type",
                    tensor.dtype,
                ));
            }
        }
        if known < self.tensors.len() {
            return Err(self.unknown_tensor());
        }
        Ok(())
    }

    /// A tensor that the architecture does not have would change the result if it were used: it is not ignored.
    fn unknown_tensor(&self) -> Error {
        let known: std::collections::HashSet<String> =
            self.config.tensors().map(|spec| spec.name).collect();
        let unknown = self
            .tensors
            .iter()
            .find(|tensor| !known.contains(&tensor.name));
        let name = unknown.map_or("", |tensor| &tensor.name);
        File(&self.file).unsupported("tensor", name, "the architecture has no such part")
    }
}
