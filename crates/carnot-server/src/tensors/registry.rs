//! Tensor models by name: loaded, unloaded, and how they come back.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use tokio::task::spawn_blocking;

use super::runner::ModelHandle;
use super::{Batching, Reopen, TensorModel};
use crate::error::{ApiError, ENGINE_FAILED, MODEL_CONTROL, MODEL_NOT_FOUND};
use crate::metrics::Metrics;

/// Requests of a model that wait at most, whatever the limits of the server.
const MOST: usize = 1 << 16;

/// The tensor models of a server.
#[derive(Default)]
pub(crate) struct Registry {
    models: RwLock<BTreeMap<String, Arc<Entry>>>,
    /// Whether clients may load and unload models.
    is_controlled: AtomicBool,
}

struct Entry {
    batching: Batching,
    reopen: Option<Reopen>,
    version: String,
    state: RwLock<State>,
}

/// A model that was opened again, or why not.
type Opened = Result<ModelHandle, Box<dyn Error + Send + Sync>>;

#[derive(Clone)]
enum State {
    Ready(Arc<ModelHandle>),
    /// With the one that serves meanwhile.
    Loading(Option<Arc<ModelHandle>>),
    Unloading,
    /// With why.
    Unloaded(String),
}

/// A row of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub name: String,
    pub version: String,
    pub state: &'static str,
    pub reason: String,
}

impl Registry {
    /// Takes a model in and starts its threads.
    ///
    /// # Errors
    /// Where there is one of that name, and as [`ModelHandle::start`].
    pub fn add(&self, model: TensorModel, metrics: &Metrics) -> io::Result<()> {
        let info = model.engine.model();
        let (name, version) = (info.name.clone(), info.version.clone());
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if models.contains_key(&name) {
            let what = format!("model {name}: expected a name for each model, got it twice");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let told = metrics.tensors(&name);
        let handle = ModelHandle::start(model.engine, model.batching.clone(), MOST, told)?;
        let entry = Entry {
            batching: model.batching,
            reopen: model.reopen,
            version,
            state: RwLock::new(State::Ready(Arc::new(handle))),
        };
        models.insert(name, Arc::new(entry));
        Ok(())
    }

    /// Lets clients load and unload models.
    pub fn allow_control(&self) {
        self.is_controlled.store(true, Ordering::Relaxed);
    }

    /// The model of that name and version, if it is loaded.
    ///
    /// # Errors
    /// [`MODEL_NOT_FOUND`].
    pub fn get(&self, name: &str, version: Option<&str>) -> Result<Arc<ModelHandle>, ApiError> {
        let entry = self.entry(name)?;
        if let Some(version) = version.filter(|version| *version != entry.version) {
            let message = format!("{name}: expected version {}, got {version}", entry.version);
            return Err(ApiError::new(&MODEL_NOT_FOUND, message));
        }
        match entry.state() {
            State::Ready(handle) | State::Loading(Some(handle)) => Ok(handle),
            State::Loading(None) => Err(not_ready(name, "is being loaded")),
            State::Unloading => Err(not_ready(name, "is being unloaded")),
            State::Unloaded(_) => Err(not_ready(name, "is unloaded")),
        }
    }

    /// The models that are loaded.
    pub fn ready(&self) -> Vec<Arc<ModelHandle>> {
        let ready = self
            .entries()
            .into_iter()
            .filter_map(|(_, entry)| match entry.state() {
                State::Ready(handle) | State::Loading(Some(handle)) => Some(handle),
                _ => None,
            });
        ready.collect()
    }

    /// All models, and how they are.
    pub fn index(&self) -> Vec<Listed> {
        let listed = self.entries().into_iter().map(|(name, entry)| {
            let (state, reason) = match entry.state() {
                State::Ready(_) => ("READY", String::new()),
                State::Loading(_) => ("LOADING", String::new()),
                State::Unloading => ("UNLOADING", String::new()),
                State::Unloaded(reason) => ("UNAVAILABLE", reason),
            };
            Listed {
                name,
                version: entry.version.clone(),
                state,
                reason,
            }
        });
        listed.collect()
    }

    /// Opens a model again from where it came. One that is loaded is replaced when the new one is there.
    ///
    /// # Errors
    /// [`MODEL_CONTROL`] where clients may not, [`MODEL_NOT_FOUND`], [`ENGINE_FAILED`] where it cannot be opened.
    pub async fn load(&self, name: &str, metrics: &Metrics) -> Result<(), ApiError> {
        let entry = self.controlled(name)?;
        let told = metrics.tensors(name);
        let before = entry.begin(State::Loading, name)?;
        let opening = Arc::clone(&entry);
        let opened = spawn_blocking(move || -> Opened {
            let reopen = opening.reopen.as_ref().ok_or("it cannot be opened again")?;
            let handle = ModelHandle::start(reopen()?, opening.batching.clone(), MOST, told);
            handle.map_err(Into::into)
        });
        let opened = opened
            .await
            .unwrap_or_else(|_| Err("opening it panicked".into()));
        match opened {
            Ok(handle) => {
                *entry.state_mut() = State::Ready(Arc::new(handle));
                if let Some(old) = before {
                    close(old).await;
                }
                Ok(())
            }
            Err(error) => {
                let reason = format!("{name}: {error}");
                *entry.state_mut() = match before {
                    Some(old) => State::Ready(old),
                    None => State::Unloaded(reason.clone()),
                };
                Err(ApiError::new(&ENGINE_FAILED, reason))
            }
        }
    }

    /// Takes no more requests for a model, and gives its memory back when those that it has are answered.
    ///
    /// # Errors
    /// [`MODEL_CONTROL`] where clients may not, [`MODEL_NOT_FOUND`].
    pub async fn unload(&self, name: &str) -> Result<(), ApiError> {
        let entry = self.controlled(name)?;
        if let Some(handle) = entry.begin(|_| State::Unloading, name)? {
            close(handle).await;
        }
        *entry.state_mut() = State::Unloaded("unloaded".to_owned());
        Ok(())
    }

    fn controlled(&self, name: &str) -> Result<Arc<Entry>, ApiError> {
        let entry = self.entry(name)?;
        if !self.is_controlled.load(Ordering::Relaxed) || entry.reopen.is_none() {
            let message = "this server loads and unloads no models while it runs";
            return Err(ApiError::new(&MODEL_CONTROL, message));
        }
        Ok(entry)
    }

    fn entry(&self, name: &str) -> Result<Arc<Entry>, ApiError> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.get(name).cloned().ok_or_else(|| {
            let names: Vec<&str> = models.keys().map(String::as_str).collect();
            let message = match names.as_slice() {
                [] => format!("this server has no tensor model, got {name}"),
                names => format!("model: expected one of {}, got {name}", names.join(", ")),
            };
            ApiError::new(&MODEL_NOT_FOUND, message)
        })
    }

    fn entries(&self) -> Vec<(String, Arc<Entry>)> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let entries = models.iter();
        entries
            .map(|(name, entry)| (name.clone(), Arc::clone(entry)))
            .collect()
    }
}

impl Entry {
    fn state(&self) -> State {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes into a state of transition, unless it is in one; gives the handle that was there.
    fn begin(
        &self,
        to: impl FnOnce(Option<Arc<ModelHandle>>) -> State,
        name: &str,
    ) -> Result<Option<Arc<ModelHandle>>, ApiError> {
        let mut state = self.state_mut();
        let before = match &*state {
            State::Loading(_) => return Err(not_ready(name, "is being loaded")),
            State::Unloading => return Err(not_ready(name, "is being unloaded")),
            State::Ready(handle) => Some(Arc::clone(handle)),
            State::Unloaded(_) => None,
        };
        *state = to(before.clone());
        Ok(before)
    }
}

async fn close(handle: Arc<ModelHandle>) {
    // It only fails where the runtime ends, and then the threads do too.
    let _ = spawn_blocking(move || handle.close()).await;
}

fn not_ready(name: &str, what: &str) -> ApiError {
    ApiError::new(&MODEL_NOT_FOUND, format!("{name} {what}"))
}
