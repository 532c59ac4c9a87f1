//! What must not be written where: unfinished code, and the absences that the architecture rests on.

use super::Finding;
use crate::workspace::SourceFile;

/// A word and where it must not be.
struct Absence {
    /// Written in two parts, so that this table does not find itself.
    word: [&'static str; 2],
    /// Paths that begin like this are held to it.
    held: &'static [&'static str],
    /// But for these.
    free: &'static [&'static str],
    why: &'static str,
}

/// All Rust files.
const EVERYWHERE: &[&str] = &[""];
/// Code that gets bytes and time handed in.
const PURE: &[&str] = &[
    "crates/carnot-engine/",
    "crates/carnot-llm/",
    "crates/carnot-record/",
    "crates/carnot-analyze/",
    "crates/carnot-report/src/",
];
const WALL_CLOCK: &str = "time is handed in, or recorded by the probe; only edges read the clock";
const ENVIRONMENT: &str = "a library reads no environment; the binary hands settings in";

const ABSENCES: [Absence; 9] = [
    unfinished(["to", "do!("]),
    unfinished(["unimplem", "ented!("]),
    unfinished(["db", "g!("]),
    unfinished(["TO", "DO"]),
    unfinished(["FIX", "ME"]),
    Absence {
        word: ["[all", "ow("],
        held: EVERYWHERE,
        free: &[],
        why: "use `expect(…, reason = \"…\")`, which says when it is no longer needed",
    },
    Absence {
        word: ["unsafe", "_code"],
        held: &["crates/", "fuzz/"],
        free: &[
            "crates/carnot-kernels/",
            "crates/carnot-probe/",
            "crates/carnot-python/",
            "crates/carnot-sampling/",
            "crates/carnot-formats/src/storage.rs",
        ],
        why: "unsafe code is opened only in kernels, probe, sampling, python and the module that maps files",
    },
    Absence {
        word: ["Instant::", "now"],
        held: PURE,
        free: &[],
        why: WALL_CLOCK,
    },
    Absence {
        word: ["env::", "var"],
        held: &["crates/"],
        // Tools of NVIDIA's say in a variable where they are: that is their protocol.
        free: &[
            "crates/carnot-cli/",
            "crates/carnot-probe/src/nvtx/injection.rs",
        ],
        why: ENVIRONMENT,
    },
];

const fn unfinished(word: [&'static str; 2]) -> Absence {
    Absence {
        word,
        held: EVERYWHERE,
        free: &[],
        why: "finish it, or write an issue",
    }
}

impl Absence {
    fn holds(&self, path: &str) -> bool {
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
        begins(self.held) && !begins(self.free) && !is_edge(path)
    }
}

/// Tests, benchmarks and examples stand at an edge: they read clocks and the environment. Unfinished words are found by clippy there.
fn is_edge(path: &str) -> bool {
    let folders = ["/tests/", "/benches/", "/examples/"];
    folders.iter().any(|folder| path.contains(folder)) || path.ends_with("/tests.rs")
}

pub fn check(file: &SourceFile) -> Vec<Finding> {
    if file.extension() != "rs" {
        return Vec::new();
    }
    ABSENCES
        .iter()
        .filter(|absence| absence.holds(&file.path))
        .flat_map(|absence| occurrences(absence, file))
        .collect()
}

fn occurrences(absence: &Absence, file: &SourceFile) -> Vec<Finding> {
    let word = absence.word.concat();
    let what = format!("`{}`: {}", word.trim_end_matches('('), absence.why);
    let lines = file.text.lines().enumerate();
    lines
        .filter(|(_, line)| line.contains(&word))
        .map(|(index, _)| Finding::at_line(&file.path, index, what.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(path: &str, text: &str) -> Vec<String> {
        let (path, text) = (path.to_owned(), text.to_owned());
        check(&SourceFile { path, text })
            .into_iter()
            .map(|finding| finding.place)
            .collect()
    }

    #[test]
    fn every_word_is_found_with_its_line() {
        for absence in &ABSENCES {
            let text = format!("//! A map.\n{}\n", absence.word.concat());
            let path = match absence.held {
                [""] => "crates/carnot-engine/src/a.rs".to_owned(),
                held => format!("{}a.rs", held[0]),
            };
            assert_eq!(places(&path, &text), [format!("{path}:2")]);
        }
    }

    #[test]
    fn words_are_free_where_they_belong() {
        let clock = ABSENCES[7].word.concat();
        assert!(places("crates/carnot-cli/src/a.rs", &clock).is_empty());
        assert!(places("crates/carnot-llm/tests/it/main.rs", &clock).is_empty());
        assert!(places("crates/carnot-llm/examples/a.rs", &clock).is_empty());
        let opening = ABSENCES[6].word.concat();
        assert!(places("crates/carnot-kernels/src/lib.rs", &opening).is_empty());
        assert!(places("STYLE.md", &opening).is_empty());
    }
}
