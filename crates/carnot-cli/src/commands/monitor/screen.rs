//! The screen: drawn ten times a second, so that a key is noticed and the clock goes on; samples come when they come.

mod bars;
mod panels;
mod view;

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use super::ATTENTION;
use crate::cli::MonitorArguments;
use crate::interrupt;
use crate::monitor::sample::Sample;
use crate::terminal::Screen;
use view::View;

/// Shows samples as they come, until time is up or somebody leaves; the last is handed back.
pub fn show(
    arguments: &MonitorArguments,
    samples: &Receiver<Sample>,
) -> anyhow::Result<Option<Sample>> {
    let begin = Instant::now();
    let mut view = View::new(arguments.duration);
    let mut screen = Screen::open()?;
    while !interrupt::asked() {
        match samples.try_recv() {
            Ok(sample) => view.push(sample),
            Err(TryRecvError::Empty) => (),
            Err(TryRecvError::Disconnected) => break,
        }
        view.elapsed = begin.elapsed();
        screen.draw(|frame| view.draw(frame))?;
        if screen.is_left_within(ATTENTION)? {
            break;
        }
    }
    Ok(view.sample)
}
