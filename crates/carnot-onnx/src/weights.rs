//! Weights that lie in files beside the model: where they may be, reading them, and the hash of all that a model is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use carnot_engine::SharedBytes;
use ring::digest::{Context, SHA256};

use crate::OnnxError;
use crate::model::{Model, TensorData, TensorProto};

/// The files beside a model that its weights lie in, read: by the name that the model gives them.
#[derive(Clone, Debug, Default)]
pub struct ExternalFiles {
    files: BTreeMap<String, SharedBytes>,
}

impl ExternalFiles {
    /// Reads the files that `model` names, all of which have to be in `folder`, or below it.
    ///
    /// # Errors
    /// [`OnnxError::EscapingPath`] for a path that is absolute, has `..` in it, or leads out of the folder by a symbolic link other than
    /// to where the model's own file is; [`OnnxError::Read`]; [`OnnxError::Invalid`] where a file is too short.
    pub fn read(model: &Model, model_path: &Path) -> Result<Self, OnnxError> {
        let mut found = Self::default();
        let mut result = Ok(());
        let folder = model_path.parent().unwrap_or(Path::new(""));
        let folders = Folders::of(folder, model_path);
        model.graph.each_tensor(&mut |tensor| {
            if let (TensorData::External(external), true) = (&tensor.data, result.is_ok()) {
                let location = &external.location;
                if !found.files.contains_key(location) {
                    match folders.read(&tensor.name, location) {
                        Ok(bytes) => drop(found.files.insert(location.clone(), bytes)),
                        Err(error) => result = Err(error),
                    }
                }
                if result.is_ok() {
                    result = found.values(tensor).map(drop);
                }
            }
        });
        result.map(|()| found)
    }

    /// Refuses a model that has weights elsewhere: one that came as bytes has no folder.
    ///
    /// # Errors
    /// [`OnnxError::Invalid`] that names the first such tensor.
    pub fn refuse(model: &Model) -> Result<Self, OnnxError> {
        let mut first = None;
        model.graph.each_tensor(&mut |tensor| {
            if let TensorData::External(external) = &tensor.data {
                first.get_or_insert((tensor, external));
            }
        });
        match first {
            None => Ok(Self::default()),
            Some((tensor, external)) => {
                let got = format!("some in {}", external.location);
                Err(tensor.invalid("values within a model that comes as bytes", got))
            }
        }
    }

    /// The files by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SharedBytes)> {
        self.files
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The bytes of a tensor that lies in one of the files.
    ///
    /// # Errors
    /// [`OnnxError::Invalid`] where the file is not among them, too short, or the length not the shape's.
    pub fn values(&self, tensor: &TensorProto) -> Result<SharedBytes, OnnxError> {
        let TensorData::External(external) = &tensor.data else {
            return Err(tensor.invalid("values in a file", "values in the model".to_owned()));
        };
        let Some(file) = self.files.get(&external.location) else {
            return Err(tensor.invalid("a file that was read", external.location.clone()));
        };
        let size = tensor.size_bytes();
        let start = usize::try_from(external.offset).unwrap_or(usize::MAX);
        let end = start.checked_add(size).filter(|end| *end <= file.len());
        let is_length_right = external.length.is_none_or(|length| length == size as u64);
        match end {
            Some(end) if is_length_right => Ok(file.range(start..end)),
            _ => {
                let expected = format!("{size} bytes for {} {:?}", tensor.data_type, tensor.shape);
                let length = external
                    .length
                    .map_or("the rest".to_owned(), |length| length.to_string());
                let got = format!(
                    "{length} from {start} of {}, which has {}",
                    external.location,
                    file.len()
                );
                Err(tensor.invalid(&expected, got))
            }
        }
    }
}

/// Where files of a model may be: its folder, and that of its file where the model's path is a link, as in caches of downloads.
struct Folders {
    named: PathBuf,
    real: Vec<PathBuf>,
}

impl Folders {
    fn of(folder: &Path, model_path: &Path) -> Self {
        let here = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let target = fs::canonicalize(model_path).ok();
        let beside = target.and_then(|path| path.parent().map(Path::to_owned));
        Self {
            named: here.to_owned(),
            real: fs::canonicalize(here).into_iter().chain(beside).collect(),
        }
    }

    fn read(&self, tensor: &str, location: &str) -> Result<SharedBytes, OnnxError> {
        let escapes = || OnnxError::EscapingPath {
            name: tensor.to_owned(),
            location: location.to_owned(),
        };
        let is_plain =
            |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        let relative = Path::new(location);
        if location.is_empty() || location.contains('\\') || !relative.components().all(is_plain) {
            return Err(escapes());
        }
        let path = self.named.join(relative);
        let read = |source| OnnxError::Read {
            path: path.clone(),
            source,
        };
        let real = fs::canonicalize(&path).map_err(read)?;
        if !self.real.iter().any(|folder| real.starts_with(folder)) {
            return Err(escapes());
        }
        Ok(SharedBytes::from(fs::read(&real).map_err(read)?))
    }
}

/// The hash of a model, SHA-256 in hexadecimal: of its file, and of the names and contents of those beside it, in the order of names.
/// It reads every byte once, some 1 to 2 GB a second.
pub fn content_hash(model: &[u8], files: &ExternalFiles) -> String {
    let mut context = Context::new(&SHA256);
    context.update(model);
    for (name, bytes) in files.iter() {
        for part in [name.as_bytes(), bytes] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
    }
    let hash = context.finish();
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A model that was read with all that belongs to it.
#[derive(Clone, Debug)]
pub struct LoadedModel {
    /// Its name: that of its file without the ending.
    pub name: String,
    /// Its file; none where it came as bytes.
    pub path: Option<PathBuf>,
    /// Its bytes.
    pub bytes: SharedBytes,
    /// What they say.
    pub model: Arc<Model>,
    /// Its weights in other files.
    pub files: ExternalFiles,
    /// Its [`content_hash`].
    pub hash: String,
}

impl LoadedModel {
    /// Reads a file and those beside it.
    ///
    /// # Errors
    /// [`OnnxError::Read`], and as [`Model::parse`] and [`ExternalFiles::read`].
    pub fn open(path: &Path) -> Result<Self, OnnxError> {
        let bytes = fs::read(path).map_err(|source| OnnxError::Read {
            path: path.to_owned(),
            source,
        })?;
        let bytes = SharedBytes::from(bytes);
        let model = Model::parse(bytes.clone())?;
        let files = ExternalFiles::read(&model, path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self {
            path: Some(path.to_owned()),
            ..Self::of(&name, bytes, model, files)
        })
    }

    /// Reads a model that is in memory, whole.
    ///
    /// # Errors
    /// As [`Model::parse`] and [`ExternalFiles::refuse`].
    pub fn from_bytes(name: &str, bytes: impl Into<SharedBytes>) -> Result<Self, OnnxError> {
        let bytes = bytes.into();
        let model = Model::parse(bytes.clone())?;
        let files = ExternalFiles::refuse(&model)?;
        Ok(Self::of(name, bytes, model, files))
    }

    fn of(name: &str, bytes: SharedBytes, model: Model, files: ExternalFiles) -> Self {
        Self {
            name: name.to_owned(),
            path: None,
            hash: content_hash(&bytes, &files),
            bytes,
            model: Arc::new(model),
            files,
        }
    }
}
