//! What each tenant was served: the virtual token counter that lets them take turns.

use std::collections::HashMap;
use std::sync::Arc;

/// Tenants that have nothing to do are forgotten when there are more than these.
const KEPT: usize = 1024;
/// What a generated token counts against a prompt token.
const GENERATED_WEIGHT: u64 = 2;

/// Tenants by name.
#[derive(Debug, Default)]
pub(super) struct Tenants(HashMap<Arc<str>, Share>);

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    /// Tokens computed for it, generated ones with their weight.
    served: u64,
    /// Its requests that wait or run.
    requests: usize,
}

impl Tenants {
    /// Counts a request that came. A tenant that comes back starts level with those that are there: what it did not use is
    /// not saved up.
    pub fn enter(&mut self, name: &Arc<str>) {
        if self.0.len() > KEPT {
            self.0.retain(|_, share| share.requests > 0);
        }
        let busy = self.0.values().filter(|share| share.requests > 0);
        let least = busy.map(|share| share.served).min();
        let share = self.0.entry(Arc::clone(name)).or_default();
        if share.requests == 0 {
            share.served = share.served.max(least.unwrap_or(0));
        }
        share.requests += 1;
    }

    /// Counts a request that ended.
    pub fn leave(&mut self, name: &str) {
        if let Some(share) = self.0.get_mut(name) {
            share.requests -= 1;
        }
    }

    /// Counts tokens that were computed.
    pub fn serve(&mut self, name: &str, tokens: usize, is_prefill: bool) {
        let weight = if is_prefill { 1 } else { GENERATED_WEIGHT };
        if let Some(share) = self.0.get_mut(name) {
            share.served += weight * tokens as u64;
        }
    }

    /// What a tenant was served.
    pub fn served(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |share| share.served)
    }

    /// Requests of all tenants.
    pub fn requests(&self) -> usize {
        self.0.values().map(|share| share.requests).sum()
    }
}
