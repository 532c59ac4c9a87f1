//! The sections of the text report, each as lines; a section with nothing to say has none.

use carnot_analyze::{Analysis, Bottleneck, LayerRow, Loss, OperationGroup, Phase};

use super::{Colour, WIDTH};
use crate::{
    table::{Align::Left, Align::Right, Column, bar, cut, row, wrap},
    units,
};

/// Loss rows smaller than this are put together.
const SMALL_SHARE: f64 = 0.002;
const TOP_OPERATIONS: usize = 10;
const BAR: usize = 14;
const FIRST_AND_LAST_LAYERS: usize = 5;

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

pub(super) fn losses(analysis: &Analysis, colour: Colour) -> Vec<String> {
    const COLUMNS: [Column; 4] = [(Left, 7), (Left, 18), (Right, 9), (Right, 7)];
    let total = &analysis.total;
    if total.wall_ns == 0 {
        return Vec::new();
    }
    let (shown, small): (Vec<&Loss>, Vec<&Loss>) = total
        .losses
        .iter()
        .partition(|loss| loss.share.abs() >= SMALL_SHARE);
    let most = shown
        .iter()
        .map(|loss| loss.share)
        .fold(total.efficiency(), f64::max);
    let cells = |share: f64| bar(share / most, BAR);
    let heading = row(
        &[(Left, 27), (Right, 9), (Right, 7)],
        &["where the time went", "time", "share"],
    );
    let floor_time = units::duration(total.floor_ns as f64);
    let floor = row(
        &COLUMNS,
        &[
            "floor",
            "",
            &floor_time,
            &units::percent(total.efficiency()),
        ],
    );
    let mut lines = vec![colour.dim(&heading)];
    lines.push(
        format!("{floor}  {}", colour.floor(&cells(total.efficiency())))
            .trim_end()
            .to_owned(),
    );
    let mut before = None;
    for loss in shown {
        let kind = if before.replace(loss.kind) == Some(loss.kind) {
            ""
        } else {
            loss.kind.name()
        };
        let (time, share) = (units::duration(loss.ns as f64), units::percent(loss.share));
        let line = row(&COLUMNS, &[kind, &loss.name, &time, &share]);
        lines.push(with_note(&line, &cells(loss.share), loss, colour));
    }
    lines.extend(small_losses(&COLUMNS, &small));
    lines
}

fn with_note(line: &str, bar: &str, loss: &Loss, colour: Colour) -> String {
    let space = " ".repeat(BAR.saturating_sub(bar.chars().count()));
    let note = cut(&loss.note, WIDTH - line.chars().count() - BAR - 4);
    format!("{line}  {}{space}  {note}", colour.loss(loss.kind, bar))
        .trim_end()
        .to_owned()
}

fn small_losses(columns: &[Column], small: &[&Loss]) -> Option<String> {
    let ns: i64 = small.iter().map(|loss| loss.ns).sum();
    let share: f64 = small.iter().map(|loss| loss.share).sum();
    let name = format!("{} smaller", small.len());
    let (time, share) = (units::duration(ns as f64), units::percent(share));
    (!small.is_empty()).then(|| row(columns, &["…", &name, &time, &share]))
}

pub(super) fn operations(analysis: &Analysis, colour: Colour) -> Vec<String> {
    const COLUMNS: [Column; 9] = [
        (Left, 26),
        (Left, 8),
        (Right, 7),
        (Right, 9),
        (Right, 7),
        (Right, 6),
        (Right, 6),
        (Right, 6),
        (Left, 8),
    ];
    let all = &analysis.operations_by_phase;
    if all.is_empty() {
        return Vec::new();
    }
    let titles = [
        "operation",
        "phase",
        "count",
        "time",
        "share",
        "GB/s",
        "GOP/s",
        "limit",
        "bound",
    ];
    let mut lines = vec![colour.dim(&row(&COLUMNS, &titles))];
    let cells = |o: &OperationGroup| {
        row(
            &COLUMNS,
            &[
                &o.name,
                o.phase.as_deref().unwrap_or_default(),
                &units::count(o.times.count),
                &units::duration(o.total_ns() as f64),
                &units::percent(o.share),
                &units::digits(o.bytes_per_s() / 1e9),
                &units::digits(o.flops_per_s() / 1e9),
                &units::whole_percent(o.efficiency),
                o.bound.name(),
            ],
        )
    };
    lines.extend(all.iter().take(TOP_OPERATIONS).map(cells));
    if all.len() > TOP_OPERATIONS {
        let rest: f64 = all[TOP_OPERATIONS..]
            .iter()
            .map(|operation| operation.share)
            .sum();
        let (left, share) = (all.len() - TOP_OPERATIONS, units::percent(rest));
        lines.push(colour.dim(&format!("… {left} more, {share} together")));
    }
    lines
}

pub(super) fn layers(analysis: &Analysis, colour: Colour) -> Vec<String> {
    const COLUMNS: [Column; 7] = [
        (Right, 5),
        (Right, 9),
        (Right, 7),
        (Right, 7),
        (Right, 7),
        (Right, 6),
        (Left, 40),
    ];
    let layers = &analysis.layers;
    if layers.is_empty() {
        return Vec::new();
    }
    let titles = [
        "layer",
        "time",
        "share",
        "GB/s",
        "GOP/s",
        "limit",
        "largest loss",
    ];
    let mut lines = vec![colour.dim(&row(&COLUMNS, &titles))];
    let cells = |layer: &LayerRow| {
        let rate = |amount: u64| units::digits(amount as f64 / layer.total_ns.max(1) as f64);
        row(
            &COLUMNS,
            &[
                &layer.layer.to_string(),
                &units::duration(layer.total_ns as f64),
                &units::percent(layer.share),
                &rate(layer.bytes),
                &rate(layer.flops),
                &units::whole_percent(layer.efficiency),
                &layer.largest_loss,
            ],
        )
    };
    let omitted = layers.len().saturating_sub(2 * FIRST_AND_LAST_LAYERS);
    if omitted == 0 {
        lines.extend(layers.iter().map(cells));
        return lines;
    }
    lines.extend(layers[..FIRST_AND_LAST_LAYERS].iter().map(cells));
    lines.push(colour.dim(&format!("    … {omitted} omitted")));
    lines.extend(layers[FIRST_AND_LAST_LAYERS + omitted..].iter().map(cells));
    lines
}

pub(super) fn bottlenecks(analysis: &Analysis, colour: Colour) -> Vec<String> {
    if analysis.total.wall_ns == 0 {
        return Vec::new();
    }
    let mut lines = vec![colour.dim("bottlenecks")];
    if analysis.bottlenecks.is_empty() {
        lines.push("none: no loss is a tenth of the wall time".to_owned());
    }
    lines.extend(
        analysis
            .bottlenecks
            .iter()
            .flat_map(|found| bottleneck(found, colour)),
    );
    lines
}

fn bottleneck(found: &Bottleneck, colour: Colour) -> Vec<String> {
    let severity = row(&[(Left, 8)], &[found.severity.name()]);
    let gain = format!("at most {:.2}× faster without it", found.speedup_at_limit);
    let name = cut(&found.name, 40);
    let space = " ".repeat(10_usize.saturating_sub(severity.chars().count()));
    let head = format!(
        "{}{space}{name}, {} of the wall; {gain}",
        colour.severity(found.severity, &severity),
        units::percent(found.share)
    );
    let advice = wrap(&found.advice, WIDTH - 10)
        .into_iter()
        .map(|line| format!("          {line}"));
    std::iter::once(head).chain(advice).collect()
}

pub(super) fn warnings(analysis: &Analysis, colour: Colour) -> Vec<String> {
    let lines = analysis.warnings.iter().flat_map(|warning| {
        let lines = wrap(warning, WIDTH - 10).into_iter().enumerate();
        lines.map(|(index, line)| {
            if index > 0 {
                return format!("          {line}");
            }
            format!("{}   {line}", colour.warning("warning"))
        })
    });
    lines.collect()
}

pub(super) fn files(analysis: &Analysis) -> Vec<String> {
    let files = analysis.run.files.iter().enumerate();
    let label = |index| if index == 0 { "files   " } else { "        " };
    files
        .map(|(index, file)| format!("{}  {}", label(index), cut(file, WIDTH - 10)))
        .collect()
}
