//! What the command line asks for and there is not: one line, and exit code 2.

use std::fmt;

/// Such an error; as the context of another it says what was asked for.
#[derive(Debug)]
pub struct WrongUsage(pub String);

impl WrongUsage {
    /// An error that says only this.
    pub fn error(text: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self(text.into()))
    }
}

impl fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUsage {}
