//! Records a pipeline that is not ours: three lines around it, and everything that the probe sees until the end is in a trace file.
//!
//! ```text
//! config    what is recorded, how often machines are looked at, which reports are wanted: YAML, TOML or a preset
//! session   start and end; between them the pipeline uses `carnot_probe`
//! recorder  a thread that moves what the probe has into the file, ten times a second
//! allocations  who allocates: a sample, told to the probe
//! samplers  what the machine does meanwhile, as counters
//! convert   from the probe's words to the file's
//! status    what is known so far, and the line that tells it
//! reports   what is made of the file at the end
//! ```
//!
//! ```
//! use carnot_probe::{Kind, span};
//! use carnot_session::{Config, Identity, Session};
//!
//! # let folder = tempfile::tempdir()?;
//! let mut config = Config::default();
//! config.output_dir = folder.path().to_owned();
//! let session = Session::start(&config, Identity::named("nightly"), None)?;
//! {
//!     let _decode = span!("vae_decode", Kind::Stage).items(12);
//! }
//! let trace = session.end(carnot_record::Outcome::Completed)?;
//! assert!(trace.exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod allocations;
pub mod config;
mod convert;
mod error;
mod recorder;
mod reports;
mod samplers;
mod session;
mod status;

pub use config::Config;
pub use error::Error;
pub use reports::{Reports, report};
pub use session::{Identity, Session};
pub use status::Status;
