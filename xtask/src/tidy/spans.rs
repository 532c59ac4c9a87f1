//! The names that the probe records, held to their table in `docs/spans-and-names.md`: none without a row, no row without one.
//!
//! Names are found in the source: the first text in `site(…)`, `span!(…)`, `track(…)`, and in the two local closures of
//! `carnot-llm`'s `instrument.rs` that name operations, `float(…)` and `matmul(…)`. A placeholder, `{…}` in code and `<…>` in
//! the table, stands for anything.

use std::collections::BTreeMap;

use super::Finding;
use crate::workspace::SourceFile;

const TABLE: &str = "docs/spans-and-names.md";
/// Those who record; the probe itself and the tests use names of their own.
const RECORDERS: [&str; 3] = [
    "crates/carnot-llm/src/",
    "crates/carnot-cli/src/",
    "crates/carnot-python/src/",
];
const CALLS: [&str; 4] = ["site(", "span!(", "track(", "float("];
/// Its text is the part of a name: `matmul <type> <part>`.
const MATMUL: &str = "matmul(";

pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let recorders = files
        .iter()
        .filter(|file| RECORDERS.iter().any(|folder| file.path.starts_with(folder)));
    let recorded: BTreeMap<String, &str> = recorders
        .flat_map(|file| names(&file.text).map(|name| (name, file.path.as_str())))
        .collect();
    if recorded.is_empty() {
        return Vec::new();
    }
    let Some(table) = files.iter().find(|file| file.path == TABLE) else {
        return vec![Finding::new(
            TABLE,
            "is not there; it lists the names that the probe records",
        )];
    };
    let rows: Vec<(usize, String)> = rows(&table.text).collect();
    let missing = recorded
        .iter()
        .filter(|(name, _)| rows.iter().all(|(_, row)| row != *name))
        .map(|(name, path)| Finding::new(*path, format!("`{name}` has no row in {TABLE}")));
    let stale = rows
        .iter()
        .filter(|(_, row)| !recorded.contains_key(row))
        .map(|(index, row)| Finding::at_line(TABLE, *index, format!("nothing records `{row}`")));
    missing.chain(stale).collect()
}

/// The names that a file of code registers, before its tests.
fn names(text: &str) -> impl Iterator<Item = String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let plain = CALLS.iter().flat_map(move |call| first_texts(code, call));
    let parts = first_texts(code, MATMUL).map(|part| format!("matmul <> {part}"));
    let general = |name: &String| !name.starts_with("matmul <> <>");
    plain
        .chain(parts)
        .map(|name| placeholders(&name))
        .filter(general)
}

/// The first text of each call, where it is among the call's own arguments.
fn first_texts<'a>(code: &'a str, call: &'a str) -> impl Iterator<Item = String> + 'a {
    let is_whole = |at: usize| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '.'))
    };
    code.match_indices(call)
        .filter(move |(at, _)| is_whole(*at))
        .filter_map(move |(at, _)| first_text(&code[at + call.len()..]))
}

fn first_text(arguments: &str) -> Option<String> {
    let mut depth = 1;
    for (at, c) in arguments.char_indices() {
        match c {
            '"' => return Some(arguments[at + 1..].split('"').next()?.to_owned()),
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return None;
        }
    }
    None
}

/// `worker {index}` and `worker <n>` are both `worker <>`.
fn placeholders(name: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in name.chars() {
        match c {
            '{' | '<' => inside = true,
            '}' | '>' => {
                inside = false;
                out.push_str("<>");
            }
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

/// The first code span of each table row.
fn rows(text: &str) -> impl Iterator<Item = (usize, String)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let name = line.strip_prefix("| `")?.split('`').next()?;
        Some((index, placeholders(name)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = r#"
        let float = |name: &str| site(name, Kind::OperationF32);
        let embed = float("embed");
        let down = matmul(down, "down");
        let any = site(&format!("matmul {} {part}", name), kind);
        let step = span!("step", Kind::Step);
        let worker = track(&format!("worker {index}"));
        compute.matmul(&x, "not a name");
        #[cfg(test)]
        fn test() { span!("only in a test"); }
    "#;
    const TABLE_TEXT: &str = "| name | kind |\n|---|---|\n| `embed` | f32 |\n| `matmul <type> down` | |\n| `step` | |\n| `worker <n>` | |\n";

    fn findings(code: &str, table: &str) -> Vec<String> {
        let file = |path: &str, text: &str| SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let files = [file("crates/carnot-llm/src/a.rs", code), file(TABLE, table)];
        check(&files)
            .into_iter()
            .map(|finding| format!("{}: {}", finding.place, finding.what))
            .collect()
    }

    #[test]
    fn table_and_code_agree() {
        assert_eq!(findings(CODE, TABLE_TEXT), [""; 0]);
    }

    #[test]
    fn a_name_without_a_row_is_found() {
        let code = CODE.replace("\"step\"", "\"stride\"");
        let expected = [
            "crates/carnot-llm/src/a.rs: `stride` has no row in docs/spans-and-names.md",
            "docs/spans-and-names.md:5: nothing records `step`",
        ];
        assert_eq!(findings(&code, TABLE_TEXT), expected);
    }

    #[test]
    fn a_part_of_a_matmul_is_a_name() {
        let code = CODE.replace("\"down\"", "\"up\"");
        assert_eq!(findings(&code, TABLE_TEXT).len(), 2);
    }
}
