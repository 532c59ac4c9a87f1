//! What a machine, a process, its control group and its graphics processors do at the moment.
//!
//! ```text
//! host       processors, memory, disks, networks ─┐
//! process    one of them                          ├─▶ Watcher, each at its own interval ──▶ callback
//! gpu        by the driver's own tool, if any     ┘
//! control_group · cores · memory: what of the machine this process may have
//! ```
//!
//! Counters are read twice and told as rates between. What is not known is `None`, never 0. Linux tells nearly all of it; elsewhere
//! nearly all of it is `None`.
//!
//! ```
//! use std::time::Duration;
//! use carnot_samplers::{Reading, Watcher, Watching};
//!
//! let (send, told) = std::sync::mpsc::channel();
//! let watching = Watching {
//!     process: Some((std::process::id(), Duration::from_millis(500))),
//!     ..Watching::default()
//! };
//! let watcher = Watcher::start(watching, move |reading| drop(send.send(reading.clone())))?;
//! // … the work that is watched …
//! watcher.stop();
//! for reading in told {
//!     if let Reading::Process { at, of: Some(process), .. } = reading {
//!         println!("{at:?} {:?} cores", process.cpu_cores);
//!     }
//! }
//! # Ok::<(), carnot_samplers::Error>(())
//! ```

pub mod control_group;
pub mod cores;
mod error;
pub mod gpu;
pub mod host;
pub mod memory;
pub mod process;
mod schedule;
mod watcher;

pub use error::Error;
pub use watcher::{GPU_INTERVAL, HOST_INTERVAL, Reading, Watcher, Watching};
