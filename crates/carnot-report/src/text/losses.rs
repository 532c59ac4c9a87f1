//! The loss table: wall time, from the floor up.

use carnot_analyze::{Analysis, Loss};

use super::{Colour, WIDTH};
use crate::{
    table::{Align::Left, Align::Right, Column, bar, cut, row},
    units,
};

/// Loss rows smaller than this are put together.
const SMALL_SHARE: f64 = 0.002;
const BAR: usize = 14;

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
