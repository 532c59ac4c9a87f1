//! What a machine, a process, its control group and its graphics processors do at the moment, and what becomes of that over a run.
//!
//! ```text
//! host       processors, memory, disks, networks ─┐
//! process    one of them                          ├─▶ Watcher, each at its own interval ──▶ callback ─┬▶ Series: mean, least, most
//! gpu        by the driver's own tool, if any     ┘                                                   └▶ Energy: joules of watts
//! control_group · cores · memory: what of the machine this process may have
//! ```
//!
//! Counters are read twice and told as rates between. What is not known is `None`, never 0. Linux tells nearly all of it; elsewhere
//! nearly all of it is `None`.
//!
//! ```
//! use std::time::Duration;
//! use carnot_samplers::{Reading, Series, Watcher, Watching};
//!
//! let (send, told) = std::sync::mpsc::channel();
//! let watching = Watching {
//!     process: Some((std::process::id(), Duration::from_millis(500))),
//!     ..Watching::default()
//! };
//! let watcher = Watcher::start(watching, move |reading| drop(send.send(reading.clone())))?;
//! // … the work that is watched …
//! watcher.stop();
//! let mut cores = Series::new(1000);
//! for reading in told {
//!     if let Reading::Process { at, of: Some(process), .. } = reading {
//!         process.cpu_cores.into_iter().for_each(|used| cores.push(at, used));
//!     }
//! }
//! # Ok::<(), carnot_samplers::Error>(())
//! ```

pub mod control_group;
pub mod cores;
mod energy;
mod error;
pub mod gpu;
pub mod host;
pub mod memory;
pub mod process;
mod schedule;
mod series;
mod watcher;

pub use energy::Energy;
pub use error::Error;
pub use series::{Point, Series};
pub use watcher::{GPU_INTERVAL, HOST_INTERVAL, Reading, Watcher, Watching};
