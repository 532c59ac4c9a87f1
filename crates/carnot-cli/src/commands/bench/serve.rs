//! `carnot bench serve`: load on a server, ours or not, and what its clients saw.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use carnot_bench::load::{
    Arrivals, Endpoint, Figures, Latencies, Load, Objectives, Void, prompts, put,
};
use carnot_report::units;
use serde_json::{Value, json};

use crate::cli::{Format, ServeLoadArguments};
use crate::printer::{Printer, Unit};

/// The figures say nothing of the server.
const VOID: u8 = 3;
/// Prompts that are made up, after which they come again.
const PROMPTS: usize = 1000;

pub fn execute(arguments: &ServeLoadArguments, printer: &Printer) -> anyhow::Result<ExitCode> {
    let load = load(arguments)?;
    let bar = printer.progress("answers", Unit::Steps);
    if let Some(rate) = arguments.rate {
        bar.set_length((rate * arguments.duration.as_secs_f64()).round() as u64);
    }
    let run = put(&load, |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    let objectives = Objectives {
        first: arguments.slo_first_ms.map(milliseconds),
        each: arguments.slo_token_ms.map(milliseconds),
        whole: arguments.slo_whole_ms.map(milliseconds),
    };
    let figures = Figures::of(&run, objectives);
    printer.result(&match arguments.format {
        Format::Text => text(arguments, &load, &figures),
        Format::Json => document(arguments, &figures).to_string() + "\n",
    })?;
    Ok(if figures.void.is_some() {
        ExitCode::from(VOID)
    } else if figures.answered == 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn milliseconds(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}

fn load(arguments: &ServeLoadArguments) -> anyhow::Result<Load> {
    let mut target = arguments.url.clone();
    target.endpoint = if arguments.chat {
        Endpoint::Chat
    } else {
        Endpoint::Completions
    };
    target.model.clone_from(&arguments.model);
    target.key.clone_from(&arguments.api_key);
    let arrivals = match (arguments.rate, arguments.burstiness) {
        (None, _) => Arrivals::Closed {
            clients: arguments.clients,
        },
        (Some(rate), 0.0) => Arrivals::Constant { rate },
        (Some(rate), burstiness) => Arrivals::Random { rate, burstiness },
    };
    let prompts = match &arguments.dataset {
        Some(path) => read(path)?,
        None => prompts(
            PROMPTS,
            arguments.prompt_words,
            arguments.shared_words,
            arguments.seed,
        ),
    };
    Ok(Load {
        target,
        arrivals,
        duration: arguments.duration,
        prompts,
        tokens: arguments.tokens,
        seed: arguments.seed,
    })
}

/// The prompts of a file: an object a line, with `prompt` or `text`.
fn read(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let prompts = lines.map(|(index, line)| {
        let at = || format!("{}, line {}", path.display(), index + 1);
        let object: Value = serde_json::from_str(line).with_context(at)?;
        let prompt = object["prompt"].as_str().or(object["text"].as_str());
        let prompt = prompt
            .with_context(|| format!("{}: expected an object with `prompt`, got {line}", at()))?;
        Ok(prompt.to_owned())
    });
    let prompts = prompts.collect::<anyhow::Result<Vec<String>>>()?;
    anyhow::ensure!(
        !prompts.is_empty(),
        "{}: expected a prompt a line, got none",
        path.display()
    );
    Ok(prompts)
}

fn text(arguments: &ServeLoadArguments, load: &Load, figures: &Figures) -> String {
    let mut out = String::new();
    let arrivals = match load.arrivals {
        Arrivals::Closed { clients } => format!("{clients} clients, each after its answer"),
        Arrivals::Constant { rate } => format!("{rate} requests/s, evenly"),
        Arrivals::Random {
            rate,
            burstiness: 1.0,
        } => format!("{rate} requests/s, as they come (Poisson)"),
        Arrivals::Random { rate, burstiness } => {
            format!("{rate} requests/s, in bursts (variation {burstiness})")
        }
    };
    let Figures {
        asked,
        answered,
        good,
        wall,
        ..
    } = *figures;
    let _ = writeln!(
        out,
        "carnot bench serve   {} · {arrivals} · {:.0} s",
        load.target,
        load.duration.as_secs_f64()
    );
    let _ = writeln!(
        out,
        "requests         {answered} of {asked} answered in {wall:.2} s · {:.2}/s",
        answered as f64 / wall.max(1e-9)
    );
    if has_objectives(arguments) {
        let _ = writeln!(
            out,
            "good             {good} of {asked}, {:.1} % · {:.2}/s",
            100.0 * good as f64 / asked.max(1) as f64,
            good as f64 / wall.max(1e-9)
        );
    }
    let _ = writeln!(
        out,
        "tokens           {:.1}/s generated · {:.1}/s of prompts, {:.0} % of them kept",
        figures.tokens as f64 / wall.max(1e-9),
        figures.prompt_tokens as f64 / wall.max(1e-9),
        100.0 * figures.cached_tokens as f64 / figures.prompt_tokens.max(1) as f64
    );
    let _ = writeln!(
        out,
        "\n{:<28}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "", "mean", "p50", "p90", "p99", "longest"
    );
    for (name, latencies) in rows(figures) {
        if let Some(of) = latencies {
            let cells = [of.mean, of.p50, of.p90, of.p99, of.max]
                .map(|s| format!("{:>10}", units::duration(1e9 * s)));
            let _ = writeln!(out, "{name:<28}{}", cells.concat());
        }
    }
    for (failure, count) in figures.failures.iter().take(5) {
        let _ = writeln!(out, "failed {count} times: {failure}");
    }
    match figures.void {
        None => (),
        Some(Void::Late { p99, most }) => {
            let _ = writeln!(
                out,
                "\nvoid: requests were sent late, 1 in 100 by {} or more, where {} is borne: the figures are of this client as much as of the server; ask for less, or from another machine",
                units::duration(1e9 * p99),
                units::duration(1e9 * most)
            );
        }
        Some(Void::Busy { share }) => {
            let _ = writeln!(
                out,
                "\nvoid: the client used {share:.2} of its one core: it may have been the limit; ask for less, or from another machine"
            );
        }
    }
    out
}

fn has_objectives(arguments: &ServeLoadArguments) -> bool {
    arguments.slo_first_ms.is_some()
        || arguments.slo_token_ms.is_some()
        || arguments.slo_whole_ms.is_some()
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

fn document(arguments: &ServeLoadArguments, figures: &Figures) -> Value {
    let latencies = |of: Option<Latencies>| {
        of.map(|of| json!({ "count": of.count, "mean_s": of.mean, "p50_s": of.p50, "p90_s": of.p90, "p99_s": of.p99, "max_s": of.max }))
    };
    let failures: Vec<Value> = figures
        .failures
        .iter()
        .map(|(what, count)| json!({ "what": what, "count": count }))
        .collect();
    json!({
        "asked": figures.asked,
        "answered": figures.answered,
        "good": has_objectives(arguments).then_some(figures.good),
        "wall_s": figures.wall,
        "prompt_tokens": figures.prompt_tokens,
        "cached_tokens": figures.cached_tokens,
        "generated_tokens": figures.tokens,
        "first_text": latencies(figures.first),
        "end": latencies(figures.whole),
        "token": latencies(figures.each),
        "between_pieces": latencies(figures.between),
        "service_first_text": latencies(figures.service_first),
        "service_end": latencies(figures.service_whole),
        "client_lag": latencies(figures.lag),
        "failures": failures,
        "void": match figures.void {
            None => Value::Null,
            Some(Void::Late { p99, most }) => json!({ "why": "late", "p99_s": p99, "most_s": most }),
            Some(Void::Busy { share }) => json!({ "why": "busy", "cores": share }),
        },
    })
}
