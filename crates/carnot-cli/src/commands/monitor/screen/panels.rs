//! What stands in each panel.

use carnot_report::units;
use carnot_samplers::gpu::Gpu;
use carnot_samplers::host::Host;
use carnot_samplers::process::Process;
use ratatui::style::{Color, Stylize};
use ratatui::text::Line;

use super::bars::{Full, bar, columns, heading, row};
use crate::commands::monitor::figures::{
    UNKNOWN, bytes, bytes_of, cores, count, known, latency, load, rate, share, tokens,
};
use crate::monitor::server::{Latency, Server, ServerSample};

/// Processors that have a bar each; of more, each has a column.
const BARS: usize = 4;
/// Columns that a panel has inside at least.
const PANEL: usize = 46;
/// Losses that are told, the largest.
const LOSSES: usize = 6;

/// The machine.
pub fn machine(host: &Host, gpus: &[Gpu]) -> Vec<Line<'static>> {
    let count = host.cores.len();
    let of_all = format!("{} of {}", share(host.cpu), cores(count));
    let mut rows = vec![bar("cpu", host.cpu, Full::Scarce, of_all)];
    if count > BARS {
        for (index, part) in host.cores.chunks(32).enumerate() {
            rows.push(columns(if index == 0 { "each" } else { "" }, part));
        }
    } else {
        rows.extend(
            host.cores
                .iter()
                .enumerate()
                .map(|(index, of)| bar(&format!("  core {index}"), *of, Full::Scarce, share(*of))),
        );
    }
    let group = host
        .group_cores
        .map(|used| used / host.usable_cores.max(1) as f64);
    let of_group = format!(
        "{} of {}",
        known(host.group_cores, units::digits),
        cores(host.usable_cores)
    );
    rows.push(bar("  container", group, Full::Scarce, of_group));
    if host.stolen.is_some_and(|stolen| stolen >= 0.005) {
        rows.push(bar(
            "  stolen",
            host.stolen,
            Full::Scarce,
            share(host.stolen),
        ));
    }
    let memory = &host.memory;
    rows.push(bar(
        "memory",
        memory.used_share(),
        Full::Scarce,
        bytes_of(memory.used(), memory.total),
    ));
    rows.push(row("  may be had", bytes(memory.obtainable)));
    rows.push(match memory.swap_used.zip(memory.swap_total) {
        None => row("swap", UNKNOWN),
        Some((_, 0)) => row("swap", "none"),
        Some((used, all)) => {
            let share = used as f64 / all as f64;
            let words = bytes_of(Some(used), Some(all));
            bar("swap", Some(share), Full::Scarce, words)
        }
    });
    let pair = |of: Option<[f64; 2]>, words: [&str; 2]| {
        format!(
            "{:>10} {}   {:>10} {}",
            rate(of.map(|of| of[0])),
            words[0],
            rate(of.map(|of| of[1])),
            words[1]
        )
    };
    rows.push(row(
        "load",
        format!("{}   over 1, 5, 15 min", load(host.load)),
    ));
    rows.push(row("disk", pair(host.disk, ["read", "written"])));
    rows.push(row("network", pair(host.network, ["in  ", "out"])));
    rows.push(row("processes", known(host.processes, units::count)));
    if gpus.is_empty() {
        rows.push(row("gpu", UNKNOWN));
    }
    for (index, of) in gpus.iter().enumerate() {
        rows.extend(gpu(index, of));
    }
    rows
}

fn gpu(index: usize, of: &Gpu) -> [Line<'static>; 3] {
    let memory = of.memory_used_bytes.zip(of.memory_total_bytes);
    let memory = memory.map(|(used, all)| used as f64 / all.max(1) as f64);
    let beside = format!(
        "{} · {}",
        known(of.temperature_celsius, |celsius| format!("{celsius:.0} °C")),
        known(of.power_watts, |watts| format!("{watts:.0} W"))
    );
    [
        row(&format!("gpu {index}"), of.name.clone()),
        bar(
            "  use",
            of.used,
            Full::Plain,
            format!("{} · {beside}", share(of.used)),
        ),
        bar(
            "  memory",
            memory,
            Full::Scarce,
            bytes_of(of.memory_used_bytes, of.memory_total_bytes),
        ),
    ]
}

/// The process that is watched.
pub fn process(of: Option<&Process>) -> Vec<Line<'static>> {
    let Some(of) = of else {
        return vec![row("process", "has ended")];
    };
    let io = |index: usize| rate(of.io.map(|of| of[index]));
    vec![
        row(
            "cpu",
            format!("{} cores", known(of.cpu_cores, units::digits)),
        ),
        row("memory", bytes(of.rss_bytes)),
        row("threads", known(of.threads, units::count)),
        row("open files", known(of.open_files, units::count)),
        row(
            "disk",
            format!("{:>10} read   {:>10} written", io(0), io(1)),
        ),
    ]
}

/// The server that is watched.
pub fn server(sample: &ServerSample) -> Vec<Line<'static>> {
    let of = match &sample.told {
        Ok(of) => of,
        Err(error) => {
            let mut rows: Vec<Line<'static>> = broken(error)
                .into_iter()
                .map(|part| Line::from(part.fg(Color::Red)))
                .collect();
            rows.push(heading("It is asked again."));
            return rows;
        }
    };
    let places = of
        .running
        .zip(of.waiting)
        .map(|(running, waiting)| running / (running + waiting).max(1.0));
    let mut rows = vec![
        bar(
            "requests",
            places,
            Full::Good,
            format!(
                "{} running · {} waiting",
                count(of.running),
                count(of.waiting)
            ),
        ),
        row(
            "ended",
            known(of.requests_per_s, |rate| {
                format!("{} requests/s", units::digits(rate))
            }),
        ),
        row("generated", tokens(of.tokens_per_s)),
        row("prompts", tokens(of.prompt_tokens_per_s)),
        bar(
            "  kept",
            of.prefix_hits,
            Full::Good,
            format!("{} of their tokens", share(of.prefix_hits)),
        ),
        bar(
            "KV in use",
            of.kv_used,
            Full::Scarce,
            format!("{} of {} blocks", share(of.kv_used), count(of.kv_blocks)),
        ),
        bar(
            "  kept",
            of.kv_cached,
            Full::Plain,
            format!("{} for later prompts", share(of.kv_cached)),
        ),
        Line::default(),
        heading(&format!("{:<13}{:>12}{:>12}", "", "p50", "p99")),
        quantiles("first token", of.first_token),
        quantiles("each token", of.inter_token),
    ];
    rows.extend(steps(of));
    rows
}

/// A sentence in pieces that fit into any panel, broken between words where there are any.
fn broken(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(' ') {
        let last = lines.last().map_or(0, |line| line.chars().count());
        if last > 0 && last + word.chars().count() > PANEL {
            lines.push(String::new());
        }
        lines.last_mut().expect("there is one").push_str(word);
    }
    lines
}

fn quantiles(name: &str, of: Latency) -> Line<'static> {
    row(
        name,
        format!("{:>12}{:>12}", latency(of.p50), latency(of.p99)),
    )
}

/// Where the time of the engine's steps goes, where the server measures it.
fn steps(of: &Server) -> Vec<Line<'static>> {
    if of.efficiency.is_none() && of.losses.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![Line::default(), heading("where the time of steps goes")];
    rows.push(bar(
        "floor",
        of.efficiency,
        Full::Good,
        share(of.efficiency),
    ));
    rows.extend(of.losses.iter().take(LOSSES).map(|(name, lost)| {
        let short = name.rsplit('/').next().unwrap_or(name);
        bar(short, Some(*lost), Full::Plain, share(Some(*lost)))
    }));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_broken_between_words_and_none_is_lost() {
        let text = "http://127.0.0.1:18080/metrics: no answer: Connection refused (os error 111)";
        let lines = broken(text);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines.iter().all(|line| line.chars().count() <= PANEL + 1),
            "{lines:?}"
        );
        assert_eq!(lines.concat(), text);
        assert_eq!(broken(""), [""]);
    }
}
