//! No Redis in this build.

use std::sync::Arc;

use super::{RemoteSettings, redacted};
use crate::breaker::BreakerState;
use crate::envelope::Entry;
use crate::{CacheError, Key};

/// There is none.
pub enum Remote {}

#[expect(
    clippy::unused_async,
    clippy::needless_pass_by_value,
    reason = "the signatures are those of the connection"
)]
impl Remote {
    pub fn new(settings: RemoteSettings) -> Result<Arc<Self>, CacheError> {
        Err(CacheError::Address {
            url: redacted(&settings.url),
            reason: "this build knows no Redis (feature `redis`)".to_owned(),
        })
    }

    pub async fn get(&self, _: &Key) -> Option<Entry> {
        match *self {}
    }

    pub fn put(&self, _: Key, _: Entry) {
        match *self {}
    }

    pub async fn remove(&self, _: &Key) {
        match *self {}
    }

    pub fn state(&self) -> (BreakerState, u64) {
        match *self {}
    }

    pub fn failures(&self) -> u64 {
        match *self {}
    }

    pub fn dropped(&self) -> u64 {
        match *self {}
    }
}
