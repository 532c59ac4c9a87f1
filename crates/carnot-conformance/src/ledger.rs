//! What a subject is known to make of each case.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context;

/// What a subject makes of a case; the reasons are for whoever reads the test's output, and are not in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The result is what was expected.
    Passed,
    /// It is not, or there is none.
    Failed(String),
    /// The subject says that it cannot.
    Unsupported(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::Unsupported(why) => write!(f, "unsupported: {why}"),
        }
    }
}

impl Outcome {
    const fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Unsupported(_) => "unsupported",
        }
    }
}

/// The word for a case that passes or fails by chance, or by the machine's instructions: somebody wrote it, and it stays.
const VARIES: &str = "varies";

/// A word for each case: `passed`, `failed` or `unsupported`; or `varies`, which only somebody who knows why writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    words: BTreeMap<String, String>,
}

impl Ledger {
    /// Reads a ledger; one that is not there is empty.
    ///
    /// # Errors
    /// Where a line is not a word and a name.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = |line: &str| {
            let (word, name) = line.split_once(' ').context("expected a word and a name")?;
            Ok((name.to_owned(), word.to_owned()))
        };
        let words: anyhow::Result<_> = text.lines().map(line).collect();
        let words = words.with_context(|| format!("reading {}", path.display()))?;
        Ok(Self { words })
    }

    /// The ledger of what was found.
    pub fn of(outcomes: &BTreeMap<String, Outcome>) -> Self {
        let word = |(name, outcome): (&String, &Outcome)| (name.clone(), outcome.word().to_owned());
        Self {
            words: outcomes.iter().map(word).collect(),
        }
    }

    /// This ledger, with the cases that vary as they stand in `other`.
    #[must_use]
    pub fn keeping_varying(mut self, other: &Self) -> Self {
        for (name, word) in other.words.iter().filter(|(_, word)| *word == VARIES) {
            if self
                .words
                .get(name)
                .is_some_and(|found| found != "unsupported")
            {
                self.words.insert(name.clone(), word.clone());
            }
        }
        self
    }

    /// The ledger as a file, in the order of names.
    pub fn to_text(&self) -> String {
        let line = |(name, word): (&String, &String)| format!("{word} {name}\n");
        self.words.iter().map(line).collect()
    }

    /// Where what was found is not what the ledger says: a line for each, with the reason.
    pub fn differences(&self, outcomes: &BTreeMap<String, Outcome>) -> Vec<String> {
        let found = outcomes.iter().filter_map(|(name, outcome)| {
            let expected = self.words.get(name).map_or("not there", String::as_str);
            let is_varying = expected == VARIES && !matches!(outcome, Outcome::Unsupported(_));
            (expected != outcome.word() && !is_varying)
                .then(|| format!("{name}: expected {expected}, got {outcome}"))
        });
        let gone = self
            .words
            .keys()
            .filter(|name| !outcomes.contains_key(*name));
        found
            .chain(gone.map(|name| format!("{name}: expected, and there is no such case")))
            .collect()
    }

    /// How many cases there are of each word.
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for word in self.words.values() {
            *counts.entry(word.as_str()).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(all: &[(&str, Outcome)]) -> BTreeMap<String, Outcome> {
        all.iter()
            .map(|(name, outcome)| ((*name).to_owned(), outcome.clone()))
            .collect()
    }

    #[test]
    fn better_and_worse_both_differ() {
        let failed = Outcome::Failed("it is 3".to_owned());
        let before = outcomes(&[
            ("a", Outcome::Passed),
            ("b", failed.clone()),
            ("c", Outcome::Passed),
        ]);
        let after = outcomes(&[
            ("a", failed),
            ("b", Outcome::Passed),
            ("d", Outcome::Passed),
        ]);
        let ledger = Ledger::of(&before);
        assert!(ledger.differences(&before).is_empty());
        assert_eq!(
            ledger.differences(&after),
            [
                "a: expected passed, got failed: it is 3",
                "b: expected failed, got passed",
                "d: expected not there, got passed",
                "c: expected, and there is no such case",
            ]
        );
    }

    #[test]
    fn what_varies_may_pass_or_fail_and_stays() {
        let words = [("a".to_owned(), VARIES.to_owned())];
        let ledger = Ledger {
            words: words.into(),
        };
        let passed = outcomes(&[("a", Outcome::Passed)]);
        assert!(ledger.differences(&passed).is_empty());
        assert_eq!(Ledger::of(&passed).keeping_varying(&ledger), ledger);
        let unsupported = outcomes(&[("a", Outcome::Unsupported(String::new()))]);
        assert_eq!(ledger.differences(&unsupported).len(), 1);
        assert_ne!(Ledger::of(&unsupported).keeping_varying(&ledger), ledger);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let ledger = Ledger::of(&outcomes(&[
            ("a", Outcome::Passed),
            ("b", Outcome::Unsupported(String::new())),
        ]));
        assert_eq!(ledger.to_text(), "passed a\nunsupported b\n");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.txt");
        fs::write(&path, ledger.to_text()).expect("it can be written");
        assert_eq!(Ledger::read(&path).expect("it was written so"), ledger);
        assert_eq!(ledger.counts()["passed"], 1);
    }
}
