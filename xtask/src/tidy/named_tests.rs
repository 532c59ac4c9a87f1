//! Every test that a document names exists: code spans that read like the name of a test are functions somewhere.

use std::collections::HashSet;

use super::Finding;
use crate::workspace::SourceFile;

/// Names of tests are sentences: of this many words at least.
const WORDS: usize = 3;
/// The documents that name tests.
const DOCUMENTS: [&str; 1] = ["docs/failures.md"];

pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let sources = files.iter().filter(|file| file.extension() == "rs");
    let known: HashSet<&str> = sources.flat_map(|file| functions(&file.text)).collect();
    let documents = files
        .iter()
        .filter(|file| DOCUMENTS.contains(&file.path.as_str()));
    documents
        .flat_map(|document| missing(document, &known))
        .collect()
}

fn missing(document: &SourceFile, known: &HashSet<&str>) -> Vec<Finding> {
    let lines = document.text.lines().enumerate();
    let named = lines.flat_map(|(index, line)| names(line).map(move |name| (index, name)));
    let missing = named.filter(|(_, name)| !known.contains(name));
    missing
        .map(|(index, name)| {
            Finding::at_line(&document.path, index, format!("there is no test {name}"))
        })
        .collect()
}

fn functions(source: &str) -> impl Iterator<Item = &str> {
    let after = source.split("fn ").skip(1);
    after.filter_map(|rest| rest.split(['(', '<']).next())
}

fn names(line: &str) -> impl Iterator<Item = &str> {
    let spans = line.split('`').skip(1).step_by(2);
    spans.filter(|span| {
        let is_name = span
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_name && span.split('_').count() >= WORDS
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tests_are_told_from_other_code() {
        let line = "`a_long_name` and `n_ctx`, `docs/x_y_z.md`, `another_one_of_them`";
        assert_eq!(
            names(line).collect::<Vec<_>>(),
            ["a_long_name", "another_one_of_them"]
        );
        assert_eq!(
            functions("fn a_b_c() {}\n fn d<T>()").collect::<Vec<_>>(),
            ["a_b_c", "d"]
        );
    }
}
