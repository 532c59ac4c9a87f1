//! Where the time of a running server's steps goes: the probe is on for a second now and then, and its report becomes gauges.

use std::thread;
use std::time::Duration;

use carnot_analyze::{Accounting, RunInfo, analyze};
use carnot_record::{MachineProfile, Site, Span, SpanKind, Trace};
use carnot_server::LossGauges;

use crate::capture::trace_of;

/// How long the probe is off, and on.
const PAUSE: Duration = Duration::from_secs(9);
const WINDOW: Duration = Duration::from_secs(1);
/// As long it is on at most, where a step takes longer than the window.
const LONGEST_WINDOW: Duration = Duration::from_secs(8);
/// Losses that are told by name; the rest together.
const NAMED: usize = 8;

/// Measures from now on, until the process ends. `threads` compute `model`.
pub fn watch(
    gauges: LossGauges,
    model: String,
    machine: MachineProfile,
    threads: usize,
) -> std::io::Result<()> {
    let run = RunInfo {
        threads: threads as u32,
        ..RunInfo::default()
    };
    let work = move || {
        carnot_probe::enable();
        let cost = carnot_probe::measure_cost();
        carnot_probe::disable();
        let mut window = WINDOW;
        loop {
            carnot_probe::drain();
            carnot_probe::enable();
            thread::sleep(window);
            carnot_probe::disable();
            let trace = trace_of(&carnot_probe::drain(), &cost);
            let was_busy = !trace.spans.is_empty();
            if let Some(steps) = whole_steps(trace) {
                let total = analyze(&steps, &machine, &run).total;
                gauges.set(&model, total.efficiency(), shares(&total));
                window = WINDOW;
            } else if was_busy {
                window = LONGEST_WINDOW.min(2 * window);
            }
            thread::sleep(PAUSE);
        }
    };
    thread::Builder::new()
        .name("losses".to_owned())
        .spawn(work)
        .map(drop)
}

/// Only steps that began and ended while the probe was on count: they are made the phases that the analysis goes through.
fn whole_steps(mut trace: Trace) -> Option<Trace> {
    let steps = |site: &&mut Site| site.kind == SpanKind::Step;
    trace
        .sites
        .iter_mut()
        .filter(steps)
        .for_each(|site| site.kind = SpanKind::Phase);
    let is_step = |span: &Span| trace.sites[span.site as usize].kind == SpanKind::Phase;
    // Without a phase the analysis would take whatever is outermost.
    trace.spans.iter().any(is_step).then_some(trace)
}

/// The largest losses by name, and the rest.
fn shares(total: &Accounting) -> Vec<(String, f64)> {
    let mut losses: Vec<(String, f64)> = total
        .losses
        .iter()
        .map(|loss| (loss.path(), loss.share))
        .collect();
    losses.sort_by(|a, b| b.1.total_cmp(&a.1));
    let rest: f64 = losses.iter().skip(NAMED).map(|(_, share)| share).sum();
    if losses.len() > NAMED {
        losses.truncate(NAMED);
        losses.push(("rest".to_owned(), rest));
    }
    losses
}
