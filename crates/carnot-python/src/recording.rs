//! A session, as Python's `carnot.Session` drives it: its start, what is said of it, its end.
//!
//! Python's lock is let go wherever the recorder's thread is waited for: that thread takes it to show its line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use carnot_record::{Outcome, PipelineModel, Rank};
use carnot_session::{Config, Error, Identity, Reports, Session};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::fast::set_methods;
use crate::open;

/// An open session of this process.
#[pyclass(frozen, module = "carnot._carnot")]
pub struct Recording {
    session: Mutex<Option<Session>>,
    /// Which reports are made at the end, and how fast frames are shown if the tags say so.
    config: Config,
    playback_fps: Option<f64>,
}

fn raised(error: &Error) -> PyErr {
    let what = error.to_string();
    match error {
        Error::Config { .. } => PyValueError::new_err(what),
        Error::File { .. } => PyOSError::new_err(what),
        _ => PyRuntimeError::new_err(what),
    }
}

/// The configuration: of a file, of a preset or the usual one, with `keys` set over it, each to a value in JSON.
fn configuration(
    file: Option<PathBuf>,
    preset: Option<&str>,
    keys: &BTreeMap<String, String>,
) -> Result<Config, Error> {
    let mut config = match (file, preset) {
        (Some(file), _) => Config::read(&file)?,
        (None, Some(preset)) => Config::preset(preset)?,
        (None, None) => Config::default(),
    };
    for (key, value) in keys {
        config.set(key, value)?;
    }
    Ok(config)
}

/// Calls Python with each line. What it raises is told as Python tells what nobody can catch.
fn display(call: Py<PyAny>) -> Box<dyn FnMut(&str) + Send> {
    Box::new(move |line| {
        // Nothing is shown any more once the interpreter is being taken down.
        let _ = Python::try_attach(|py| {
            if let Err(error) = call.call1(py, (line,)) {
                error.write_unraisable(py, Some(call.bind(py)));
            }
        });
    })
}

/// The trace file, what was written, and the report for a terminal.
type Ended = (PathBuf, Vec<PathBuf>, String);

#[pymethods]
impl Recording {
    #[new]
    #[pyo3(signature = (*, file, preset, keys, id, tags, unit, rank, show))]
    #[expect(
        clippy::too_many_arguments,
        clippy::needless_pass_by_value,
        reason = "Python's caller names them, and hands them over"
    )]
    fn start(
        py: Python<'_>,
        file: Option<PathBuf>,
        preset: Option<&str>,
        keys: BTreeMap<String, String>,
        id: Option<String>,
        tags: BTreeMap<String, String>,
        unit: Option<String>,
        rank: Option<(u32, u32, u32)>,
        show: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let config = configuration(file, preset, &keys).map_err(|error| raised(&error))?;
        let rank = rank.map(|(rank, world_size, local_rank)| Rank {
            rank,
            world_size,
            local_rank,
        });
        let playback_fps = tags.get("fps").and_then(|fps| fps.parse().ok());
        let identity = Identity {
            id,
            tags,
            unit,
            rank,
            machine: None,
        };
        open::next_recording();
        // Starting measures what a span costs, by spans of this thread.
        open::name_thread(py);
        let show = show.map(display);
        let session = py
            .detach(|| Session::start(&config, identity, show))
            .map_err(|error| raised(&error))?;
        set_methods(py, carnot_probe::is_enabled())?;
        Ok(Self {
            session: Mutex::new(Some(session)),
            config,
            playback_fps,
        })
    }

    /// Ends the session: `failure` is what it failed by, if it did. Returns the trace file, the files that were written and the report
    /// for a terminal; `None` if nothing was recorded.
    fn end(&self, py: Python<'_>, failure: Option<String>) -> PyResult<Option<Ended>> {
        let Some(session) = py.detach(|| self.lock().take()) else {
            return Ok(None);
        };
        let was_recording = carnot_probe::is_enabled();
        set_methods(py, false)?;
        let outcome = failure.map_or(Outcome::Completed, Outcome::Failed);
        let ended = py.detach(|| session.end(outcome));
        let path = ended.map_err(|error| raised(&error))?;
        if !was_recording {
            return Ok(None);
        }
        let made = py.detach(|| carnot_session::report(&path, &self.config, self.playback_fps));
        let Reports { files, text, .. } = made.map_err(|error| raised(&error))?;
        Ok(Some((path, files, text)))
    }

    /// Its name.
    fn id(&self, py: Python<'_>) -> Option<String> {
        self.ask(py, Session::id)
    }

    /// The file that is being written.
    fn path(&self, py: Python<'_>) -> Option<PathBuf> {
        self.ask(py, |session| session.path().to_owned())
    }

    /// A tag more, or another value for it.
    fn tag(&self, py: Python<'_>, key: &str, value: &str) {
        self.ask(py, |session| session.tag(key, value));
    }

    /// A model that takes part.
    fn model(&self, py: Python<'_>, name: String, kind: String, parameters: u64) {
        let model = PipelineModel {
            name,
            kind,
            parameters,
        };
        self.ask(py, |session| session.model(model));
    }

    /// Something to note, with data in JSON.
    fn note(&self, py: Python<'_>, name: &str, data: &str) -> PyResult<()> {
        let data = serde_json::from_str(data)
            .map_err(|error| PyValueError::new_err(format!("{name}: {error}")))?;
        self.ask(py, |session| session.note(name, data));
        Ok(())
    }

    /// Returns when what was recorded so far is in the file.
    fn flush(&self, py: Python<'_>) {
        self.ask(py, Session::flush);
    }

    /// What is known so far, in JSON; `None` once it has ended.
    fn status(&self, py: Python<'_>) -> Option<String> {
        let status = self.ask(py, Session::status)?;
        Some(serde_json::to_string(&status).expect("a status is plain data"))
    }

    /// Seconds between two looks at the interpreter's memory; `None` where none is wanted.
    fn python_memory_seconds(&self) -> Option<f64> {
        let is_wanted = self.config.enabled && self.config.trace_python_memory;
        is_wanted.then_some(self.config.cpu_monitor_interval)
    }

    /// In a process that was forked off: the session is the parent's, and so is its file.
    fn disown(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(session) = self.lock().take() {
            session.disown();
        }
        set_methods(py, false)
    }
}

impl Recording {
    fn lock(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the session, if it is still open. Waits without Python's lock: whoever has the session may wait for who needs that.
    fn ask<R: Send>(
        &self,
        py: Python<'_>,
        question: impl FnOnce(&Session) -> R + Send,
    ) -> Option<R> {
        py.detach(|| self.lock().as_ref().map(question))
    }
}
