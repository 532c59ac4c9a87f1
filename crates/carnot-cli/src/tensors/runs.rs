//! Runs of a model, one after another: without anybody looking, and with ONNX Runtime's profiler looking.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use carnot_engine::{Tensor, TensorEngine};
use carnot_onnx::{LoadedModel, Model, OnnxRuntimeEngine, Options, RuntimeProfile};

use crate::interrupt;

/// When something began and ended, in nanoseconds on one clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    pub start_ns: u64,
    pub end_ns: u64,
}

impl Interval {
    pub fn ns(self) -> u64 {
        self.end_ns - self.start_ns
    }
}

/// The clock: its 0.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// What `work` gives, and when it ran.
    pub fn time<T>(self, work: impl FnOnce() -> T) -> (T, Interval) {
        let start_ns = self.0.elapsed().as_nanos() as u64;
        let result = work();
        let end_ns = self.0.elapsed().as_nanos() as u64;
        (result, Interval { start_ns, end_ns })
    }
}

/// Runs a model `count` times.
pub fn run(
    engine: &mut dyn TensorEngine,
    inputs: &[Tensor],
    count: usize,
    clock: Clock,
) -> anyhow::Result<Vec<Interval>> {
    let mut runs = Vec::with_capacity(count);
    for _ in 0..count {
        let (result, interval) = clock.time(|| engine.run(inputs, None));
        drop(result.with_context(|| format!("running {}", engine.model().name))?);
        anyhow::ensure!(!interrupt::asked(), "interrupted; nothing was written");
        runs.push(interval);
    }
    Ok(runs)
}

/// A session of ONNX Runtime whose profiler records.
#[derive(Debug)]
pub struct Profiled {
    pub engine: OnnxRuntimeEngine,
    _folder: Folder,
}

impl Profiled {
    /// Makes the session.
    pub fn open(loaded: &LoadedModel, options: &Options) -> anyhow::Result<Self> {
        let folder = Folder::make()?;
        let options = Options {
            profile_folder: Some(folder.0.clone()),
            ..options.clone()
        };
        Ok(Self {
            engine: OnnxRuntimeEngine::open(loaded, &options)?,
            _folder: folder,
        })
    }

    /// What was recorded, and the model as it was run where the runtime wrote it.
    pub fn finish(mut self) -> anyhow::Result<(RuntimeProfile, Option<Model>)> {
        let model = self.engine.executed_model()?;
        Ok((self.engine.take_profile()?, model))
    }
}

/// A folder of this process's own, which goes when it does.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Self> {
        let id = std::process::id();
        let mut last = None;
        for number in 0..100 {
            let path = env::temp_dir().join(format!("carnot-profile-{id}-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) => last = Some((error, path)),
            }
        }
        let (error, path) = last.expect("it was tried a hundred times");
        Err(error).with_context(|| format!("creating {}", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever clears temporary files.
        drop(fs::remove_dir_all(&self.0));
    }
}
