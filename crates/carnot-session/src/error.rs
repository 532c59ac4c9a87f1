//! What can go wrong before, while and after a pipeline is recorded. None of it may hurt the pipeline.

use std::io;
use std::path::PathBuf;

/// Why a session could not be recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is not what it should be.
    #[error("{file}: {what}")]
    Config {
        /// Where it stands, or `configuration`.
        file: String,
        /// What is wrong, with what was expected.
        what: String,
    },
    /// A file could not be made or written.
    #[error("{what} {path}: {source}", path = .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another session is open in this process.
    #[error("session {0} is open in this process; end it first")]
    Open(String),
}
