//! Results as Markdown, between the markers of `benchmarks/README.md`: `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, ensure};

use super::definition::{self, Case, Definition, Phase, Work};
use super::engines::CARNOT;
use super::results::{self, Results, Round, RowResults};
use super::summary::{Spread, Summary};
use crate::{report, workspace};

const PAGE: &str = "benchmarks/README.md";
const HEAD: &str = "\
| work | model | Carnot | llama.cpp | ratio | its median lies in | rounds | goal | of the limit |
|---|---|---|---|---|---|---|---|---|
";

/// Writes the tables of all sets that have markers.
pub fn render_all() -> anyhow::Result<()> {
    let text = read_page()?;
    let names = definition::names()?;
    for name in names.iter().filter(|name| text.contains(&markers(name).0)) {
        render(name)?;
    }
    Ok(())
}

/// Writes the table of one set from its kept runs.
pub fn render(set: &str) -> anyhow::Result<()> {
    let text = read_page()?;
    let path = workspace::root().join(PAGE);
    fs::write(&path, rendered(&text, set)?).with_context(|| format!("writing {PAGE}"))?;
    report::line(&format!("{PAGE}: the table of {set} is written"));
    Ok(())
}

fn read_page() -> anyhow::Result<String> {
    fs::read_to_string(workspace::root().join(PAGE)).with_context(|| format!("reading {PAGE}"))
}

/// The page with the table of `set` as its kept runs have it.
fn rendered(page: &str, set: &str) -> anyhow::Result<String> {
    let definition = Definition::read(set)?;
    let runs = results::read_all(set)?;
    replace(page, set, &of_runs(set, &definition, &runs))
}

/// Puts `table` between the markers of `set`.
fn replace(page: &str, set: &str, table: &str) -> anyhow::Result<String> {
    let (begin, end) = markers(set);
    let find = |marker: &str| {
        let at = page.find(marker);
        at.with_context(|| format!("{PAGE}: expected the marker {marker}, found none"))
    };
    let (from, to) = (find(&begin)? + begin.len(), find(&end)?);
    ensure!(from <= to, "{PAGE}: {end} comes before {begin}");
    Ok(format!("{}\n{table}{}", &page[..from], &page[to..]))
}

fn markers(set: &str) -> (String, String) {
    (
        format!("<!-- bench:{set} -->"),
        format!("<!-- /bench:{set} -->"),
    )
}

/// A run as it was.
pub fn of_run(definition: &Definition, run: &Results) -> String {
    let rows: Vec<_> = definition
        .cases()
        .iter()
        .filter_map(|case| find(case, run))
        .map(|row| (row, run))
        .collect();
    body(&rows)
}

/// Every row from the newest run that has it, in the order of the definition.
fn of_runs(set: &str, definition: &Definition, runs: &[Results]) -> String {
    let newest = |case: &Case| runs.iter().find_map(|run| Some((find(case, run)?, run)));
    let rows: Vec<_> = definition.cases().iter().filter_map(newest).collect();
    if rows.is_empty() {
        return format!("Not measured yet: `cargo xtask bench {set}`.\n");
    }
    body(&rows)
}

fn find<'a>(case: &Case, run: &'a Results) -> Option<&'a RowResults> {
    let model = case.model.label();
    run.rows
        .iter()
        .find(|row| row.row == case.row && row.model == model && row.work == case.work)
}

fn body(rows: &[(&RowResults, &Results)]) -> String {
    let mut text = HEAD.to_owned();
    for (row, run) in rows {
        text += &line(row, run);
    }
    for (row, run) in rows {
        if !row.summary(run.widest).agree {
            let what = describe(&row.work);
            let _ = writeln!(
                text,
                "\n{what} on {}: the engines differ in the likeliest token after the last row.",
                row.model
            );
        }
    }
    for run in distinct(rows) {
        let _ = write!(text, "\n{}", origin(run));
    }
    text
}

fn distinct<'a>(rows: &[(&RowResults, &'a Results)]) -> Vec<&'a Results> {
    let mut runs: Vec<&Results> = Vec::new();
    for (_, run) in rows {
        if runs.iter().all(|other| !std::ptr::eq(*other, *run)) {
            runs.push(run);
        }
    }
    runs
}

fn line(row: &RowResults, run: &Results) -> String {
    let summary = row.summary(run.widest);
    let rate = |spread: Option<Spread>| {
        spread.map_or("–".to_owned(), |spread| {
            rates(row, spread, summary.is_sharp)
        })
    };
    let cells = [
        describe(&row.work),
        row.model.clone(),
        rate(summary.carnot),
        rate(summary.peer),
        ratio(row, &summary),
        interval(&summary),
        rounds(row),
        goal(row, &summary),
        limit(row, run, &summary),
    ];
    format!("| {} |\n", cells.join(" | "))
}

/// `prefill 512`, `decode of 8 at depth 128`, `load to first token`.
fn describe(work: &Work) -> String {
    let mut text = match work.phase {
        Phase::Prefill => format!("prefill {}", number(work.tokens as f64)),
        Phase::Decode => "decode".to_owned(),
        Phase::FirstToken => return "load to first token".to_owned(),
    };
    if work.sequences > 1 {
        let _ = write!(text, " of {}", work.sequences);
    }
    if work.depth > 0 {
        let _ = write!(text, " at depth {}", number(work.depth as f64));
    }
    text
}

/// Tokens a second, or milliseconds for what is done once; without the median where it says nothing.
fn rates(row: &RowResults, seconds: Spread, is_sharp: bool) -> String {
    let tokens = (row.work.tokens * row.work.sequences * row.work.repeat) as f64;
    let (unit, of): (_, Box<dyn Fn(f64) -> f64>) = match row.work.phase {
        Phase::FirstToken => (" ms", Box::new(|seconds| seconds * 1e3)),
        _ => ("/s", Box::new(move |seconds| tokens / seconds)),
    };
    let (one, other) = (of(seconds.low), of(seconds.high));
    let (low, high) = (number(one.min(other)), number(one.max(other)));
    if is_sharp {
        format!("{}{unit} ({low} to {high})", number(of(seconds.median)))
    } else {
        format!("{low} to {high}{unit}")
    }
}

fn ratio(row: &RowResults, summary: &Summary) -> String {
    if let Some(failure) = &row.failure {
        return format!("failed: {}", failure.replace('|', "/").replace('\n', " "));
    }
    let judged = summary.ratio.is_some() || summary.rounds > 0;
    match (summary.ratio, summary.interval) {
        (Some(ratio), _) if summary.is_sharp => format!("**{:.2}**", ratio.median),
        (Some(_), Some(interval)) => format!(
            "too noisy: {:.2} … {:.2} after {} rounds",
            interval.low, interval.high, summary.rounds
        ),
        _ if judged && !summary.is_sharp => format!("too noisy after {} rounds", summary.rounds),
        _ => "–".to_owned(),
    }
}

fn rounds(row: &RowResults) -> String {
    let disturbed = match row.disturbed.len() {
        0 => String::new(),
        count => format!(", {count} disturbed"),
    };
    format!("{}{disturbed}", row.rounds.len())
}

fn interval(summary: &Summary) -> String {
    match (summary.ratio, summary.interval) {
        (Some(_), Some(interval)) if summary.is_sharp => format!(
            "{:.2} to {:.2} ({:.1} %)",
            interval.low,
            interval.high,
            interval.confidence * 100.0
        ),
        _ => "–".to_owned(),
    }
}

fn goal(row: &RowResults, summary: &Summary) -> String {
    let Some(at_least) = row.at_least else {
        return "–".to_owned();
    };
    let met = match (summary.ratio, summary.interval) {
        (Some(_), Some(interval)) if interval.low >= at_least => "met",
        (Some(ratio), _) if summary.is_sharp && ratio.median >= at_least => "met in the median",
        (Some(_), _) if summary.is_sharp => "missed",
        _ => "open",
    };
    let aim = row
        .aim
        .map(|aim| format!(", aim {aim}"))
        .unwrap_or_default();
    format!("{at_least}{aim}: {met}")
}

/// The least time that the machine allows over Carnot's.
fn limit(row: &RowResults, run: &Results, summary: &Summary) -> String {
    let floor = row.sizes.as_ref().and_then(|sizes| {
        let ceilings = &run.machine.ceilings;
        ceilings.floor_seconds(&row.work, sizes)
    });
    match (floor, summary.carnot) {
        (Some(floor), Some(carnot)) if summary.is_sharp => {
            format!("{:.0} %", 100.0 * floor / carnot.median)
        }
        _ => "–".to_owned(),
    }
}

/// When, where, of what and how.
fn origin(run: &Results) -> String {
    let machine = &run.machine;
    let day = run.begun.split('T').next().unwrap_or_default();
    let memory = machine.memory_bytes as f64 / f64::from(1 << 30);
    let governor = match &machine.governor {
        Some(governor) => format!(", governor {governor}"),
        None => String::new(),
    };
    let hash: String = run.commit.hash.chars().take(12).collect();
    let dirty = if run.commit.dirty {
        " with changes"
    } else {
        ""
    };
    let mut versions: Vec<String> = Vec::new();
    for (key, facts) in &run.engines {
        let what = format!("{} ({})", facts.version, features(&facts.system));
        if key != CARNOT && !versions.contains(&what) {
            versions.push(what);
        }
    }
    let peers = versions
        .iter()
        .map(|version| format!("; {version}"))
        .collect::<String>();
    format!(
        "{day}, {}, {} cores, {memory:.1} GiB{governor}; {} threads; Carnot {hash}{dirty}{peers}: `{}`\n",
        machine.cpu, machine.cores, run.threads, run.command
    )
}

/// `CPU : AVX = 1 | AMX = 0 | OPENMP = 1 |` has `AVX OPENMP`.
fn features(system: &str) -> String {
    let flags = system.split(['|', ':']).map(str::trim);
    let on = flags.filter_map(|flag| flag.strip_suffix(" = 1"));
    on.collect::<Vec<_>>().join(" ")
}

/// What a round was, in a line: the seconds of everyone, and the ratio so far.
pub fn progress(round: &Round, summary: &Summary) -> String {
    let seconds: Vec<String> = round
        .samples
        .iter()
        .map(|(key, sample)| format!("{key} {:.4} s", sample.seconds))
        .collect();
    let ratio = summary.ratio.map_or(String::new(), |ratio| {
        format!(
            "  ratio {:.2} ({:.2} to {:.2})",
            ratio.median, ratio.low, ratio.high
        )
    });
    format!("{}{ratio}", seconds.join(", "))
}

/// `19,203`, `182.5`, `7.25`.
fn number(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    if value < 1000.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let first = digits.len() % 3;
    let mut groups: Vec<&str> = Vec::new();
    if first > 0 {
        groups.push(&digits[..first]);
    }
    groups.extend(
        (first..digits.len())
            .step_by(3)
            .map(|at| &digits[at..at + 3]),
    );
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::super::machine::Machine;
    use super::*;

    /// What is committed fits together: nobody edits a table, and nobody keeps a run without its table.
    #[test]
    fn tables_are_those_of_the_kept_runs() {
        let page = read_page().unwrap();
        for name in definition::names().unwrap() {
            if page.contains(&markers(&name).0) {
                let expected = rendered(&page, &name).unwrap();
                assert!(page == expected, "{name}: cargo xtask bench --render");
            }
        }
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = "a\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nb\n";
        let expected = "a\n<!-- bench:x -->\nnew\n<!-- /bench:x -->\nb\n";
        assert_eq!(replace(page, "x", "new\n").unwrap(), expected);
        let error = replace(page, "y", "").unwrap_err().to_string();
        assert_eq!(
            error,
            format!("{PAGE}: expected the marker <!-- bench:y -->, found none")
        );
    }

    #[test]
    fn numbers_read_well() {
        let cases = [
            (512.0, "512"),
            (19_203.4, "19,203"),
            (182.46, "182.5"),
            (7.254, "7.25"),
            (1_000_000.0, "1,000,000"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn what_is_built_in_is_told() {
        let found = features("CPU : AVX = 1 | AMX = 0 | OPENMP = 1 |");
        assert_eq!(found, "AVX OPENMP");
    }

    #[test]
    fn a_row_says_all_that_matters() {
        let run = example(&[1.0, 1.1, 0.9, 1.0, 1.05], Some(2.0));
        let expected = "| decode of 8 at depth 128 | 1b Q4_0 | 128/s (116.4 to 142.2) | 51.2/s (51.2 to 51.2) \
                        | **2.50** | 2.27 to 2.78 (93.8 %) | 5 | 2: met | – |\n";
        assert_eq!(line(&run.rows[0], &run), expected);
    }

    #[test]
    fn noise_and_failures_are_not_hidden() {
        let run = example(&[1.0, 2.0, 0.5, 1.0, 1.0], Some(2.0));
        let text = line(&run.rows[0], &run);
        assert!(
            text.contains("| too noisy: 1.25 … 5.00 after 5 rounds | – | 5 | 2: open |"),
            "{text}"
        );
        let mut run = example(&[1.0], None);
        run.rows[0].failure = Some("llama.cpp: ended | signal".to_owned());
        let text = line(&run.rows[0], &run);
        assert!(
            text.contains("| failed: llama.cpp: ended / signal |"),
            "{text}"
        );
    }

    /// Rounds in which the best peer took 2.5 seconds.
    fn example(carnot: &[f64], at_least: Option<f64>) -> Results {
        let rounds = carnot.iter().map(|seconds| {
            let sample = |seconds: f64| {
                serde_json::json!({ "seconds": seconds, "tokens": 128, "prepare_seconds": 0.0, "top": 1,
                    "ticks": 0, "foreign_ticks": 0 })
            };
            serde_json::json!({ "order": [], "samples": {
                "carnot": sample(*seconds), "llama.cpp": sample(2.5), "llama.cpp flash": sample(3.0),
            } })
        });
        let row = serde_json::json!({
            "row": "decode", "model": "1b Q4_0", "at_least": at_least, "aim": null, "sizes": null, "failure": null, "disturbed": [],
            "work": { "phase": "decode", "tokens": 16, "depth": 128, "sequences": 8, "warmup": 4, "repeat": 1 },
            "rounds": rounds.collect::<Vec<_>>(),
        });
        let mut run = Results::new("limit", String::new(), String::new(), Machine::default());
        run.widest = 0.25;
        run.rows.push(serde_json::from_value(row).unwrap());
        run
    }
}
