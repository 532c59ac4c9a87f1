//! The screen: drawn ten times a second, so that a key is noticed and the clock goes on; samples come when they come.

mod bars;
mod panels;
mod view;

use std::time::{Duration, Instant};

use super::{ATTENTION, Next, Samples};
use crate::cli::MonitorArguments;
use crate::interrupt;
use crate::monitor::sample::Sample;
use crate::terminal::Screen;
use view::View;

/// Shows samples as they come, until time is up or somebody leaves; the last is handed back.
pub fn show(arguments: &MonitorArguments, samples: &mut Samples) -> anyhow::Result<Option<Sample>> {
    let begin = Instant::now();
    let mut view = View::new(arguments.duration);
    let mut screen = Screen::open()?;
    while !interrupt::asked() {
        match samples.next_within(Duration::ZERO) {
            Next::Sample(sample) => view.push(*sample),
            Next::Nothing => (),
            Next::End => break,
        }
        view.elapsed = begin.elapsed();
        screen.draw(|frame| view.draw(frame))?;
        if screen.is_left_within(ATTENTION) {
            break;
        }
    }
    Ok(view.sample)
}
