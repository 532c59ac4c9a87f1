//! What ran, on what, how long, and each phase beside its limit.

use carnot_analyze::{Analysis, Phase};

use super::{Colour, WIDTH};
use crate::{
    table::{Align::Left, Align::Right, Column, cut, row},
    units,
};

pub(super) fn header(analysis: &Analysis, colour: Colour) -> Vec<String> {
    let run = &analysis.run;
    let what = joined(&[
        run.model.name.clone(),
        run.model.architecture.clone(),
        some(run.model.parameters, |n| {
            format!("{} parameters", units::amount(n))
        }),
        run.model.file_type.clone(),
        some(run.model.bytes, units::bytes),
    ]);
    let threads = some(u64::from(run.threads), |n| {
        format!("{n:.0} thread{}", if n == 1.0 { "" } else { "s" })
    });
    let on = joined(&[threads, run.instructions.clone()]);
    let title = format!("carnot profile   {}", cut(&what, WIDTH - 17));
    let used = title.chars().count() + on.chars().count();
    let mut lines = Vec::new();
    if used + 2 <= WIDTH {
        lines.push(
            format!("{title}{}{on}", " ".repeat(WIDTH - used))
                .trim_end()
                .to_owned(),
        );
    } else {
        lines.extend([title, cut(&format!("                 {on}"), WIDTH)]);
    }
    lines[0] = lines[0].replacen("carnot profile", &colour.bold("carnot profile"), 1);
    if !analysis.ceilings.cpu.is_empty() {
        lines.push(format!(
            "machine          {}",
            cut(&machine(analysis), WIDTH - 17)
        ));
    }
    let total = &analysis.total;
    lines.push(format!(
        "wall {}     floor {}     efficiency {}",
        units::duration(total.wall_ns as f64),
        units::duration(total.floor_ns as f64),
        colour.bold(&units::whole_percent(total.efficiency()))
    ));
    lines
}

fn machine(analysis: &Analysis) -> String {
    let ceilings = &analysis.ceilings;
    let measured = |value: f64, what: &str, text: fn(f64) -> String| {
        if value > 0.0 {
            format!("{what} {}", text(value))
        } else {
            String::new()
        }
    };
    joined(&[
        ceilings.cpu.clone(),
        measured(
            ceilings.read_bandwidth_bytes_per_s,
            "memory",
            units::bytes_per_s,
        ),
        measured(
            ceilings.peak_int8_ops_per_s,
            "int8",
            units::operations_per_s,
        ),
        measured(ceilings.peak_f32_flops, "f32", units::operations_per_s),
    ])
}

fn some(value: u64, text: impl Fn(f64) -> String) -> String {
    if value == 0 {
        String::new()
    } else {
        text(value as f64)
    }
}

fn joined(parts: &[String]) -> String {
    parts
        .iter()
        .filter(|part| !part.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join(" · ")
}

pub(super) fn phases(analysis: &Analysis, colour: Colour) -> Vec<String> {
    const COLUMNS: [Column; 6] = [
        (Left, 10),
        (Right, 8),
        (Right, 9),
        (Right, 14),
        (Right, 15),
        (Right, 10),
    ];
    if analysis.phases.is_empty() {
        return Vec::new();
    }
    let titles = ["phase", "tokens", "time", "rate", "limit", "efficiency"];
    let mut lines = vec![colour.dim(&row(&COLUMNS, &titles))];
    lines.extend(
        analysis
            .phases
            .iter()
            .map(|phase| phase_row(&COLUMNS, phase)),
    );
    lines.extend(latency(analysis));
    lines
}

fn phase_row(columns: &[Column], phase: &Phase) -> String {
    let rate = |rate: f64| {
        if rate > 0.0 {
            units::tokens_per_s(rate)
        } else {
            String::new()
        }
    };
    let time = units::duration(phase.accounting.wall_ns as f64);
    let tokens = some(phase.tokens, |n| units::count(n as u64));
    if !phase.counted {
        let line = row(
            columns,
            &[
                &phase.name,
                &tokens,
                &time,
                &rate(phase.tokens_per_s()),
                "",
                "",
            ],
        );
        return format!("{line}   not counted in the wall");
    }
    let efficiency = units::whole_percent(phase.accounting.efficiency());
    let (reached, limit) = (rate(phase.tokens_per_s()), rate(phase.limit_tokens_per_s()));
    row(
        columns,
        &[&phase.name, &tokens, &time, &reached, &limit, &efficiency],
    )
}

fn latency(analysis: &Analysis) -> Vec<String> {
    let time = |ns: u64| units::duration(ns as f64);
    let mut parts = Vec::new();
    let first = &analysis.latency.first_token;
    match first.count {
        0 => {}
        1 => parts.push(format!("first token {}", time(first.p50_ns))),
        n => parts.push(format!(
            "first token p50 {} · max {} of {n}",
            time(first.p50_ns),
            time(first.max_ns)
        )),
    }
    let inter = &analysis.latency.inter_token;
    if inter.count > 0 {
        let [p50, p95, p99] = [inter.p50_ns, inter.p95_ns, inter.p99_ns].map(time);
        parts.push(format!("per token p50 {p50} · p95 {p95} · p99 {p99}"));
    }
    if parts.is_empty() {
        Vec::new()
    } else {
        vec![cut(&parts.join("     "), WIDTH)]
    }
}
