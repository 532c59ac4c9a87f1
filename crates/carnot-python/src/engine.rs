//! The text engine: a prompt in, text out, whole or piece by piece. Requests of several threads share the engine's steps: whoever
//! waits for text computes for all, without Python's lock.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use carnot_engine::{EngineError, Event, RequestId, Sampling, TextCodec, TextEngine, TextRequest};
use carnot_formats::ModelFile;
use carnot_llm::{EngineOptions, LlmEngine};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

static EMBEDDED: &[u8] = include_bytes!("../../../models/embedded-q8_0.gguf");

fn failed(error: impl std::fmt::Display) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

/// What the caller did wrong, or the engine could not do.
fn raised(error: &EngineError) -> PyErr {
    let what = error.to_string();
    if matches!(error, EngineError::Engine(_)) {
        PyRuntimeError::new_err(what)
    } else {
        PyValueError::new_err(what)
    }
}

/// The engine, and what it said to those who have not asked yet.
struct Shared {
    engine: LlmEngine,
    begun: Instant,
    said: HashMap<RequestId, VecDeque<Event>>,
}

impl Shared {
    /// The next thing that is said to `request`; computes until there is one.
    fn next(&mut self, request: RequestId) -> Result<Option<Event>, EngineError> {
        let mut events = Vec::new();
        loop {
            match self.said.get_mut(&request).map(VecDeque::pop_front) {
                None => return Ok(None),
                Some(Some(event)) => return Ok(Some(event)),
                Some(None) => {}
            }
            self.engine.step(self.begun.elapsed(), &mut events)?;
            for event in events.drain(..) {
                let to = request_of(&event);
                if let Some(said) = to.and_then(|to| self.said.get_mut(&to)) {
                    said.push_back(event);
                }
            }
        }
    }
}

fn request_of(event: &Event) -> Option<RequestId> {
    match event {
        Event::Token { request, .. } | Event::Finished { request, .. } => Some(*request),
        _ => None,
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A language model that runs on this machine's processors: `Engine()` has the embedded one, `Engine(path)` a GGUF file or a folder.
#[pyclass(frozen, module = "carnot")]
pub struct Engine {
    shared: Arc<Mutex<Shared>>,
    codec: Arc<dyn TextCodec>,
    /// The model's name.
    #[pyo3(get)]
    name: String,
    /// How many numbers the model has learnt.
    #[pyo3(get)]
    parameters: u64,
    /// Most tokens of a prompt and its continuation.
    #[pyo3(get)]
    context_length: usize,
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (path=None, *, threads=None, context=8192))]
    fn load(
        py: Python<'_>,
        path: Option<PathBuf>,
        threads: Option<usize>,
        context: usize,
    ) -> PyResult<Self> {
        let mut options = EngineOptions {
            context,
            ..EngineOptions::default()
        };
        match threads {
            Some(0) => return Err(PyValueError::new_err("threads: expected 1 or more, got 0")),
            Some(threads) => options.threads = threads,
            None => {}
        }
        let engine = py.detach(|| {
            let file = match path {
                Some(path) => ModelFile::open(&path),
                None => ModelFile::from_gguf_bytes("embedded", EMBEDDED),
            };
            let file = file.map_err(|error| error.to_string())?;
            let engine = LlmEngine::load(Arc::new(file), &options, |_, _| {});
            engine.map_err(|error| error.to_string())
        });
        let engine = engine.map_err(failed)?;
        let info = engine.model().clone();
        Ok(Self {
            codec: engine.codec(),
            name: info.name,
            parameters: info.parameters,
            context_length: info.context_length,
            shared: Arc::new(Mutex::new(Shared {
                engine,
                begun: Instant::now(),
                said: HashMap::new(),
            })),
        })
    }

    /// Continues `prompt` and returns all of the text, with what it took.
    #[pyo3(signature = (prompt, *, max_tokens=256, temperature=0.0, seed=0, top_k=0, top_p=1.0, stop=Vec::new()))]
    #[expect(clippy::too_many_arguments, reason = "Python's callers name them")]
    fn generate(
        &self,
        py: Python<'_>,
        prompt: &str,
        max_tokens: usize,
        temperature: f32,
        seed: u64,
        top_k: usize,
        top_p: f32,
        stop: Vec<String>,
    ) -> PyResult<Generation> {
        let pieces = self.stream(
            py,
            prompt,
            max_tokens,
            temperature,
            seed,
            top_k,
            top_p,
            stop,
        )?;
        let mut text = String::new();
        while let Some(piece) = pieces.__next__(py)? {
            text += &piece;
            py.check_signals()?;
        }
        let usage = lock_plain(&pieces.usage).take();
        let usage = usage.ok_or_else(|| failed("the engine ended without a word"))?;
        Ok(Generation { text, ..usage })
    }

    /// The same, piece by piece, as an iterator. Giving it up cancels the request.
    #[pyo3(signature = (prompt, *, max_tokens=256, temperature=0.0, seed=0, top_k=0, top_p=1.0, stop=Vec::new()))]
    #[expect(clippy::too_many_arguments, reason = "Python's callers name them")]
    fn stream(
        &self,
        py: Python<'_>,
        prompt: &str,
        max_tokens: usize,
        temperature: f32,
        seed: u64,
        top_k: usize,
        top_p: f32,
        stop: Vec<String>,
    ) -> PyResult<Pieces> {
        let sampling = Sampling {
            temperature,
            seed,
            top_k,
            top_p,
            ..Sampling::default()
        };
        let submitted = py.detach(|| {
            let request = TextRequest {
                prompt: self.codec.encode(prompt, true)?,
                max_tokens,
                sampling,
                stop,
                ..TextRequest::default()
            };
            let mut shared = lock(&self.shared);
            let now = shared.begun.elapsed();
            let request = shared.engine.submit(request, now)?;
            shared.said.insert(request, VecDeque::new());
            Ok(request)
        });
        Ok(Pieces {
            shared: Arc::clone(&self.shared),
            request: submitted.map_err(|error: EngineError| raised(&error))?,
            usage: Mutex::new(None),
        })
    }

    fn __repr__(&self) -> String {
        format!(
            "carnot.Engine({}, {} parameters)",
            self.name, self.parameters
        )
    }
}

fn lock_plain<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A text that is being generated.
#[pyclass(frozen, module = "carnot")]
pub struct Pieces {
    shared: Arc<Mutex<Shared>>,
    request: RequestId,
    usage: Mutex<Option<Generation>>,
}

#[pymethods]
impl Pieces {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<String>> {
        loop {
            let event = py.detach(|| lock(&self.shared).next(self.request));
            match event.map_err(|error| raised(&error))? {
                None => return Ok(None),
                Some(Event::Finished {
                    reason,
                    text,
                    usage,
                    ..
                }) => {
                    py.detach(|| lock(&self.shared).said.remove(&self.request));
                    *lock_plain(&self.usage) = Some(Generation {
                        text: String::new(),
                        reason: reason.name().to_owned(),
                        prompt_tokens: usage.prompt_tokens,
                        cached_tokens: usage.cached_tokens,
                        generated_tokens: usage.generated_tokens,
                    });
                    return Ok((!text.is_empty()).then_some(text));
                }
                Some(Event::Token { text, .. }) if !text.is_empty() => return Ok(Some(text)),
                Some(_) => {}
            }
        }
    }

    /// What it took, once it has ended; `None` before.
    #[getter]
    fn usage<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let usage = lock_plain(&self.usage);
        usage.as_ref().map(|usage| usage.usage(py)).transpose()
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        // Whoever computes now has let Python's lock go, so that this waits for one step at most.
        let mut shared = lock(&self.shared);
        if shared.said.remove(&self.request).is_some() {
            shared.engine.cancel(self.request);
        }
    }
}

/// A text that was generated, and what it took.
#[pyclass(frozen, module = "carnot")]
#[derive(Default)]
pub struct Generation {
    /// The text.
    #[pyo3(get)]
    text: String,
    /// Why it ended: `stop`, `length`, …
    #[pyo3(get)]
    reason: String,
    /// Tokens of the prompt.
    #[pyo3(get)]
    prompt_tokens: usize,
    /// Those of them that another request had computed.
    #[pyo3(get)]
    cached_tokens: usize,
    /// Tokens that were generated.
    #[pyo3(get)]
    generated_tokens: usize,
}

#[pymethods]
impl Generation {
    /// The three numbers of tokens, and why it ended.
    #[getter]
    fn usage<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let usage = PyDict::new(py);
        usage.set_item("prompt_tokens", self.prompt_tokens)?;
        usage.set_item("cached_tokens", self.cached_tokens)?;
        usage.set_item("generated_tokens", self.generated_tokens)?;
        usage.set_item("reason", &self.reason)?;
        Ok(usage)
    }

    fn __str__(&self) -> &str {
        &self.text
    }
}
