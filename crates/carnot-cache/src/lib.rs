//! Results that were computed before: in memory, on disk, in Redis; and computed once, however many ask at the same time.
//!
//! ```text
//! key         the hash of all that a result depends on, and of whose it is
//! memory      the first tier: bounded by bytes, with an age (`moka`)
//! disk        the second: bounded by bytes, files with sums, survives a crash
//! remote      the third: Redis, alone or a cluster, behind a breaker: down is a miss, never an error
//! envelope    how a value lies in files and in Redis: what was cut or is not ours is a miss
//! breaker     when a tier that fails is left alone, and when it is tried again
//! cache       the tiers together: look-up, promotion upwards, one computation for all who wait
//! statistics  what was found where; the miss ratio of every size, while the cache runs
//! ```
//!
//! ```
//! use carnot_cache::{Bytes, Cache, Key, Settings};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = Cache::open(Settings::default()).await?;
//! let key = Key::of("tenant", "model 1f3a").with("prompt", b"2 + 2").finish();
//! let found = cache
//!     .get_or_compute(key, async { Ok::<_, std::io::Error>(Bytes::from("4")) })
//!     .await?;
//! assert_eq!(&found.value[..], b"4");
//! # Ok(())
//! # }
//! ```

#[cfg_attr(
    not(feature = "redis"),
    expect(dead_code, reason = "only the third tier needs it")
)]
mod breaker;
mod cache;
mod disk;
mod envelope;
mod key;
mod memory;
mod remote;
mod statistics;

pub use breaker::BreakerState;
pub use bytes::Bytes;
pub use cache::{Cache, Found, Origin};
pub use disk::DiskSettings;
pub use key::{Key, KeyBuilder};
pub use memory::{MemorySettings, Policy};
pub use remote::{RemoteSettings, redacted};
pub use statistics::{Causes, Statistics, TierStatistics};

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// How a cache is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the probe's events and the metrics call it.
    pub name: String,
    /// The first tier.
    pub memory: MemorySettings,
    /// The second, if any.
    pub disk: Option<DiskSettings>,
    /// The third, if any.
    pub remote: Option<RemoteSettings>,
    /// How long a value is good for, in all tiers; for ever where there is none.
    pub time_to_live: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "results".to_owned(),
            memory: MemorySettings::default(),
            disk: None,
            remote: None,
            time_to_live: Some(Duration::from_hours(1)),
        }
    }
}

/// Why a cache cannot be opened. Once it is open nothing fails: what cannot be read is a miss.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The folder of the second tier cannot be used.
    #[error("the cache's folder {}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The third tier's address is none.
    #[error(
        "Redis at {url}: expected an address such as redis://127.0.0.1:6379/0, or redis+cluster://host:port for a cluster: {reason}"
    )]
    Address {
        /// What was given, without its password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}
