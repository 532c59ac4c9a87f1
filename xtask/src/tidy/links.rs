//! What the documents point at: every relative link of a Markdown file leads to something, and so does every path of a source
//! file in a code span.

use std::collections::HashSet;

use super::Finding;
use crate::workspace::SourceFile;

pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut known: HashSet<&str> = HashSet::new();
    for file in files {
        known.extend(file.path.match_indices('/').map(|(at, _)| &file.path[..at]));
        known.insert(&file.path);
    }
    let documents = files.iter().filter(|file| file.extension() == "md");
    documents
        .flat_map(|document| dead_links(document, &known))
        .collect()
}

fn dead_links(document: &SourceFile, known: &HashSet<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_code = false;
    for (index, line) in document.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            let dead =
                targets(line).filter(|target| !leads_somewhere(&document.path, target, known));
            let stale = paths(line).filter(|path| !is_source(&document.path, path, known));
            findings.extend(dead.chain(stale).map(|target| {
                Finding::at_line(&document.path, index, format!("nothing is at {target}"))
            }));
        }
    }
    findings
}

/// The targets of `[text](target)` and `![text](target "title")`, outside of code spans.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let code = |at: usize| !line[..at].matches('`').count().is_multiple_of(2);
    line.match_indices("](").filter_map(move |(at, mark)| {
        let rest = &line[at + mark.len()..];
        let target = rest[..rest.find(')')?].split(' ').next()?;
        (!code(at)).then_some(target)
    })
}

fn leads_somewhere(document: &str, target: &str, known: &HashSet<&str>) -> bool {
    let path = target.split('#').next().unwrap_or_default();
    if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
        return true;
    }
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    resolve(folder, path).is_some_and(|path| path.is_empty() || known.contains(path.as_str()))
}

/// Code spans that name a source file: `cli/src/main.rs`, `src/simd.rs`.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    let spans = line.split('`').skip(1).step_by(2);
    spans.filter(|span| {
        let is_path = span.ends_with('/') || span.split('.').next_back() == Some("rs");
        is_path && !span.contains(' ') && (span.starts_with("src/") || span.contains("/src/"))
    })
}

/// Seen from the document, from the root, or from `crates/carnot-`.
fn is_source(document: &str, path: &str, known: &HashSet<&str>) -> bool {
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    [folder, "", "crates"].iter().any(|from| {
        let path = match *from {
            "crates" => format!("carnot-{path}"),
            _ => path.to_owned(),
        };
        resolve(from, &path).is_some_and(|path| known.contains(path.as_str()))
    })
}

/// `path` seen from `folder`; `None` if it leaves the workspace.
fn resolve(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop()?,
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        let (path, text) = (path.to_owned(), text.to_owned());
        SourceFile { path, text }
    }

    fn places(text: &str) -> Vec<String> {
        let files = [
            file("docs/a.md", text),
            file("docs/b.md", ""),
            file("STYLE.md", ""),
            file("crates/carnot-a/src/b.rs", ""),
            file("docs/src/c.rs", ""),
        ];
        check(&files)
            .into_iter()
            .map(|finding| format!("{}: {}", finding.place, finding.what))
            .collect()
    }

    #[test]
    fn dead_links_are_found() {
        assert_eq!(
            places("see [b](b.md)\nand ![c](img/c.svg)"),
            ["docs/a.md:2: nothing is at img/c.svg"]
        );
        assert_eq!(places("[out](../../secret.md)").len(), 1);
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let text = "[b](b.md#head), [s](../STYLE.md), [here](#top), [web](https://example.org/x), [folder](../docs/), [root](..)";
        assert_eq!(places(text), [""; 0]);
    }

    #[test]
    fn paths_of_source_files_are_held_to_the_tree() {
        assert_eq!(
            places("`src/gone.rs`, `a/src/`, `a/src/b.rs` and `docs/src/c.rs`"),
            ["docs/a.md:1: nothing is at src/gone.rs"]
        );
    }

    #[test]
    fn code_is_not_a_link() {
        assert_eq!(places("`a[0](x.md)`\n```\n[x](x.md)\n```\n"), [""; 0]);
    }
}
