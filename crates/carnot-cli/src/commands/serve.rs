//! `carnot serve`: engines behind HTTP, until an interrupt or SIGTERM.

mod config;
mod losses;
mod signals;
mod tensors;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use carnot_engine::TextEngine;
use carnot_llm::scheduler::Policy;
use carnot_llm::{CacheSize, EngineOptions};
use carnot_samplers::cores;
use carnot_server::{Compatibility, Keys, Limits, Server, Settings, SharedSettings, Tls};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use crate::cli::{
    LimitArguments, LogArguments, LogFormat, MetricNames, ServeArguments, TlsArguments,
};
use crate::printer::Printer;
use crate::tensors::is_onnx;
use crate::{machine, model_source};

/// Threads that handle connections; engines compute on threads of their own.
const CONNECTION_THREADS: usize = 2;
/// Contexts that keys and values have room for where nothing is said.
const CONTEXTS: usize = 4;

pub fn execute(arguments: &ServeArguments, printer: &Printer) -> anyhow::Result<()> {
    match &arguments.config {
        None => serve(arguments, printer),
        Some(path) => serve(&config::arguments(path, &command_line())?, printer),
    }
}

fn command_line() -> Vec<OsString> {
    std::env::args_os().collect()
}

fn serve(arguments: &ServeArguments, printer: &Printer) -> anyhow::Result<()> {
    listen_to_logs(&arguments.logs);
    let tensors = arguments.models.iter();
    let tensors = tensors.filter(|path| is_onnx(path));
    let tensors = tensors::open(tensors, arguments)?;
    let engines = engines(arguments, tensors.is_empty(), printer)?;
    let settings = settings(&arguments.limits)?;
    let tls = tls(&arguments.encryption)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
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
        let tensor_names = tensors.iter().map(|model| &model.engine.model().name);
        let served: Vec<&str> = names
            .iter()
            .chain(tensor_names)
            .map(String::as_str)
            .collect();
        let served = served.join(", ");
        let server = Server::new(engines, settings).context("starting the engines' threads")?;
        let mut server = server.tensors(tensors, arguments.tensors.model_control)?;
        if let Some(cache) = tensors::results(&arguments.tensors).await? {
            server = server.results(cache);
        }
        if let Some(MetricNames::Vllm) = arguments.metrics_compat {
            server = server.compatible(Compatibility::Vllm);
        }
        if let Some(collector) = &arguments.logs.otlp_endpoint {
            server = server.traced(collector.clone());
        }
        watch_losses(&server, &names, arguments)?;
        reload_on_hangup(server.settings(), arguments.config.clone())?;
        printer.result(&format!(
            "carnot serves {} on {scheme}://{}\n",
            served,
            listener.local_addr()?
        ))?;
        let stop = signals::stop().context("listening for signals")?;
        server.run(listener, tls, stop).await.context("serving")
    })?;
    printer.note("carnot: all requests have ended");
    Ok(())
}

fn listen_to_logs(arguments: &LogArguments) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(arguments.log_level)
        .with_target(false)
        .with_writer(std::io::stderr);
    match arguments.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// Where the machine's ceilings are known and one model runs, its losses are measured now and then.
fn watch_losses(
    server: &Server,
    names: &[String],
    arguments: &ServeArguments,
) -> anyhow::Result<()> {
    let threads = arguments.compute.threads;
    let threads = threads.map_or_else(cores::usable, usize::from);
    let [name] = names else {
        tracing::info!("losses are measured only where one model is served");
        return Ok(());
    };
    let Some(machine) = machine::known(threads) else {
        tracing::info!(
            threads,
            "losses are not measured: run `carnot machine` once"
        );
        return Ok(());
    };
    let watching = losses::watch(server.losses(), name.clone(), machine, threads);
    watching.context("starting the thread that measures losses")
}

/// At SIGHUP the limits and keys of the configuration are read again; what is wrong with it is logged and changes nothing.
fn reload_on_hangup(settings: SharedSettings, config: Option<PathBuf>) -> anyhow::Result<()> {
    let reload = move || {
        let Some(path) = &config else {
            return tracing::warn!("SIGHUP: there is no --config to be read again");
        };
        let read = config::arguments(path, &command_line());
        match read.and_then(|arguments| self::settings(&arguments.limits)) {
            Ok(read) => {
                settings.replace(read);
                tracing::info!(config = %path.display(), "limits and keys are read again");
            }
            Err(error) => tracing::error!("limits and keys stay as they were: {error:#}"),
        }
    };
    signals::on_hangup(reload).context("listening for SIGHUP")
}

/// The text models; the embedded one where no model is given at all.
fn engines(
    arguments: &ServeArguments,
    is_default: bool,
    printer: &Printer,
) -> anyhow::Result<Vec<Box<dyn TextEngine + Send>>> {
    let (options, _) = model_source::options(&arguments.compute, arguments.context, printer);
    let scheduling = &arguments.scheduling;
    let draft_model = scheduling.draft_model.as_deref();
    let draft_model = draft_model
        .map(|path| model_source::open(Some(path)))
        .transpose()?;
    let options = EngineOptions {
        cache: match (arguments.cache_memory, arguments.cache_tokens) {
            (Some(bytes), _) => CacheSize::Bytes(bytes),
            (None, tokens) => CacheSize::Tokens(tokens.unwrap_or(CONTEXTS * arguments.context)),
        },
        draft_model,
        policy: Policy {
            max_running: scheduling.parallel,
            step_target: scheduling.inter_token_ms.map(Duration::from_millis),
            draft_tokens: scheduling.draft_tokens,
            prefix_cache: !scheduling.no_prefix_cache,
            ..Policy::default()
        },
        ..options
    };
    let paths = arguments.models.iter().map(PathBuf::as_path);
    let paths = paths.filter(|path| !is_onnx(path));
    let mut paths: Vec<Option<&Path>> = paths.map(Some).collect();
    if paths.is_empty() && is_default {
        paths.push(None);
    }
    let load = |path| {
        let engine = model_source::load_with(path, &options, printer)?;
        Ok(Box::new(engine) as Box<dyn TextEngine + Send>)
    };
    paths.into_iter().map(load).collect()
}

fn tls(arguments: &TlsArguments) -> anyhow::Result<Option<Tls>> {
    let (Some(certificate), Some(key)) = (&arguments.tls_cert, &arguments.tls_key) else {
        return Ok(None);
    };
    let read = |path: &Path| fs::read(path).with_context(|| format!("{}", path.display()));
    let tls = Tls::from_pem(&read(certificate)?, &read(key)?);
    tls.map(Some)
        .with_context(|| format!("{} and {}", certificate.display(), key.display()))
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
            queue_time: arguments.queue_seconds,
            tenant_requests: arguments.max_per_key,
            tenant_tokens_per_minute: arguments.tokens_per_minute,
            request_time: Duration::from_secs(arguments.request_seconds),
            body_bytes: arguments.max_body,
            ..Limits::default()
        },
        keys: Keys::new(keys.collect::<anyhow::Result<Vec<_>>>()?),
        drain: Duration::from_secs(arguments.drain_seconds),
    })
}
