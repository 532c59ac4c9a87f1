//! How a server is set up, and how that changes while it runs.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::admission::Limits;
use crate::auth::Keys;

/// How a server is set up.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Who is let in, and how much of it.
    pub limits: Limits,
    /// Who may ask; everybody where there are none.
    pub keys: Keys,
    /// How long running requests may take to end after the server was asked to.
    pub drain: Duration,
}

/// The settings in force. Clones share them.
#[derive(Clone, Debug)]
pub struct SharedSettings(Arc<RwLock<Arc<Settings>>>);

impl SharedSettings {
    pub(crate) fn new(settings: Settings) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(settings))))
    }

    /// Those that are in force now.
    pub fn get(&self) -> Arc<Settings> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in force: for requests that come from now on, and for how long those that are under way may still take.
    pub fn replace(&self, settings: Settings) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }
}
