//! What to do about it, what to doubt, what was written.

use carnot_analyze::{Analysis, Bottleneck};

use super::{Colour, WIDTH};
use crate::{
    table::{Align::Left, cut, row, wrap},
    units,
};

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
