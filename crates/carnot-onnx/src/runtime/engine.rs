//! Choosing an engine for a model: the one that is asked for, or the best that is there.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use carnot_engine::TensorEngine;

use super::{EmbeddedEngine, LibrarySearch, OnnxRuntimeEngine, doubtful_operators};
use crate::OnnxError;
use crate::weights::LoadedModel;

/// Which engine runs a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// ONNX Runtime where its library is found, the embedded engine otherwise.
    #[default]
    Auto,
    /// ONNX Runtime: all operators, and accelerators.
    OnnxRuntime,
    /// The engine that is built in.
    Embedded,
}

impl EngineKind {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::OnnxRuntime => "onnxruntime",
            Self::Embedded => "embedded",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Auto, Self::OnnxRuntime, Self::Embedded];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a model is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// By which engine.
    pub engine: EngineKind,
    /// Threads that compute; as many as the engine thinks best where it is not said.
    pub threads: Option<NonZeroUsize>,
    /// Execution providers of ONNX Runtime, the first that can run a node runs it; the CPU is always the last.
    pub providers: Vec<String>,
    /// Where ONNX Runtime's library is looked for.
    pub library: LibrarySearch,
    /// Whether the engine may fuse and fold nodes. Without it every node of the model shows in a profile.
    pub is_optimized: bool,
    /// A folder into which ONNX Runtime writes what its profiler records; none where nothing is recorded.
    pub profile_folder: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine: EngineKind::Auto,
            threads: None,
            providers: Vec::new(),
            library: LibrarySearch::default(),
            is_optimized: true,
            profile_folder: None,
        }
    }
}

/// Which engine it became, and why: worth a line in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The engine; never [`EngineKind::Auto`].
    pub engine: EngineKind,
    /// Why it and no other.
    pub why: String,
    /// What of the model it is known to compute otherwise than ONNX says, by operator.
    pub warnings: Vec<String>,
}

/// Opens models.
#[derive(Debug)]
pub struct Engine;

impl Engine {
    /// Reads a model's file, with those beside it, into an engine.
    ///
    /// # Errors
    /// As [`LoadedModel::open`], [`OnnxRuntimeEngine::open`] and [`EmbeddedEngine::open`].
    pub fn open(
        path: &Path,
        options: &Options,
    ) -> Result<(Box<dyn TensorEngine>, Choice), OnnxError> {
        Self::of(&LoadedModel::open(path)?, options)
    }

    /// Takes a model that is in memory into an engine.
    ///
    /// # Errors
    /// As [`LoadedModel::from_bytes`], [`OnnxRuntimeEngine::open`] and [`EmbeddedEngine::open`].
    pub fn from_bytes(
        name: &str,
        bytes: Vec<u8>,
        options: &Options,
    ) -> Result<(Box<dyn TensorEngine>, Choice), OnnxError> {
        Self::of(&LoadedModel::from_bytes(name, bytes)?, options)
    }

    /// Takes a model that was read into an engine.
    ///
    /// # Errors
    /// As [`OnnxRuntimeEngine::open`] and [`EmbeddedEngine::open`].
    pub fn of(
        loaded: &LoadedModel,
        options: &Options,
    ) -> Result<(Box<dyn TensorEngine>, Choice), OnnxError> {
        let mut choice = Self::choose(options)?;
        if choice.engine == EngineKind::Embedded {
            choice.warnings = doubtful_operators(&loaded.model);
        }
        let engine: Box<dyn TensorEngine> = match choice.engine {
            EngineKind::Embedded => Box::new(EmbeddedEngine::open(loaded, options)?),
            _ => Box::new(OnnxRuntimeEngine::open(loaded, options)?),
        };
        Ok((engine, choice))
    }

    /// Which engine `options` come to, without warnings, for those are of a model; this loads ONNX Runtime's library unless the embedded engine is asked for.
    ///
    /// # Errors
    /// As [`LibrarySearch::load`] where ONNX Runtime is asked for, a library is named or a provider is, and none fits.
    pub fn choose(options: &Options) -> Result<Choice, OnnxError> {
        let needs_runtime = options.engine == EngineKind::OnnxRuntime
            || options.library.explicit.is_some()
            || !options.providers.is_empty();
        if options.engine == EngineKind::Embedded {
            return Ok(Choice {
                engine: EngineKind::Embedded,
                why: "it was asked for".to_owned(),
                warnings: Vec::new(),
            });
        }
        match options.library.load() {
            Ok(library) => Ok(Choice {
                engine: EngineKind::OnnxRuntime,
                why: format!("its library is {}", library.path.display()),
                warnings: Vec::new(),
            }),
            Err(error) if needs_runtime => Err(error),
            Err(error) => Ok(Choice {
                engine: EngineKind::Embedded,
                why: error.to_string(),
                warnings: Vec::new(),
            }),
        }
    }
}
