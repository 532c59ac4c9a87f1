//! The house rules that a program can check: `cargo xtask tidy`. Each rule is a pure function from text to findings.
//!
//! ```text
//! layers   which crate may know which                    words    what must not be written where
//! files    length, head, names                           links    what the documents point at
//! crates   what every crate has                          spans    the names that the probe records, and their table
//! named_tests   the tests that documents name
//! ```

mod crates;
mod files;
mod layers;
mod links;
mod named_tests;
mod spans;
mod words;

use anyhow::bail;

use crate::report;
use crate::workspace::{self, Metadata};

/// Something to put right.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// A path, with its line where there is one; or a crate.
    pub place: String,
    /// What is wrong, and what is asked for.
    pub what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
        }
    }

    /// `index` counts lines from 0.
    fn at_line(path: &str, index: usize, what: impl Into<String>) -> Self {
        Self::new(format!("{path}:{}", index + 1), what)
    }
}

/// Checks the workspace and prints what is wrong with it.
pub fn execute() -> anyhow::Result<()> {
    let files = workspace::files()?;
    let metadata = Metadata::read()?;
    let mut findings = layers::check(&metadata.packages);
    findings.extend(crates::check(&files));
    findings.extend(files.iter().flat_map(files::check));
    findings.extend(files.iter().flat_map(words::check));
    findings.extend(links::check(&files));
    findings.extend(named_tests::check(&files));
    findings.extend(spans::check(&files));
    for finding in &findings {
        report::line(&format!("{}: {}", finding.place, finding.what));
    }
    if !findings.is_empty() {
        bail!("tidy: {} to put right", findings.len());
    }
    report::line(&format!(
        "tidy: {} files and {} crates follow the house rules",
        files.len(),
        metadata.packages.len()
    ));
    Ok(())
}
