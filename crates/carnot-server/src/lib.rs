//! Engines behind HTTP.
//!
//! ```text
//! client ─ router ─ auth ─ openai ─ admission ─▶ engine_thread ─▶ TextEngine::step
//!    ▲                       │                       │
//!    └──── JSON or SSE ◀─────┴── bounded channel ◀───┘
//!
//! client ─ router ─ auth ─ oip ─ admission ─▶ tensors ─▶ TensorEngine::run
//! ```
//!
//! ```text
//! connections    sockets, and TLS
//! router         which path leads where, and which are open to everybody
//! auth           keys, and the tenants behind them
//! openai         the wire format: chats, completions, models
//! oip            the wire format of tensors: the Open Inference Protocol
//! admission      who is let in, who is told to come back and when
//! engine_thread  owns an engine: commands in, updates out, step after step
//! tensors        owns tensor engines: whose requests share a run, and when
//! metrics        what is counted
//! exposition     the forms in which they are read
//! recent         quantiles of the last thousand, for people
//! requests       what is under way, and how to end it
//! infer          a question in, an answer out: the simple routes
//! openapi        the interface as a document, and a page that shows it
//! logs           a line for each response
//! traces         requests for an OpenTelemetry collector
//! settings       what may change while the server runs
//! page           the live page
//! error          every failure that a client can see, as one table
//! ```
//!
//! No concrete engine is named here: the server drives [`carnot_engine::TextEngine`] and [`carnot_engine::TensorEngine`].

mod admission;
mod auth;
mod connections;
mod engine_thread;
mod error;
mod exposition;
mod health;
mod infer;
mod logs;
mod metrics;
mod oip;
mod openai;
mod openapi;
mod page;
mod recent;
mod requests;
mod router;
mod settings;
mod tensors;
mod traces;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::serve::Listener;
use carnot_cache::Cache;
use carnot_engine::TextEngine;
use tokio::net::TcpListener;

pub use admission::Limits;
pub use auth::Keys;
pub use connections::Tls;
pub use error::{CODES, ErrorCode};
pub use metrics::{Compatibility, LossGauges};
pub use router::ROUTES;
pub use settings::{Settings, SharedSettings};
pub use tensors::{Batching, Reopen, TensorModel, TimeoutAction};
pub use traces::Collector;

use connections::Secure;
use engine_thread::EngineHandle;
use metrics::Metrics;
use tensors::Registry;
use traces::Traces;

/// Everything that a request handler sees.
pub(crate) struct App {
    engines: Vec<EngineHandle>,
    tensors: Registry,
    /// Results of tensor models that are kept, where they are.
    results: OnceLock<Cache>,
    settings: SharedSettings,
    metrics: Metrics,
    traces: Traces,
    is_draining: AtomicBool,
    /// Seconds since 1970 when the models were there.
    started: u64,
}

impl App {
    fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }
}

/// Engines and what is asked of the server, before it listens.
pub struct Server {
    app: Arc<App>,
}

impl Server {
    /// Starts a thread for each engine.
    pub fn new(engines: Vec<Box<dyn TextEngine + Send>>, settings: Settings) -> io::Result<Self> {
        let metrics = Metrics::new();
        let (settings, traces) = (SharedSettings::new(settings), Traces::default());
        let engines = engines
            .into_iter()
            .map(|engine| EngineHandle::start(engine, settings.clone(), &metrics, &traces))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            app: Arc::new(App {
                engines,
                tensors: Registry::default(),
                results: OnceLock::new(),
                settings,
                metrics,
                traces,
                is_draining: AtomicBool::new(false),
                started: openai::unix_seconds(),
            }),
        })
    }

    /// Serves tensor models too, each on threads of its own. Where they are `controlled`, clients may load and unload them.
    ///
    /// # Errors
    /// Where two have the same name, an engine makes no duplicate, or the system no thread.
    pub fn tensors(
        self,
        models: impl IntoIterator<Item = TensorModel>,
        controlled: bool,
    ) -> io::Result<Self> {
        for model in models {
            self.app.tensors.add(model, &self.app.metrics)?;
        }
        if controlled {
            self.app.tensors.allow_control();
        }
        Ok(self)
    }

    /// Keeps results of tensor models: the same inputs of the same tenant are not computed again.
    #[must_use]
    pub fn results(self, cache: Cache) -> Self {
        // Whoever comes first stays; there is one place that says it.
        let _ = self.app.results.set(cache);
        self
    }

    /// The settings in force, to be replaced while the server runs.
    pub fn settings(&self) -> SharedSettings {
        self.app.settings.clone()
    }

    /// Also tells metrics by the names of another server.
    #[must_use]
    pub fn compatible(self, with: Compatibility) -> Self {
        self.app.metrics.add_names(with);
        self
    }

    /// Tells a collector of each request. Needs a runtime, on which the exporter runs.
    #[must_use]
    pub fn traced(self, collector: Collector) -> Self {
        let dropped = self.app.metrics.dropped_traces();
        self.app.traces.export(collector, dropped);
        self
    }

    /// Where measured losses are told.
    pub fn losses(&self) -> LossGauges {
        self.app.metrics.losses()
    }

    /// Serves until `stop` comes; then takes no more requests, and ends when those that run have ended or [`Settings::drain`]
    /// is over. What still runs then is cancelled, as its connections are closed. With `tls` all connections are encrypted.
    pub async fn run(
        self,
        listener: TcpListener,
        tls: Option<Tls>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        match tls {
            None => self.serve(connections::plain(listener), stop).await,
            Some(tls) => self.serve(Secure::new(listener, tls)?, stop).await,
        }
    }

    async fn serve(
        self,
        listener: impl Listener<Addr = SocketAddr>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let app = Arc::clone(&self.app);
        let settings = app.settings.clone();
        let (asked, when_asked) = tokio::sync::oneshot::channel();
        let graceful = async move {
            stop.await;
            app.is_draining.store(true, Ordering::Relaxed);
            // Nobody listens any more only when the server has ended by itself.
            let _ = asked.send(());
        };
        let serving =
            axum::serve(listener, router::router(self.app)).with_graceful_shutdown(graceful);
        let deadline = async {
            if when_asked.await.is_ok() {
                tokio::time::sleep(settings.get().drain).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            ended = serving => ended,
            () = deadline => Ok(()),
        }
    }
}
