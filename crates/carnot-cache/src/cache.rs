//! The tiers together: look-up, promotion upwards, one computation for all who wait.

use std::fmt::Display;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use carnot_probe::{CacheOutcome, Kind, SiteId};

use crate::disk::Disk;
use crate::envelope::{self, Entry};
use crate::memory::{self, Memory};
use crate::remote::Remote;
use crate::statistics::{Counters, Statistics, TierStatistics};
use crate::{CacheError, Key, Settings};

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The first tier.
    Memory,
    /// The second.
    Disk,
    /// The third.
    Remote,
    /// It was computed for this look-up.
    Computed,
    /// It was computed for another that asked for the same at the same time.
    Shared,
}

impl Origin {
    /// The name that metrics and headers use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Remote => "redis",
            Self::Computed => "computed",
            Self::Shared => "shared",
        }
    }

    /// Whether a tier had it.
    pub fn is_hit(self) -> bool {
        matches!(self, Self::Memory | Self::Disk | Self::Remote)
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The value.
    pub value: Bytes,
    /// Where it came from.
    pub origin: Origin,
}

/// Tiers of results. Clones share them.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    settings: Settings,
    memory: Memory,
    disk: Option<Arc<Disk>>,
    remote: Option<Arc<Remote>>,
    counters: Counters,
    site: SiteId,
}

impl Cache {
    /// Opens the tiers. Looks through the folder of the second, if there is one; Redis is connected to at the first look-up.
    pub async fn open(settings: Settings) -> Result<Self, CacheError> {
        let site = carnot_probe::site(&format!("cache {}", settings.name), Kind::Cache);
        let disk = match settings.disk.clone() {
            None => None,
            Some(disk) => {
                let opened = tokio::task::spawn_blocking(move || Disk::open(&disk)).await;
                // It only ends otherwise where the runtime does.
                opened.ok().transpose()?.map(Arc::new)
            }
        };
        let remote = settings.remote.clone().map(Remote::new).transpose()?;
        Ok(Self(Arc::new(Inner {
            memory: Memory::new(&settings.memory, site),
            disk,
            remote,
            counters: Counters::default(),
            site,
            settings,
        })))
    }

    /// What some tier has for `key`; it is put into the tiers above. Never fails: what cannot be read is not there.
    pub async fn get(&self, key: Key) -> Option<Found> {
        let found = self.find(&key).await;
        self.count(&key, found.as_ref());
        let (entry, origin) = found?;
        let value = entry.value;
        Some(Found { value, origin })
    }

    /// The same, and where there is none what `compute` gives, which is kept. Of those who ask for the same at the same time one
    /// computes, and the others wait for it; if it is given up, because its client left, the next one computes.
    ///
    /// # Errors
    /// Those of `compute`, which are not kept; those who waited for it get the same one.
    pub async fn get_or_compute<E>(
        &self,
        key: Key,
        compute: impl Future<Output = Result<Bytes, E>>,
    ) -> Result<Found, Arc<E>>
    where
        E: Display + Send + Sync + 'static,
    {
        if let Some(found) = self.get_memory(&key).await {
            return Ok(found);
        }
        let own = Mutex::new(None);
        let tell = |origin| *own.lock().unwrap_or_else(PoisonError::into_inner) = Some(origin);
        let fill = async {
            if let Some((entry, origin)) = self.find_below(&key).await {
                tell(origin);
                return Ok(entry);
            }
            tell(Origin::Computed);
            let entry = self.entry(compute.await?);
            self.put_below(key, &entry).await;
            Ok(entry)
        };
        let entry = self.0.memory.entries.try_get_with(key, fill).await;
        let own = own.into_inner().unwrap_or_else(PoisonError::into_inner);
        let origin = own.unwrap_or(Origin::Shared);
        if origin == Origin::Shared {
            self.0.counters.shared.fetch_add(1, Ordering::Relaxed);
        }
        match entry {
            Ok(entry) => {
                self.count(&key, Some(&(entry.clone(), origin)));
                let value = entry.value;
                Ok(Found { value, origin })
            }
            Err(error) => {
                self.count(&key, None);
                Err(error)
            }
        }
    }

    /// Keeps a value in all tiers.
    pub async fn insert(&self, key: Key, value: Bytes) {
        let entry = self.entry(value);
        self.put_below(key, &entry).await;
        self.0.memory.entries.insert(key, entry).await;
    }

    /// Gives a value up in all tiers.
    pub async fn remove(&self, key: Key) {
        self.0.memory.entries.invalidate(&key).await;
        if let Some(disk) = self.0.disk.clone() {
            let _ = tokio::task::spawn_blocking(move || disk.remove(&key)).await;
        }
        if let Some(remote) = &self.0.remote {
            remote.remove(&key).await;
        }
    }

    /// What was found where since the start.
    pub async fn statistics(&self) -> Statistics {
        let inner = &self.0;
        // The table does its housekeeping when it is used; its size is only right after it.
        inner.memory.entries.run_pending_tasks().await;
        let counters = &inner.counters;
        let memory = TierStatistics {
            evictions: inner.memory.evictions(),
            bytes: inner.memory.entries.weighted_size(),
            entries: inner.memory.entries.entry_count(),
            ..counters.memory.told()
        };
        let disk = inner.disk.as_ref().map(|disk| {
            let (bytes, entries) = disk.size();
            TierStatistics {
                evictions: disk.evictions(),
                bytes,
                entries,
                failures: disk.failures(),
                ..counters.disk.told()
            }
        });
        let remote = inner.remote.as_ref().map(|remote| TierStatistics {
            failures: remote.failures(),
            ..counters.remote.told()
        });
        let breaker = inner.remote.as_ref().map(|remote| remote.state());
        let below = [disk, remote].into_iter().flatten();
        let hits = memory.hits + below.map(|tier| tier.hits).sum::<u64>();
        // Everybody asks memory first.
        let requests = memory.hits + memory.misses;
        Statistics {
            requests,
            hits,
            misses: requests.saturating_sub(hits),
            shared: counters.shared.load(Ordering::Relaxed),
            memory,
            disk,
            remote,
            breaker: breaker.map(|(state, _)| state),
            breaker_opened: breaker.map_or(0, |(_, opened)| opened),
            remote_dropped: inner.remote.as_ref().map_or(0, |remote| remote.dropped()),
            mean_age: counters.mean_age(),
            hit_rate_by_bytes: counters.curve(),
        }
    }

    /// The hit rate that a first tier of `bytes`, least recently used, would have had, by a sample of the keys.
    pub fn hit_rate_at(&self, bytes: u64) -> f64 {
        self.0.counters.hit_rate(bytes)
    }

    fn entry(&self, value: Bytes) -> Entry {
        let ends = self.0.settings.time_to_live;
        Entry {
            value,
            ends: ends.map(|time| envelope::now() + time),
        }
    }

    async fn get_memory(&self, key: &Key) -> Option<Found> {
        let entry = self.0.memory.entries.get(key).await?;
        let found = (entry, Origin::Memory);
        self.count(key, Some(&found));
        Some(Found {
            value: found.0.value,
            origin: Origin::Memory,
        })
    }

    async fn find(&self, key: &Key) -> Option<(Entry, Origin)> {
        if let Some(entry) = self.0.memory.entries.get(key).await {
            return Some((entry, Origin::Memory));
        }
        let (entry, origin) = self.find_below(key).await?;
        self.0.memory.entries.insert(*key, entry.clone()).await;
        Some((entry, origin))
    }

    /// In the tiers below memory.
    async fn find_below(&self, key: &Key) -> Option<(Entry, Origin)> {
        let inner = &self.0;
        if let Some(disk) = inner.disk.clone() {
            let key = *key;
            let found = tokio::task::spawn_blocking(move || disk.get(&key)).await;
            let found = found.ok().flatten();
            inner.counters.disk.count(found.is_some());
            if let Some(entry) = found {
                return Some((entry, Origin::Disk));
            }
        }
        let found = inner.remote.as_ref()?.get(key).await;
        inner.counters.remote.count(found.is_some());
        let entry = found?;
        self.put_disk(*key, &entry).await;
        Some((entry, Origin::Remote))
    }

    async fn put_below(&self, key: Key, entry: &Entry) {
        self.put_disk(key, entry).await;
        if let Some(remote) = &self.0.remote {
            remote.put(key, entry.clone());
        }
    }

    async fn put_disk(&self, key: Key, entry: &Entry) {
        if let Some(disk) = self.0.disk.clone() {
            let entry = entry.clone();
            let _ = tokio::task::spawn_blocking(move || disk.put(&key, &entry)).await;
        }
    }

    /// Counts a look-up, once, whatever came of it.
    fn count(&self, key: &Key, found: Option<&(Entry, Origin)>) {
        let inner = &self.0;
        let origin = found.map(|(_, origin)| *origin);
        inner.counters.memory.count(origin == Some(Origin::Memory));
        let bytes = found.map_or(0, |(entry, _)| memory::weight(entry));
        if let Some((entry, origin)) = found {
            inner.counters.access(key.short(), bytes);
            if let (true, Some(left), Some(whole)) = (
                origin.is_hit(),
                entry.left(envelope::now()),
                inner.settings.time_to_live,
            ) {
                inner.counters.age(whole.saturating_sub(left));
            }
        }
        let is_hit = origin.is_some_and(Origin::is_hit);
        let outcome = if is_hit {
            CacheOutcome::Hit
        } else {
            CacheOutcome::Miss
        };
        carnot_probe::cache(inner.site, outcome, key.short(), bytes as u64);
    }
}
