//! One file: its length, its head, its name.

use super::Finding;
use crate::workspace::SourceFile;

/// Longer files are looked at twice long before.
const MOST_LINES: usize = 800;
/// Longer files that are tables, with the reason. None yet.
const TABLES: [(&str, &str); 0] = [];
/// An overview that takes longer to read is none.
const OVERVIEW: (&str, usize) = ("ARCHITECTURE.md", 300);

/// Files that people write and read. Data, snapshots and lock files have their own sizes.
const WRITTEN: [&str; 9] = ["rs", "py", "js", "css", "html", "md", "toml", "yml", "sh"];

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 9] = [
    "utils", "util", "common", "helpers", "helper", "manager", "managers", "misc", "shared",
];

pub fn check(file: &SourceFile) -> Vec<Finding> {
    [length(file), head(file), name(file)]
        .into_iter()
        .flatten()
        .collect()
}

fn length(file: &SourceFile) -> Option<Finding> {
    let path = file.path.as_str();
    let lines = file.text.lines().count();
    let most = if path == OVERVIEW.0 {
        OVERVIEW.1
    } else {
        MOST_LINES
    };
    let is_table = TABLES.iter().any(|(table, _)| *table == path);
    let too_long = WRITTEN.contains(&file.extension()) && lines > most && !is_table;
    too_long.then(|| Finding::new(path, format!("{lines} lines, at most {most}; split it")))
}

/// A reader should know within ten lines what a file is for.
fn head(file: &SourceFile) -> Option<Finding> {
    let expected = match file.extension() {
        "rs" => "//!",
        "py" => "\"\"\"",
        _ => return None,
    };
    let says = after_interpreter(&file.text).starts_with(expected);
    let what = || format!("begins without {expected}, to say what the file is for");
    (!says).then(|| Finding::new(file.path.as_str(), what()))
}

/// The text without a first line such as `#!/usr/bin/env python3`; an inner attribute, `#![…]`, is none.
fn after_interpreter(text: &str) -> &str {
    match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!/") => rest,
        _ => text,
    }
}

fn name(file: &SourceFile) -> Option<Finding> {
    if !matches!(file.extension(), "rs" | "py" | "js") {
        return None;
    }
    let stem = |part: &str| part.split('.').next().unwrap_or(part).to_owned();
    let empty = file
        .path
        .split('/')
        .map(stem)
        .find(|part| EMPTY_NAMES.contains(&part.as_str()))?;
    let what = format!("`{empty}` says nothing of what is inside; name it by its noun");
    Some(Finding::new(file.path.as_str(), what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        let (path, text) = (path.to_owned(), text.to_owned());
        check(&SourceFile { path, text }).len()
    }

    #[test]
    fn long_files_are_found_and_data_is_not() {
        let long = format!("//! A map.\n{}", "\n".repeat(800));
        assert_eq!(findings("crates/x/src/a.rs", &long), 1);
        assert_eq!(findings("crates/x/src/a.rs", "//! A map.\n"), 0);
        assert_eq!(findings("Cargo.lock", &long), 0);
    }

    #[test]
    fn the_overview_is_held_shorter() {
        assert_eq!(findings("ARCHITECTURE.md", &"\n".repeat(301)), 1);
        assert_eq!(findings("docs/a.md", &"\n".repeat(301)), 0);
    }

    #[test]
    fn a_file_says_what_it_is_for() {
        assert_eq!(findings("a.rs", "use std::fmt;\n"), 1);
        assert_eq!(findings("a.py", "import os\n"), 1);
        assert_eq!(
            findings("a.py", "#!/usr/bin/env python3\n\"\"\"Writes.\"\"\"\n"),
            0
        );
    }

    #[test]
    fn empty_names_are_found_in_files_and_folders() {
        let text = "//! A map.\n";
        assert_eq!(findings("crates/x/src/utils.rs", text), 1);
        assert_eq!(findings("crates/x/src/common/mod.rs", text), 1);
        assert_eq!(findings("crates/x/src/commonality.rs", text), 0);
    }
}
