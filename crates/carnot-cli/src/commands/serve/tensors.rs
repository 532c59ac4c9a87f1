//! Tensor models for `carnot serve`: ONNX files, and which engine runs each.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context;
use carnot_cache::{Cache, MemorySettings, RemoteSettings, Settings};
use carnot_engine::TensorEngine;
use carnot_onnx::{Choice, Engine, Options};
use carnot_server::{Batching, TensorModel};

use crate::cli::{ServeArguments, TensorServing};
use crate::tensors::search;

/// Opens those of `models` that are tensor models.
pub fn open<'a>(
    models: impl Iterator<Item = &'a PathBuf>,
    arguments: &ServeArguments,
) -> anyhow::Result<Vec<TensorModel>> {
    let options = options(arguments);
    let model = |path: &PathBuf| {
        let (engine, choice) =
            Engine::open(path, &options).with_context(|| path.display().to_string())?;
        tell(&*engine, &choice);
        let (path, options) = (path.clone(), options.clone());
        Ok(TensorModel {
            engine,
            batching: batching(&arguments.tensors),
            reopen: Some(Box::new(move || {
                let (engine, choice) = Engine::open(&path, &options)?;
                tell(&*engine, &choice);
                Ok(engine)
            })),
        })
    };
    models.map(model).collect()
}

fn tell(engine: &dyn TensorEngine, choice: &Choice) {
    let info = engine.model();
    tracing::info!(
        model = info.name,
        engine = choice.engine.name(),
        why = choice.why,
        is_batchable = info.is_batchable,
        "opened"
    );
    for warning in &choice.warnings {
        tracing::warn!(model = info.name, "{warning}");
    }
}

fn options(arguments: &ServeArguments) -> Options {
    Options {
        engine: arguments.tensors.engine.into(),
        threads: arguments
            .compute
            .threads
            .and_then(|threads| NonZeroUsize::new(threads.into())),
        library: search(arguments.tensors.onnxruntime.as_deref()),
        ..Options::default()
    }
}

fn batching(arguments: &TensorServing) -> Batching {
    Batching {
        max_rows: arguments.max_batch,
        max_delay: arguments.max_queue_delay,
        preferred_rows: arguments.preferred_batch.clone(),
        target: arguments.batch_target,
        instances: arguments.instances,
        is_ordered: arguments.preserve_ordering,
        on_timeout: arguments.timeout_action.into(),
    }
}

/// Where results are kept, if they are.
pub async fn results(arguments: &TensorServing) -> anyhow::Result<Option<Cache>> {
    let Some(bytes) = arguments.result_cache else {
        return Ok(None);
    };
    let settings = Settings {
        name: "tensors".to_owned(),
        memory: MemorySettings {
            bytes,
            ..MemorySettings::default()
        },
        remote: arguments.redis.as_ref().map(RemoteSettings::new),
        ..Settings::default()
    };
    Ok(Some(Cache::open(settings).await?))
}
