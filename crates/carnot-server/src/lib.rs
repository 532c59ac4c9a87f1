//! Engines behind HTTP.
//!
//! ```text
//! client ─ router ─ auth ─ openai ─ admission ─▶ engine_thread ─▶ TextEngine::step
//!    ▲                       │                       │
//!    └──── JSON or SSE ◀─────┴── bounded channel ◀───┘
//! ```
//!
//! ```text
//! router         which path leads where, and which are open to everybody
//! auth           keys, and the tenants behind them
//! openai         the wire format: chats, completions, models
//! admission      who is let in, who is told to come back and when
//! engine_thread  owns an engine: commands in, updates out, step after step
//! metrics        what is counted, and its exposition
//! recent         quantiles of the last thousand, for people
//! requests       what is under way, and how to end it
//! page           the live page
//! error          every failure that a client can see, as one table
//! ```
//!
//! No concrete engine is named here: the server drives [`carnot_engine::TextEngine`].

mod admission;
mod auth;
mod engine_thread;
mod error;
mod health;
mod metrics;
mod openai;
mod page;
mod recent;
mod requests;
mod router;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use carnot_engine::TextEngine;
use tokio::net::TcpListener;

pub use admission::Limits;
pub use auth::Keys;
pub use error::{CODES, ErrorCode};
pub use router::ROUTES;

use engine_thread::EngineHandle;
use metrics::Metrics;

/// How a server is set up.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Who is let in, and how much of it.
    pub limits: Limits,
    /// Who may ask; everybody where there are none.
    pub keys: Keys,
    /// How long running requests may take to end after the server was asked to.
    pub drain: Duration,
}

/// Everything that a request handler sees.
pub(crate) struct App {
    engines: Vec<EngineHandle>,
    settings: Settings,
    metrics: Metrics,
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
        let engines = engines
            .into_iter()
            .map(|engine| EngineHandle::start(engine, settings.limits.clone(), &metrics))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            app: Arc::new(App {
                engines,
                settings,
                metrics,
                is_draining: AtomicBool::new(false),
                started: openai::unix_seconds(),
            }),
        })
    }

    /// Serves until `stop` comes; then takes no more requests, and ends when those that run have ended or [`Settings::drain`]
    /// is over. What still runs then is cancelled, as its connections are closed.
    pub async fn run(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let app = Arc::clone(&self.app);
        let drain = app.settings.drain;
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
                tokio::time::sleep(drain).await;
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
