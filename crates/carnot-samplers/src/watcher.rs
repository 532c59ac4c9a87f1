//! A thread that reads again and again, each thing at its own interval, and hands on what it reads.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Error;
use crate::gpu::{Driver, Gpu};
use crate::host::{Host, HostReading};
use crate::process::{Process, ProcessReading};
use crate::schedule::Schedule;

/// How often graphics processors are read where nobody says otherwise.
pub const GPU_INTERVAL: Duration = Duration::from_millis(500);
/// How often a machine or a process is read where nobody says otherwise.
pub const HOST_INTERVAL: Duration = Duration::from_secs(1);

/// What is watched, and how often; nothing by default.
#[derive(Clone, Debug, Default)]
pub struct Watching {
    /// The machine.
    pub host: Option<Duration>,
    /// The process of this number.
    pub process: Option<(u32, Duration)>,
    /// The graphics processors that this driver tells of.
    pub gpus: Option<(Driver, Duration)>,
}

/// What was read; `at` counts from the start of the watcher.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// The machine since the reading before.
    Host {
        /// When it was read.
        at: Duration,
        /// Of the time since the reading before, or since the start.
        over: Duration,
        /// What it did.
        of: Host,
    },
    /// The process since the reading before.
    Process {
        /// When it was read.
        at: Duration,
        /// Of the time since the reading before, or since the start.
        over: Duration,
        /// What it did; `None` where there is no such process (any more).
        of: Option<Process>,
    },
    /// The graphics processors at that moment.
    Gpus {
        /// When they were asked for; the answer takes some hundredths of a second.
        at: Duration,
        /// One for each that the driver tells of.
        of: Vec<Gpu>,
    },
}

/// A thread that watches until it is told to stop, or is dropped.
#[derive(Debug)]
pub struct Watcher {
    /// `None` once the thread has been told to stop.
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Watcher {
    /// Watches from now on. `callback` gets graphics processors at once and then at each interval, and the others, which are told as
    /// rates, at the end of each interval. It runs on the watcher's thread: while it runs nothing is read, and what comes late for that is left out.
    ///
    /// # Errors
    /// [`Error::NoInterval`] for an interval of 0.
    pub fn start(
        watching: Watching,
        callback: impl FnMut(&Reading) + Send + 'static,
    ) -> Result<Self, Error> {
        let intervals = watching.intervals()?;
        let (stop, stopped) = channel();
        let mut readers = Readers::new(watching, callback);
        let thread = thread::spawn(move || readers.watch(Schedule::new(intervals), &stopped));
        Ok(Self {
            running: Some((stop, thread)),
        })
    }

    /// Stops as soon as a reading that is under way has ended. The machine and the process are read once more, so that what is told
    /// covers all time until now.
    ///
    /// # Panics
    /// As the callback did, if it did.
    pub fn stop(mut self) {
        if let Err(panic) = self.end() {
            resume_unwind(panic);
        }
    }

    fn end(&mut self) -> thread::Result<()> {
        let Some((stop, thread)) = self.running.take() else {
            return Ok(());
        };
        drop(stop);
        thread.join()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Whoever drops it asks for nothing; a panic of the callback has been printed by its own thread.
        let _ = self.end();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Host,
    Process,
    Gpus,
}

impl Watching {
    fn intervals(&self) -> Result<Vec<(Source, Duration)>, Error> {
        let rows = [
            (Source::Host, "host", self.host),
            (Source::Process, "process", self.process.map(|of| of.1)),
            (
                Source::Gpus,
                "graphics processors",
                self.gpus.as_ref().map(|of| of.1),
            ),
        ];
        let watched = rows.into_iter().filter_map(|(source, what, interval)| {
            let interval = interval?;
            let is_some = !interval.is_zero();
            Some(
                is_some
                    .then_some((source, interval))
                    .ok_or(Error::NoInterval { what }),
            )
        });
        watched.collect()
    }
}

/// Everything that the thread has.
struct Readers<F> {
    start: Instant,
    host: Option<(Instant, HostReading)>,
    process: Option<WatchedProcess>,
    gpus: Option<Driver>,
    callback: F,
}

struct WatchedProcess {
    pid: u32,
    at: Instant,
    before: Option<ProcessReading>,
}

impl<F: FnMut(&Reading)> Readers<F> {
    /// The first readings of what is counted are taken on the thread of the caller, before the work that is watched can begin.
    fn new(watching: Watching, callback: F) -> Self {
        let start = Instant::now();
        Self {
            start,
            host: watching.host.map(|_| (start, HostReading::read(root()))),
            process: watching.process.map(|(pid, _)| WatchedProcess {
                pid,
                at: start,
                before: ProcessReading::read(root(), pid),
            }),
            gpus: watching.gpus.map(|(driver, _)| driver),
            callback,
        }
    }

    fn watch(&mut self, mut schedule: Schedule<Source>, stopped: &Receiver<()>) {
        // Of what is counted, nothing has been done at 0.
        if schedule.due(Duration::ZERO).contains(&Source::Gpus) {
            self.read(Source::Gpus);
        }
        while let Some(idle) = schedule.idle(self.start.elapsed()) {
            match stopped.recv_timeout(idle) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
            for source in schedule.due(self.start.elapsed()) {
                self.read(source);
            }
        }
        // Without an answer of the driver, which takes as long as a small run.
        self.read(Source::Host);
        self.read(Source::Process);
    }

    fn read(&mut self, source: Source) {
        let now = Instant::now();
        let at = now - self.start;
        let reading = match source {
            Source::Host => self.host.as_mut().map(|(then, before)| {
                let reading = HostReading::read(root());
                let over = now - *then;
                let of = reading.since(before, over.as_secs_f64());
                (*then, *before) = (now, reading);
                Reading::Host { at, over, of }
            }),
            Source::Process => self.process.as_mut().map(|watched| {
                let (over, of) = watched.read(now);
                Reading::Process { at, over, of }
            }),
            Source::Gpus => self.gpus.as_ref().map(|driver| {
                let of = driver.read();
                Reading::Gpus { at, of }
            }),
        };
        reading.iter().for_each(&mut self.callback);
    }
}

impl WatchedProcess {
    fn read(&mut self, now: Instant) -> (Duration, Option<Process>) {
        let reading = ProcessReading::read(root(), self.pid);
        let over = now - self.at;
        let of = reading
            .as_ref()
            .map(|reading| reading.since(self.pid, self.before.as_ref(), over.as_secs_f64()));
        (self.at, self.before) = (now, reading);
        (over, of)
    }
}

fn root() -> &'static Path {
    Path::new("/")
}

#[cfg(test)]
mod tests {
    use std::process;
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(1 << 20);

    fn own(interval: Duration) -> Watching {
        Watching {
            host: Some(interval),
            process: Some((process::id(), interval)),
            gpus: None,
        }
    }

    /// Watches until `enough` readings are there.
    fn readings(watching: Watching, enough: usize) -> Vec<Reading> {
        let (send, told) = mpsc::channel();
        let watcher = Watcher::start(watching, move |reading| send.send(reading.clone()).unwrap());
        let mut readings: Vec<Reading> = told.iter().take(enough).collect();
        watcher.unwrap().stop();
        readings.extend(told);
        readings
    }

    #[test]
    fn readings_come_again_and_cover_all_time() {
        let readings = readings(own(Duration::from_millis(2)), 10);
        let mut covered = [Duration::ZERO; 2];
        let mut last = [Duration::ZERO; 2];
        for reading in &readings {
            let (index, at, over) = match reading {
                Reading::Host { at, over, .. } => (0, at, over),
                Reading::Process { at, over, .. } => (1, at, over),
                Reading::Gpus { .. } => panic!("nobody asked for {reading:?}"),
            };
            covered[index] += *over;
            last[index] = *at;
        }
        assert!(readings.len() >= 10);
        assert_eq!(covered, last);
        if cfg!(target_os = "linux") {
            let is_known = |reading: &Reading| match reading {
                Reading::Process { of, .. } => of.is_some(),
                _ => true,
            };
            assert!(readings.iter().all(is_known), "{readings:?}");
        }
    }

    /// A sleep that cannot be interrupted would keep this test for twelve days.
    #[test]
    fn a_watcher_between_two_readings_stops_and_tells_what_there_was() {
        let readings = readings(own(LONG), 0);
        assert_eq!(readings.len(), 2, "{readings:?}");
    }

    #[test]
    fn the_driver_is_asked_at_once() {
        let (send, told) = mpsc::channel();
        let gpus = Watching {
            gpus: Some((Driver::find(), LONG)),
            ..Watching::default()
        };
        let there = gpus.gpus.as_ref().map(|(driver, _)| driver.read().len());
        let watcher = Watcher::start(gpus, move |reading| send.send(reading.clone()).unwrap());
        let Ok(Reading::Gpus { of, .. }) = told.recv() else {
            panic!("expected graphics processors");
        };
        assert_eq!(Some(of.len()), there);
        drop(watcher);
        assert!(told.recv().is_err(), "the thread has ended");
    }

    #[test]
    fn a_process_that_is_not_there_is_absent() {
        let watching = Watching {
            process: Some((u32::MAX, LONG)),
            ..Watching::default()
        };
        let readings = readings(watching, 0);
        assert!(
            matches!(readings.as_slice(), [Reading::Process { of: None, .. }]),
            "{readings:?}"
        );
    }

    #[test]
    fn an_interval_of_0_is_refused() {
        let refused = Watcher::start(own(Duration::ZERO), |_| {}).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "interval of host: expected more than 0, got 0"
        );
    }

    #[test]
    fn where_nothing_is_watched_nothing_is_told() {
        assert_eq!(readings(Watching::default(), 0), []);
    }

    #[test]
    #[should_panic(expected = "of the callback")]
    fn a_panic_of_the_callback_is_passed_on() {
        let watcher = Watcher::start(own(LONG), |_| panic!("of the callback")).unwrap();
        watcher.stop();
    }
}
