//! `carnot monitor`: a machine, a process and a server at work, as a screen, as lines, or for programs.

mod figures;
mod lines;
mod screen;
mod sink;

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use carnot_bench::load::Target;

use crate::cli::{MonitorArguments, SampleFormat};
use crate::interrupt;
use crate::monitor::Sampler;
use crate::monitor::sample::Sample;
use crate::printer::Printer;
use sink::Sink;

/// A screen shows at least so many seconds' samples.
const SCREEN_INTERVAL: Duration = Duration::from_secs(1);
/// How soon an interrupt or a key is noticed.
const ATTENTION: Duration = Duration::from_millis(100);

pub fn execute(arguments: &MonitorArguments, printer: &Printer) -> anyhow::Result<()> {
    interrupt::listen();
    let has_screen = arguments.format == SampleFormat::Console && printer.is_terminal();
    let sink = match (&arguments.output, has_screen) {
        (None, true) => None,
        (path, _) => Some(Sink::open(arguments.format, path.as_deref(), printer)?),
    };
    match (sink, has_screen) {
        (Some(sink), false) => write(arguments, sink),
        (sink, _) => beside_screen(arguments, sink, printer),
    }
}

/// The screen, and beside it the file that would be written without one.
fn beside_screen(
    arguments: &MonitorArguments,
    sink: Option<Sink<'_>>,
    printer: &Printer,
) -> anyhow::Result<()> {
    let mut shown = samples(arguments, arguments.interval.min(SCREEN_INTERVAL))?;
    thread::scope(|scope| {
        let writing = sink.map(|sink| scope.spawn(move || write(arguments, sink)));
        let last = screen::show(arguments, &mut shown);
        interrupt::ask();
        let written =
            writing.map(|writing| writing.join().unwrap_or_else(|panic| resume_unwind(panic)));
        // The terminal is as it was before; what was seen last stays on it.
        if let Some(last) = last? {
            printer.result(&lines::of(&last))?;
        }
        written.unwrap_or(Ok(()))
    })
}

/// Gives every sample to `sink` until time is up or somebody ends it.
fn write(arguments: &MonitorArguments, mut sink: Sink<'_>) -> anyhow::Result<()> {
    let mut samples = samples(arguments, arguments.interval)?;
    while !interrupt::asked() {
        match samples.next_within(ATTENTION) {
            Next::Sample(sample) => sink.write(&sample)?,
            Next::Nothing => (),
            Next::End => break,
        }
    }
    Ok(())
}

/// Samples as they are taken, by a thread that ends when nobody listens or time is up.
struct Samples {
    receiver: Receiver<Sample>,
    thread: Option<JoinHandle<()>>,
}

/// What came of waiting.
enum Next {
    Sample(Box<Sample>),
    Nothing,
    End,
}

impl Samples {
    /// Waits at most so long. A panic of whoever takes the samples is ours.
    fn next_within(&mut self, time: Duration) -> Next {
        match self.receiver.recv_timeout(time) {
            Ok(sample) => Next::Sample(Box::new(sample)),
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => {
                let ended = self.thread.take().map(JoinHandle::join);
                ended
                    .unwrap_or(Ok(()))
                    .unwrap_or_else(|panic| resume_unwind(panic));
                Next::End
            }
        }
    }
}

fn samples(arguments: &MonitorArguments, interval: Duration) -> anyhow::Result<Samples> {
    let mut sampler = Sampler::new(arguments.pid, target(arguments))?;
    let duration = (!arguments.duration.is_zero()).then_some(arguments.duration);
    let (sender, receiver) = channel();
    let begin = Instant::now();
    let take = move || {
        // Where one takes longer than an interval, those that are overdue are left out: their rates would be of nearly no time. The last is
        // always taken.
        let is_timely =
            |due: &Duration| *due + interval > begin.elapsed() || Some(*due) == duration;
        for due in due_times(interval, duration).filter(is_timely) {
            thread::sleep((begin + due).saturating_duration_since(Instant::now()));
            if sender.send(sampler.sample()).is_err() {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("sampler".into()).spawn(take)?;
    Ok(Samples {
        receiver,
        thread: Some(thread),
    })
}

/// Multiples of the interval; the last is the end of the duration, if there is one.
fn due_times(interval: Duration, duration: Option<Duration>) -> impl Iterator<Item = Duration> {
    let whole = (1..).map(move |count| interval * count);
    let ended = whole.scan(false, move |is_over, due| {
        let end = duration.unwrap_or(Duration::MAX);
        if *is_over {
            return None;
        }
        *is_over = due >= end;
        Some(due.min(end))
    });
    ended.fuse()
}

fn target(arguments: &MonitorArguments) -> Option<Target> {
    let mut target = arguments.url.clone()?;
    target.key.clone_from(&arguments.api_key);
    Some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(interval: u64, duration: Option<u64>, expected: &[u64]) {
        let ms = Duration::from_millis;
        let times = due_times(ms(interval), duration.map(ms)).take(4);
        let times: Vec<u64> = times.map(|due| due.as_millis() as u64).collect();
        assert_eq!(times, expected);
    }

    #[test]
    fn the_last_sample_is_taken_at_the_end() {
        check(500, Some(1500), &[500, 1000, 1500]);
        check(500, Some(1200), &[500, 1000, 1200]);
        check(5000, Some(1000), &[1000]);
        check(500, None, &[500, 1000, 1500, 2000]);
    }
}
