//! A session: from the moment a pipeline begins to be recorded to the file that is left of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use carnot_probe::clock;
use carnot_record::{
    MachineProfile, Note, Outcome, PipelineModel, ProbeCost, Rank, Session as Header, Utc,
};
use carnot_samplers::Watcher;

use crate::allocations::Allocations;
use crate::recorder::{Display, Message, Recorder, lock, unix_ns};
use crate::{Config, Error, Status, samplers};

/// The session that is open in this process: the probe is one, and so is what it records.
static OPEN: Mutex<Option<String>> = Mutex::new(None);

/// Who a session is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// Its name; made from the time and the process where there is none.
    pub id: Option<String>,
    /// Whatever the author wants to find it by, beside those of the configuration.
    pub tags: BTreeMap<String, String>,
    /// What the pipeline makes, in the plural; `items` where nothing is said.
    pub unit: Option<String>,
    /// Which of how many processes this is.
    pub rank: Option<Rank>,
    /// What the machine allows, where that is known; floors are computed from it.
    pub machine: Option<MachineProfile>,
}

impl Identity {
    /// One with a name and nothing else.
    pub fn named(id: &str) -> Self {
        Self {
            id: Some(id.to_owned()),
            ..Self::default()
        }
    }
}

/// An open session. Ends when it is dropped, as one that did not end in order.
pub struct Session {
    header: Mutex<Header>,
    keeps_models: bool,
    path: PathBuf,
    status: Arc<Mutex<Status>>,
    messages: Option<Sender<Message>>,
    recorder: Option<JoinHandle<io::Result<()>>>,
    watcher: Option<Watcher>,
}

impl Session {
    /// Begins to record: makes the folder and the file, measures what an event costs here, and switches the probe on.
    ///
    /// `display` is called with a line every now and then if the configuration wants that. Where the configuration is off,
    /// the session is open and records nothing.
    pub fn start(
        config: &Config,
        identity: Identity,
        display: Option<Display>,
    ) -> Result<Self, Error> {
        config.check("configuration")?;
        let header = header(config, identity);
        claim(&header.id)?;
        let started = Self::start_claimed(config, header, display);
        if started.is_err() {
            release();
        }
        started
    }

    fn start_claimed(
        config: &Config,
        mut header: Header,
        display: Option<Display>,
    ) -> Result<Self, Error> {
        let mut session = Self {
            path: path(config, &header),
            status: Arc::new(Mutex::new(Status::of(&header.id))),
            header: Mutex::default(),
            keeps_models: config.profile_model_parameters,
            messages: None,
            recorder: None,
            watcher: None,
        };
        if config.enabled {
            Allocations::check(config)?;
            carnot_probe::set_limit(config.buffer_bytes);
            carnot_probe::enable();
            let before = carnot_probe::drain();
            header.cost = cost(before.dropped);
            let failed = |source| {
                carnot_probe::disable();
                Error::File {
                    what: "writing",
                    path: session.path.clone(),
                    source,
                }
            };
            let (file, path) = create(&session.path).map_err(failed)?;
            let status = Arc::clone(&session.status);
            let display = display.filter(|_| config.real_time_display);
            let recorder = Recorder::new(file, config, &header, status, display).map_err(failed)?;
            // What the recorder takes for itself is not in the sample.
            let allocations =
                Allocations::watch(config).inspect_err(|_| carnot_probe::disable())?;
            let recorder = recorder.with(allocations);
            let (sender, receiver) = channel();
            let thread = thread::Builder::new().name("carnot recorder".to_owned());
            let thread = thread
                .spawn(move || recorder.run(&receiver))
                .map_err(failed)?;
            (session.messages, session.recorder) = (Some(sender), Some(thread));
            session.path = path;
            session.watcher = Some(samplers::watch(config)?);
        }
        session.header = Mutex::new(header);
        Ok(session)
    }

    /// Its name.
    pub fn id(&self) -> String {
        self.header().id.clone()
    }

    /// The trace file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is known so far, up to a tenth of a second ago.
    pub fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    /// A tag more, or another value for it.
    pub fn tag(&self, key: &str, value: &str) {
        self.change(|header| _ = header.tags.insert(key.to_owned(), value.to_owned()));
    }

    /// A model that takes part; one of the same name is replaced. Forgotten where the configuration wants no models.
    pub fn model(&self, model: PipelineModel) {
        if !self.keeps_models {
            return;
        }
        self.change(|header| {
            header.models.retain(|known| known.name != model.name);
            header.models.push(model);
        });
    }

    /// Something to note, with whatever belongs to it.
    pub fn note(&self, name: &str, data: serde_json::Value) {
        self.send(Message::Note(Note {
            name: name.to_owned(),
            time: clock::ticks(),
            data,
        }));
    }

    /// Returns when everything that was recorded so far is in the file.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        self.send(Message::Flush(done));
        // An error says that the recorder has ended, and written all there was.
        let _ = wait.recv();
    }

    /// Ends the session; gives the trace file back.
    pub fn end(mut self, outcome: Outcome) -> Result<PathBuf, Error> {
        self.close(Some(outcome)).map_err(|source| Error::File {
            what: "writing",
            path: self.path.clone(),
            source,
        })?;
        Ok(self.path.clone())
    }

    /// Forgets the session in a process that was forked off: it is the parent's, with its file and the thread that writes it.
    pub fn disown(self) {
        carnot_probe::disable();
        release();
        // Ending it would wait for a thread that this process has not.
        std::mem::forget(self);
    }

    fn close(&mut self, outcome: Option<Outcome>) -> io::Result<()> {
        let Some(recorder) = self.recorder.take() else {
            return Ok(());
        };
        // The last reading is taken while there is somebody to write it.
        self.watcher = None;
        carnot_probe::disable();
        self.change(|header| header.outcome = outcome);
        self.send(Message::Stop);
        self.messages = None;
        let written = recorder
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the recorder panicked")));
        release();
        written
    }

    fn header(&self) -> std::sync::MutexGuard<'_, Header> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Header)) {
        let mut header = self.header();
        change(&mut header);
        self.send(Message::Header(Box::new(header.clone())));
    }

    fn send(&self, message: Message) {
        if let Some(messages) = &self.messages {
            // The recorder ends before the session only by a panic, which `close` tells.
            let _ = messages.send(message);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.recorder.is_some() {
            // Nobody is left to be told.
            let _ = self.close(None);
        } else if self.messages.is_none() {
            release_if(&self.id());
        }
    }
}

fn claim(id: &str) -> Result<(), Error> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(open) = &*open {
        return Err(Error::Open(open.clone()));
    }
    *open = Some(id.to_owned());
    Ok(())
}

fn release() {
    *OPEN.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

fn release_if(id: &str) {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if open.as_deref() == Some(id) {
        *open = None;
    }
}

/// What is known of the session before anything was recorded.
fn header(config: &Config, identity: Identity) -> Header {
    let started_unix_ns = unix_ns();
    let pid = std::process::id();
    let mut tags = config.session_tags.clone();
    tags.extend(identity.tags);
    Header {
        id: identity
            .id
            .unwrap_or_else(|| format!("{}_{pid}", stamp(started_unix_ns))),
        tags,
        unit: identity.unit.unwrap_or_else(|| "items".to_owned()),
        rank: identity.rank,
        host: fs::read_to_string("/proc/sys/kernel/hostname")
            .map_or_else(|_| String::new(), |name| name.trim().to_owned()),
        pid,
        started_unix_ns,
        machine: identity.machine,
        ..Header::default()
    }
}

/// `FOLDER[/rank_N]/trace_ID_YYYYmmdd_HHMMSS.carnot`, with nothing in the name that a file system minds.
fn path(config: &Config, header: &Header) -> PathBuf {
    let mut folder = config.output_dir.clone();
    if let Some(rank) = header.rank {
        folder.push(format!("rank_{}", rank.rank));
    }
    let safe = |c: char| {
        if c.is_alphanumeric() || "-._".contains(c) {
            c
        } else {
            '_'
        }
    };
    let id: String = header.id.chars().take(100).map(safe).collect();
    folder.join(format!(
        "trace_{id}_{}.carnot",
        stamp(header.started_unix_ns)
    ))
}

/// `20261123_021530`, in UTC.
fn stamp(unix_ns: u64) -> String {
    let Utc {
        year,
        month,
        day,
        hour,
        minute,
        second,
    } = Utc::of(unix_ns / 1_000_000_000);
    format!("{year:04}{month:02}{day:02}_{hour:02}{minute:02}{second:02}")
}

/// A file that was not there: `path`, or with a number behind its name where another session of the same second has that.
fn create(path: &Path) -> io::Result<(File, PathBuf)> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let stem = path.with_extension("");
    let mut path = path.to_owned();
    for number in 2.. {
        match File::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                path = PathBuf::from(format!("{}_{number}.carnot", stem.display()));
            }
            created => return Ok((created?, path)),
        }
    }
    unreachable!("there is a number that no file has")
}

/// What recording costs here; `dropped` are events that were lost before.
fn cost(dropped: u64) -> ProbeCost {
    let cost = carnot_probe::measure_cost();
    ProbeCost {
        dropped,
        span_ns: cost.span_ns,
        recorded_span_ns: cost.recorded_span_ns,
        clock_read_ns: cost.clock_read_ns,
        ..ProbeCost::default()
    }
}
