//! `carnot serve`: engines behind HTTP, until an interrupt or SIGTERM.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use carnot_engine::TextEngine;
use carnot_llm::EngineOptions;
use carnot_llm::scheduler::Policy;
use carnot_server::{Keys, Limits, Server, Settings};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use crate::cli::{LimitArguments, ServeArguments};
use crate::printer::Printer;
use crate::{interrupt, model_source};

/// Threads that handle connections; engines compute on threads of their own.
const CONNECTION_THREADS: usize = 2;
/// Contexts that keys and values have room for where nothing is said.
const CONTEXTS: usize = 4;
/// How often it is looked whether the server should end.
const LOOK: Duration = Duration::from_millis(50);

pub fn execute(arguments: &ServeArguments, printer: &Printer) -> anyhow::Result<()> {
    let engines = engines(arguments, printer)?;
    let settings = settings(&arguments.limits)?;
    interrupt::listen();
    let runtime = Builder::new_multi_thread()
        .worker_threads(CONNECTION_THREADS)
        .enable_all()
        .build()
        .context("starting the threads for connections")?;
    runtime.block_on(async {
        let address = (arguments.host.as_str(), arguments.port);
        let listener = TcpListener::bind(address).await;
        let listener = listener
            .with_context(|| format!("listening on {}:{}", arguments.host, arguments.port))?;
        let names: Vec<String> = engines
            .iter()
            .map(|engine| engine.model().name.clone())
            .collect();
        let server = Server::new(engines, settings).context("starting the engines' threads")?;
        printer.result(&format!(
            "carnot serves {} on http://{}\n",
            names.join(", "),
            listener.local_addr()?
        ))?;
        let stop = async {
            while !interrupt::asked() {
                tokio::time::sleep(LOOK).await;
            }
        };
        server.run(listener, stop).await.context("serving")
    })?;
    printer.note("carnot: all requests have ended");
    Ok(())
}

fn engines(
    arguments: &ServeArguments,
    printer: &Printer,
) -> anyhow::Result<Vec<Box<dyn TextEngine + Send>>> {
    let (options, _) = model_source::options(
        arguments.threads,
        arguments.context,
        arguments.instruction_set,
        printer,
    );
    let scheduling = &arguments.scheduling;
    let options = EngineOptions {
        cache_tokens: Some(
            arguments
                .cache_tokens
                .unwrap_or(CONTEXTS * arguments.context),
        ),
        policy: Policy {
            max_running: scheduling.parallel,
            step_target: scheduling.inter_token_ms.map(Duration::from_millis),
            draft_tokens: scheduling.draft_tokens,
            prefix_cache: !scheduling.no_prefix_cache,
            ..Policy::default()
        },
        ..options
    };
    let paths = arguments.models.iter().map(PathBuf::as_path).map(Some);
    let paths: Vec<Option<&Path>> = if arguments.models.is_empty() {
        vec![None]
    } else {
        paths.collect()
    };
    let load = |path| {
        let engine = model_source::load_with(path, &options, printer)?;
        Ok(Box::new(engine) as Box<dyn TextEngine + Send>)
    };
    paths.into_iter().map(load).collect()
}

fn settings(arguments: &LimitArguments) -> anyhow::Result<Settings> {
    let keys = arguments.api_keys.iter().map(|given| {
        let (tenant, key) = given.split_once(':').unwrap_or((given, given));
        anyhow::ensure!(
            !key.is_empty(),
            "--api-key: expected KEY or TENANT:KEY, got an empty key"
        );
        Ok((key.to_owned(), tenant.to_owned()))
    });
    Ok(Settings {
        limits: Limits {
            queued_requests: arguments.max_queue,
            queued_tokens: arguments.max_queue_tokens,
            queue_time: Duration::from_secs(arguments.queue_seconds),
            tenant_requests: arguments.max_per_key,
            request_time: Duration::from_secs(arguments.request_seconds),
            body_bytes: arguments.max_body,
            ..Limits::default()
        },
        keys: Keys::new(keys.collect::<anyhow::Result<Vec<_>>>()?),
        drain: Duration::from_secs(arguments.drain_seconds),
    })
}
