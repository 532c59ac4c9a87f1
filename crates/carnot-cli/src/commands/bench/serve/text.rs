//! What the clients saw, for a terminal.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use carnot_bench::load::{Arrivals, Figures, Latencies, Load, Search, first};
use carnot_report::units;

use super::{Level, has_objectives, server};
use crate::cli::ServeLoadArguments;

/// How requests, or conversations of so many turns, come, in words.
pub fn arrivals(load: &Load, turns: u32) -> String {
    let [many, a_second] = if turns > 1 {
        [
            format!("conversations of {turns} turns"),
            format!("conversations/s of {turns} turns"),
        ]
    } else {
        ["requests".to_owned(), "requests/s".to_owned()]
    };
    match load.arrivals {
        Arrivals::Closed { clients } if turns > 1 => {
            format!("{clients} clients, each a conversation of {turns} turns after another")
        }
        Arrivals::Closed { clients } => format!("{clients} clients, each after its answer"),
        Arrivals::Constant { rate } => format!("{rate} {a_second}, evenly"),
        Arrivals::Random {
            rate,
            burstiness: 1.0,
        } => format!("{rate:.4} {a_second}, as they come (Poisson)").replace(".0000", ""),
        Arrivals::Random { rate, burstiness } => {
            format!("{rate} {a_second}, in bursts (variation {burstiness})")
        }
        Arrivals::Ramp { from, to, .. } => format!("{from} to {to} {a_second} (Poisson)"),
        Arrivals::Recorded(ref times) => format!("{} {many} as recorded", times.len()),
    }
}

/// The report of one level.
pub fn one(level: &Level, arguments: &ServeLoadArguments) -> String {
    let Level { load, figures, .. } = level;
    let mut out = format!(
        "carnot bench serve   {} · {} · {:.0} s\n",
        load.target,
        arrivals(load, level.turns()),
        load.duration.as_secs_f64()
    );
    counts(&mut out, level, has_objectives(arguments));
    let _ = writeln!(
        out,
        "\n{:<28}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "", "mean", "p50", "p90", "p99", "longest"
    );
    let probes = Latencies::of(level.probes.clone());
    for (name, latencies) in rows(figures)
        .into_iter()
        .chain([("one token beside it", probes)])
    {
        if let Some(of) = latencies {
            let _ = writeln!(out, "{name:<28}{}", cells(of));
        }
    }
    by_turn(&mut out, level);
    if let Some(metrics) = &level.server {
        out.push_str(&server::table(metrics));
    }
    for (failure, count) in figures.failures.iter().take(5) {
        let _ = writeln!(out, "failed {count} times: {failure}");
    }
    if let Some(of) = level.saturation.filter(|of| of.is_saturated) {
        let _ = writeln!(
            out,
            "\nsaturated: the time to the {} rose by {} a second, and requests under way by {:.2} a second: the server cannot hold this rate, and latencies depend on the duration",
            if level.is_of_tensors() {
                "end"
            } else {
                "first text"
            },
            units::duration(1e9 * of.first_rise),
            of.concurrency_rise
        );
    }
    if let Some(void) = figures.void {
        let _ = writeln!(out, "\nvoid: {void}");
    }
    out
}

fn counts(out: &mut String, level: &Level, has_objectives: bool) {
    let figures = &level.figures;
    let Figures {
        asked,
        answered,
        good,
        wall,
        ..
    } = *figures;
    let wall = wall.max(1e-9);
    let _ = writeln!(
        out,
        "requests         {answered} of {asked} answered in {wall:.2} s · {:.2}/s",
        answered as f64 / wall
    );
    if has_objectives {
        let _ = writeln!(
            out,
            "good             {good} of {asked}, {:.1} % · {:.2}/s",
            100.0 * good as f64 / asked.max(1) as f64,
            good as f64 / wall
        );
    }
    if level.is_of_tensors() {
        let _ = writeln!(
            out,
            "rows             {:.1}/s, {:.2} an inference",
            figures.rows as f64 / wall,
            figures.rows as f64 / answered.max(1) as f64
        );
        return;
    }
    let _ = writeln!(
        out,
        "tokens           {:.1}/s generated · {:.1}/s of prompts, {:.0} % of them kept",
        figures.tokens as f64 / wall,
        figures.prompt_tokens as f64 / wall,
        100.0 * figures.cached_tokens as f64 / figures.prompt_tokens.max(1) as f64
    );
}

fn cells(of: Latencies) -> String {
    [of.mean, of.p50, of.p90, of.p99, of.max]
        .map(|s| format!("{:>10}", units::duration(1e9 * s)))
        .concat()
}

/// The first text of each turn of conversations, and what of its prompts the server had kept.
fn by_turn(out: &mut String, level: &Level) {
    let turns = level.turns();
    if turns == 1 {
        return;
    }
    for (name, turns) in rows_of_turns(turns) {
        let answered = || turns.clone().flat_map(|turn| level.of_turn(turn));
        let Some(of) = Latencies::of(answered().filter_map(first).collect()) else {
            continue;
        };
        let kept: u64 = answered().map(|request| request.cached_tokens).sum();
        let tokens: u64 = answered().map(|request| request.prompt_tokens).sum();
        let share = 100.0 * kept as f64 / tokens.max(1) as f64;
        let _ = writeln!(out, "{name:<28}{}   {share:.0} % kept", cells(of));
    }
}

/// Each turn, or of many the first and the others.
fn rows_of_turns(turns: u32) -> Vec<(String, RangeInclusive<u32>)> {
    const MOST: u32 = 8;
    let one = |turn| (format!("to first text, turn {turn}"), turn..=turn);
    if turns <= MOST {
        return (1..=turns).map(one).collect();
    }
    let others = format!("to first text, turns 2 to {turns}");
    vec![one(1), (others, 2..=turns)]
}

fn rows(figures: &Figures) -> [(&'static str, Option<Latencies>); 7] {
    [
        ("from due to first text", figures.first),
        ("from due to end", figures.whole),
        ("each token (mean of answer)", figures.each),
        ("between pieces of text", figures.between),
        ("from sending to first text", figures.service_first),
        ("from sending to end", figures.service_whole),
        ("the client's own delay", figures.lag),
    ]
}

/// What came of one rate of a search.
pub fn tried(rate: f64, level: &Level, holds: bool) -> String {
    let figures = &level.figures;
    let (name, latencies) = if level.is_of_tensors() {
        ("end", figures.whole)
    } else {
        ("first text", figures.first)
    };
    let p99 = latencies.map_or_else(|| "–".to_owned(), |of| units::duration(1e9 * of.p99));
    let good = 100.0 * figures.good as f64 / figures.asked.max(1) as f64;
    let verdict = match (holds, level.is_saturated()) {
        _ if figures.void.is_some() => "void: the client was the limit",
        (true, _) => "holds",
        (false, true) => "does not hold: waiting grows",
        (false, false) => "does not hold",
    };
    format!("{rate:>9.3} requests/s   {good:>5.1} % good   {name} p99 {p99:>9}   {verdict}")
}

/// A level as a line of those of several.
fn row(out: &mut String, level: &Level, has_objectives: bool) {
    let figures = &level.figures;
    let seconds = |of: Option<f64>| of.map_or_else(|| "–".to_owned(), |s| units::duration(1e9 * s));
    let share = |count: usize| {
        let of = figures.asked.max(1) as f64;
        format!("{:.1} %", 100.0 * count as f64 / of)
    };
    let good = if has_objectives {
        share(figures.good)
    } else {
        "–".to_owned()
    };
    let (first, whole) = (figures.first, figures.whole);
    let (latencies, count) = if level.is_of_tensors() {
        let of = [whole.map(|of| of.p50), whole.map(|of| of.p90)];
        (of, figures.rows)
    } else {
        let of = [first.map(|of| of.p50), first.map(|of| of.p99)];
        (of, figures.tokens)
    };
    let [one, other] = latencies.map(seconds);
    let _ = writeln!(
        out,
        "{:<44}{:>9}{good:>9}{one:>11}{other:>11}{:>11}{:>11.1}{}",
        arrivals(&level.load, level.turns()),
        share(figures.answered),
        seconds(whole.map(|of| of.p99)),
        count as f64 / figures.wall.max(1e-9),
        if figures.void.is_some() {
            "   void"
        } else if level.is_saturated() {
            "   saturated"
        } else {
            ""
        }
    );
}

/// The report of several levels, and what a search found among them.
pub fn several(
    levels: &[Level],
    search: Option<&Search>,
    arguments: &ServeLoadArguments,
) -> String {
    let mut out = String::from("carnot bench serve");
    if let Some(level) = levels.first() {
        let seconds = level.load.duration.as_secs_f64();
        let _ = write!(out, "   {} · {seconds:.0} s each", level.load.target);
    }
    let of_tensors = levels.first().is_some_and(Level::is_of_tensors);
    let columns = if of_tensors {
        ["end p50", "end p90", "end p99", "rows/s"]
    } else {
        ["first p50", "first p99", "end p99", "tokens/s"]
    };
    let columns = columns.map(|name| format!("{name:>11}")).concat();
    let _ = writeln!(out, "\n\n{:<44}{:>9}{:>9}{columns}", "", "answered", "good");
    for level in levels {
        row(&mut out, level, has_objectives(arguments));
    }
    if let Some(search) = search {
        let share = arguments.objectives.share;
        let _ = match (search.held(), search.failed()) {
            (Some(held), Some(failed)) => writeln!(
                out,
                "\nhighest rate     {held:.3} requests/s: {share} % are good, and waiting does not grow; {failed:.3} does not hold"
            ),
            (Some(held), None) => writeln!(
                out,
                "\nhighest rate     at least {held:.3} requests/s; the client went no further"
            ),
            (None, _) => writeln!(out, "\nhighest rate     none that was tried holds"),
        };
    }
    if let Some(void) = levels.iter().find_map(|level| level.figures.void) {
        let _ = writeln!(out, "\nvoid: {void}");
    }
    out
}
