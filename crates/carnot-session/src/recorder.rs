//! The thread that moves events from the probe's buffers into the file while the pipeline runs.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use carnot_probe::{Recording, clock};
use carnot_record::trace_file::{ClockPoint, RawEvent, TraceWriter};
use carnot_record::{Note, Session as Header, Thread};

use crate::allocations::Allocations;
use crate::{Config, Status, convert};

/// Between two drains: what a process that dies loses, and how long a report lags behind.
const INTERVAL: Duration = Duration::from_millis(100);

/// What the recorder is asked.
pub enum Message {
    /// The session says something else of itself.
    Header(Box<Header>),
    /// Something to note.
    Note(Note),
    /// Write what there is now, and say so.
    Flush(SyncSender<()>),
    /// Write the rest and end.
    Stop,
}

/// Told the line of the live display.
pub type Display = Box<dyn FnMut(&str) + Send>;

/// The recorder, before it runs.
pub struct Recorder {
    config: Config,
    writer: TraceWriter<BufWriter<File>>,
    status: Arc<Mutex<Status>>,
    begun: Instant,
    display: Option<Display>,
    allocations: Option<Allocations>,
    /// The first error of writing; the rest would only say it again.
    failed: Option<io::Error>,
}

pub fn lock(status: &Mutex<Status>) -> MutexGuard<'_, Status> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// Begins the file.
    pub fn new(
        file: File,
        config: &Config,
        header: &Header,
        status: Arc<Mutex<Status>>,
        display: Option<Display>,
    ) -> io::Result<Self> {
        let mut writer = TraceWriter::new(BufWriter::with_capacity(1 << 20, file))?;
        writer.session(header)?;
        writer.clock(now())?;
        writer.flush()?;
        Ok(Self {
            config: config.clone(),
            writer,
            status,
            begun: Instant::now(),
            display,
            allocations: None,
            failed: None,
        })
    }

    /// The same, with what samples allocations.
    pub fn with(self, allocations: Option<Allocations>) -> Self {
        Self {
            allocations,
            ..self
        }
    }

    /// Writes until it is told to stop, or whoever could tell it is gone. What went wrong is told once, at the end.
    pub fn run(mut self, messages: &Receiver<Message>) -> io::Result<()> {
        if let Some(allocations) = &self.allocations {
            allocations.leave_out_this_thread();
        }
        let mut shown = Instant::now();
        let every = Duration::from_secs_f64(self.config.display_interval);
        loop {
            let message = messages.recv_timeout(INTERVAL);
            // A note belongs behind the events before it.
            self.drain();
            match message {
                Ok(Message::Header(header)) => self.attempt(|writer| writer.session(&header)),
                Ok(Message::Note(note)) => self.attempt(|writer| writer.note(&note)),
                Ok(Message::Flush(done)) => {
                    // Nobody waits any more where this fails.
                    let _ = done.send(());
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if shown.elapsed() >= every
                && let Some(display) = &mut self.display
            {
                shown = Instant::now();
                let line = lock(&self.status).line();
                display(&line);
            }
        }
        self.attempt(TraceWriter::flush);
        match self.failed {
            Some(error) => Err(error),
            None => self
                .writer
                .into_inner()
                .into_inner()
                .map_or_else(|error| Err(error.into_error()), |mut file| file.flush()),
        }
    }

    fn drain(&mut self) {
        if let Some(allocations) = &mut self.allocations
            && let lost @ 1.. = allocations.tell()
        {
            let line = format!(
                "{lost} allocations of the sample were lost: sample_allocations is too low"
            );
            lock(&self.status).warnings.push(line);
        }
        let recording = carnot_probe::drain_unsorted();
        if recording.is_empty() && recording.dropped == 0 {
            return;
        }
        lock(&self.status).take(&recording, self.begun.elapsed().as_secs_f64());
        let wanted: Vec<bool> = recording
            .sites
            .iter()
            .map(|site| self.config.wants(&site.name, site.kind))
            .collect();
        self.attempt(|writer| write(writer, &recording, &wanted));
    }

    /// Once writing has failed nothing is tried again; the probe is drained all the same, so that memory stays bounded.
    fn attempt(&mut self, write: impl FnOnce(&mut TraceWriter<BufWriter<File>>) -> io::Result<()>) {
        if self.failed.is_none()
            && let Err(error) = write(&mut self.writer).and_then(|()| self.writer.flush())
        {
            let line = format!("the trace ends here: {error}");
            lock(&self.status).warnings.push(line);
            self.failed = Some(error);
        }
    }
}

fn write(
    writer: &mut TraceWriter<BufWriter<File>>,
    recording: &Recording,
    wanted: &[bool],
) -> io::Result<()> {
    let sites: Vec<_> = recording.sites.iter().map(convert::site).collect();
    let threads: Vec<Thread> = (0..)
        .zip(&recording.tracks)
        .map(|(id, name)| Thread {
            id,
            name: name.clone(),
            recorded_by: recording.recorded_by.get(&id).copied(),
        })
        .collect();
    writer.names(&sites, &threads)?;
    let events = recording.raw();
    let events = events.filter(|event| wanted[event.site as usize]);
    writer.events(events.map(|event| -> RawEvent { convert::event(&event) }))?;
    writer.lost(&recording.dropped_by_site)?;
    writer.clock(now())
}

/// This moment; the system's clocks are read one after the other, some tens of nanoseconds apart.
fn now() -> ClockPoint {
    let scale = clock::calibrate();
    ClockPoint {
        ticks: clock::ticks(),
        ns_per_tick: scale.ns_per_tick(),
        unix_ns: unix_ns(),
    }
}

/// Nanoseconds since 1970.
pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}
