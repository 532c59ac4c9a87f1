//! Where the time of a running server's steps goes: the probe is on for a second now and then, and its report becomes gauges.

use std::thread;
use std::time::Duration;

use carnot_analyze::{Accounting, RunInfo, analyze};
use carnot_record::MachineProfile;
use carnot_server::LossGauges;

use crate::capture::trace_of;

/// How long the probe is off, and on.
const PAUSE: Duration = Duration::from_secs(9);
const WINDOW: Duration = Duration::from_secs(1);
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
        loop {
            carnot_probe::drain();
            carnot_probe::enable();
            thread::sleep(WINDOW);
            carnot_probe::disable();
            let trace = trace_of(&carnot_probe::drain(), &cost);
            let total = analyze(&trace, &machine, &run).total;
            if total.wall_ns > 0 {
                gauges.set(&model, total.efficiency(), shares(&total));
            }
            thread::sleep(PAUSE);
        }
    };
    thread::Builder::new()
        .name("losses".to_owned())
        .spawn(work)
        .map(drop)
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
