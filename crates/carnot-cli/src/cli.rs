//! What a user can type. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 inconclusive.

mod baseline;
mod bench;
mod compare;
mod history;
mod memory_profile;
mod metrics;
mod monitor;
mod pipeline;
mod stress;
mod tensor_serving;
mod tensors;

use std::path::PathBuf;
use std::time::Duration;

use carnot_formats::BlockType;
use carnot_kernels::{InstructionSet, KvType};
use carnot_samplers::cores;
use carnot_server::Collector;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

pub use baseline::{Backend, BaselineArguments};
pub use bench::{
    AllArguments, BenchArguments, CacheArguments, ConcurrentArguments, CpuArguments,
    InferenceArguments, InterfaceArgument, MemoryArguments, ResultArguments, ServeLoadArguments,
    Suite, ViewArgument, WorkloadArguments,
};
pub use compare::CompareArguments;
pub use history::{HistoryAction, HistoryArguments};
pub use memory_profile::MemoryProfileArguments;
pub use metrics::{
    ExportArguments, MetricsAction, MetricsArguments, MetricsFormat, SnapshotArguments,
    WatchedServer,
};
pub use monitor::{MonitorArguments, SampleFormat};
pub use pipeline::{
    MergeArguments, OpenArguments, PipelineFile, ProfileAction, ReportArguments, ReportForm,
    TemplateArgument, VersusArguments, ViewArguments,
};
pub use stress::StressArguments;
pub use tensor_serving::TensorServing;
pub use tensors::{EngineArgument, TensorArguments};

/// Run, serve and profile model inference, and see beside every figure the limit of the machine and where the rest went.
#[derive(Debug, Parser)]
#[command(
    name = "carnot",
    version,
    max_term_width = 100,
    propagate_version = true
)]
#[command(after_help = "Try `carnot profile`: with no model named, the embedded one runs.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Continue a prompt, or answer a message, and stream the text
    Run(RunArguments),
    /// Serve models over HTTP, with the interface that OpenAI's clients speak
    Serve(Box<ServeArguments>),
    /// Run a model and see where every millisecond went, beside what the machine allows; or look at what a pipeline recorded
    Profile(Box<ProfileArguments>),
    /// Measure what this machine allows: bandwidth, arithmetic, caches, the cost of a barrier and of a span
    Machine(MachineArguments),
    /// Score a text: perplexity, bits per byte, divergence from a base run
    Perplexity(PerplexityArguments),
    /// Write a model of real shape with random weights, for sizing and benchmarks
    Synth(SynthArguments),
    /// Measure a model or a server again and again, beside what the machine allows
    Bench(BenchArguments),
    /// Watch a machine, a process and a server at work
    Monitor(MonitorArguments),
    /// Write the metrics of a server or of this machine
    Metrics(MetricsArguments),
    /// Run two commands in turns until it is certain which is better, or that it does not matter; or compare two files
    Compare(CompareArguments),
    /// Write down what this machine does today, held to targets
    Baseline(BaselineArguments),
    /// Keep what was measured, and see where it changed over time
    History(HistoryArguments),
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// What a model runs on.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Machine")]
pub struct ComputeArguments {
    /// Worker threads, of each model [default: the cores that this process may use]
    #[arg(short, long, env = "CARNOT_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// How keys and values are stored: `f16`, or `q8_0` in little more than half the memory
    #[arg(long, env = "CARNOT_KV_TYPE", value_name = "TYPE", default_value = "f16", value_parser = kv_type)]
    pub kv_type: KvType,
    /// Force the kernels of an instruction set: scalar, avx2, avx-vnni, avx-512-vnni [default: the best]
    #[arg(long, env = "CARNOT_INSTRUCTION_SET", value_name = "SET")]
    pub instruction_set: Option<InstructionSet>,
}

impl ComputeArguments {
    /// The threads that are asked for, or the cores that this process may use.
    pub fn threads(&self) -> usize {
        self.threads.map_or_else(cores::usable, usize::from)
    }
}

/// The model, and what it runs on.
#[derive(Debug, Args)]
pub struct ModelArguments {
    /// GGUF file, safetensors file, directory with config.json, or for `profile` and `bench inference` ONNX file; the embedded model if none is given
    pub model: Option<PathBuf>,

    /// Most tokens of prompt and continuation together, at most the model's own limit
    #[arg(long, env = "CARNOT_CONTEXT", default_value_t = 8192, value_parser = positive)]
    pub context: usize,
    #[command(flatten)]
    pub compute: ComputeArguments,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carnot serve
  carnot serve model.gguf --port 9000 --cache-tokens 65536
  carnot serve classifier.onnx --max-batch 32
  curl localhost:8080/v1/completions -d '{\"prompt\": \"def fibonacci(n):\", \"max_tokens\": 32}'")]
pub struct ServeArguments {
    /// GGUF files, safetensors files, directories with config.json, or ONNX files; the embedded model if none is given
    pub models: Vec<PathBuf>,

    /// Address to listen on; 0.0.0.0 for all
    #[arg(long, env = "CARNOT_HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen on; 0 for any that is free
    #[arg(long, env = "CARNOT_PORT", default_value_t = 8080)]
    pub port: u16,
    /// Most tokens of a sequence, at most the model's own limit
    #[arg(long, env = "CARNOT_CONTEXT", default_value_t = 8192, value_parser = positive)]
    pub context: usize,
    /// Tokens that keys and values have room for, all sequences and kept prefixes together [default: four contexts]
    #[arg(long, value_name = "TOKENS", value_parser = positive)]
    pub cache_tokens: Option<usize>,
    /// Bytes that they may take instead, such as 4GiB or 500MB
    #[arg(long, value_name = "SIZE", value_parser = bytes, conflicts_with = "cache_tokens")]
    pub cache_memory: Option<u64>,
    #[command(flatten)]
    pub compute: ComputeArguments,

    /// TOML file of what else flags say, such as `port = 9000`; flags and environment go before it, and SIGHUP reads its limits and keys again
    #[arg(long, env = "CARNOT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Also tell metrics by the names of another server
    #[arg(long, value_name = "SERVER")]
    pub metrics_compat: Option<MetricNames>,

    #[command(flatten)]
    pub scheduling: SchedulingArguments,
    #[command(flatten)]
    pub tensors: TensorServing,
    #[command(flatten)]
    pub limits: LimitArguments,
    #[command(flatten)]
    pub encryption: TlsArguments,
    #[command(flatten)]
    pub logs: LogArguments,
}

/// What connections are encrypted with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Encryption")]
pub struct TlsArguments {
    /// PEM file of the certificate, and of those that vouch for it; encrypts all connections
    #[arg(
        long,
        env = "CARNOT_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(
        long,
        env = "CARNOT_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
}

/// Whose names of metrics are told beside our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetricNames {
    /// Those that gateways and dashboards read
    Vllm,
}

/// What is logged to standard error.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logs and traces")]
pub struct LogArguments {
    /// The least that is logged: off, error, warn, info (each response and its tokens and times), debug
    #[arg(long, env = "CARNOT_LOG", value_name = "LEVEL", default_value = "info")]
    pub log_level: LevelFilter,
    /// How it is written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Tell an OpenTelemetry collector of each request, by OTLP over HTTP, such as `http://127.0.0.1:4318`
    #[arg(long, value_name = "URL", value_parser = Collector::parse)]
    pub otlp_endpoint: Option<Collector>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// An object a line
    Json,
}

/// Which requests run, and for how long at a time.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scheduling")]
pub struct SchedulingArguments {
    /// Most sequences that run at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = positive)]
    pub parallel: usize,
    /// What running sequences may wait for their next token while prompts come in [default: 1.75 times what they and those who wait to join them, but one, would wait alone]
    #[arg(long, value_name = "MS")]
    pub inter_token_ms: Option<u64>,
    /// Most tokens that are guessed ahead from what was said before, while that is measured to pay; the text stays the same
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub draft_tokens: usize,
    /// A smaller model with the same vocabulary, which guesses ahead instead
    #[arg(long, env = "CARNOT_DRAFT_MODEL", value_name = "FILE")]
    pub draft_model: Option<PathBuf>,
    /// Do not keep prefixes for later requests
    #[arg(long)]
    pub no_prefix_cache: bool,
}

/// Who is let in, and how much of it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArguments {
    /// A key that opens the server, TENANT:KEY or KEY; may be given several times [default: open to everybody]
    #[arg(
        long = "api-key",
        value_name = "KEY",
        env = "CARNOT_API_KEYS",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub api_keys: Vec<String>,
    /// Most requests that wait for a place
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = positive)]
    pub max_queue: usize,
    /// Most prompt tokens that wait for a place
    #[arg(long, value_name = "N", default_value_t = 262_144, value_parser = positive)]
    pub max_queue_tokens: usize,
    /// How long a request may wait for a place; one that would wait longer is refused at once
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub queue_seconds: Duration,
    /// How long a request may take in all
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub request_seconds: u64,
    /// Most requests of one key that wait or run
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = positive)]
    pub max_per_key: usize,
    /// Most tokens of one key in a minute, of prompts and generated [default: any number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub tokens_per_minute: Option<u64>,
    /// Largest body of a request
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20, value_parser = positive)]
    pub max_body: usize,
    /// How long requests may take to end after the server was asked to
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub drain_seconds: u64,
}

/// How tokens are chosen.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArguments {
    /// Divides the logits; 0 always takes the most likely token
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub temperature: f32,
    /// Keep only the K most likely tokens; 0 keeps all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Keep the most likely tokens that together reach this probability
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f32,
    /// Keep tokens at least this times as likely as the most likely one
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub min_p: f32,
    /// Divides (or multiplies, if negative) the logits of tokens that were seen
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub repetition_penalty: f32,
    /// Subtracted from a token's logit for every time it was generated
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit once if it was generated
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    pub presence_penalty: f32,
    /// The same seed gives the same text
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carnot run -p 'def fibonacci(n):' --tokens 64
  carnot run model.gguf --chat 'What is entropy?' --temperature 0.7 --top-p 0.9
  echo 'import os' | carnot run model.gguf")]
pub struct RunArguments {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Text to continue; `-` or nothing reads standard input when it is not a terminal
    #[arg(short, long, conflicts_with = "chat")]
    pub prompt: Option<String>,
    /// A user's message, put into the model's chat template
    #[arg(long, value_name = "MESSAGE")]
    pub chat: Option<String>,
    /// A system message before the user's
    #[arg(
        long,
        requires = "chat",
        conflicts_with = "prompt",
        value_name = "MESSAGE"
    )]
    pub system: Option<String>,
    /// Most tokens to generate
    #[arg(short = 'n', long, default_value_t = 256)]
    pub tokens: usize,
    /// Ends the text; may be given more than once
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Go on past the model's end-of-text token
    #[arg(long)]
    pub ignore_eos: bool,
    #[command(flatten)]
    pub sampling: SamplingArguments,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carnot profile
  carnot profile model.gguf --prompt-tokens 512 --tokens 128 --repeat 3
  carnot profile model.onnx --inputs image:8x3x224x224 --iterations 50
  carnot profile model.gguf --format json | jq '.losses[] | select(.share > 0.1)'
  carnot profile --emit html,perfetto,pprof && go tool pprof -top carnot-out/profile.pb.gz")]
#[command(args_conflicts_with_subcommands = true)]
pub struct ProfileArguments {
    #[command(subcommand)]
    pub action: Option<ProfileAction>,
    #[command(flatten)]
    pub model: ModelArguments,
    /// Text to continue [default: a built-in one of 128 tokens]
    #[arg(short, long)]
    pub prompt: Option<String>,
    /// Length of the built-in prompt
    #[arg(long, conflicts_with = "prompt", value_name = "N", value_parser = positive)]
    pub prompt_tokens: Option<usize>,
    /// Tokens to generate [default: 256]; end-of-text tokens are ignored
    #[arg(short = 'n', long, value_parser = positive)]
    pub tokens: Option<usize>,
    /// Runs that are recorded [default: 1; of ONNX models 20]
    #[arg(long, visible_alias = "iterations", value_name = "N", value_parser = positive)]
    pub repeat: Option<usize>,
    /// Runs before, not recorded [default: 1; of ONNX models 3]
    #[arg(long, value_name = "N")]
    pub warmup: Option<usize>,
    /// Directory for the files
    #[arg(short, long, default_value = "carnot-out", env = "CARNOT_OUTPUT")]
    pub output: PathBuf,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Files to write: html, perfetto, chrome, flamegraph, collapsed, pprof, speedscope, csv, markdown, json, text, trace; or none
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "perfetto,html,flamegraph",
        value_name = "FORMS",
        value_parser = emit
    )]
    pub emit: Vec<Emit>,
    /// Measure the machine again instead of using what is known of it
    #[arg(long)]
    pub refresh: bool,
    #[command(flatten)]
    pub tensors: TensorArguments,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carnot machine
  carnot machine --refresh --format json")]
pub struct MachineArguments {
    /// Measure again
    #[arg(long)]
    pub refresh: bool,
    /// Time every kernel, print the table, and let the fastest run from now on
    #[arg(long)]
    pub kernels: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Also write the profile of the machine to a file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Which tokens are scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProtocolArgument {
    /// Chunks that begin with beginning-of-text, second half scored
    #[default]
    Llamacpp,
    /// Chunks as they come, every next token scored
    Huggingface,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carnot perplexity models/embedded-q8_0.gguf models/text/validation.txt
  carnot perplexity f16.gguf text.txt --save-logits base.logits --chunks 20
  carnot perplexity q4.gguf text.txt --base base.logits --chunks 20

The two protocols give different numbers; compare only like with like.")]
pub struct PerplexityArguments {
    /// GGUF file, safetensors file, or directory with config.json
    pub model: PathBuf,
    /// UTF-8 text to score
    pub file: PathBuf,
    /// Tokens in a chunk
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(8..))]
    pub context: u32,
    /// Most chunks [default: all]
    #[arg(long, value_parser = positive)]
    pub chunks: Option<usize>,
    /// Which tokens are scored
    #[arg(long, value_enum, default_value_t)]
    pub protocol: ProtocolArgument,
    /// Log-probabilities of a base run, to measure the divergence from it
    #[arg(long, value_name = "LOGITS")]
    pub base: Option<PathBuf>,
    /// Write this run's log-probabilities as a base for others (4 bytes × vocabulary a token)
    #[arg(long, value_name = "FILE")]
    pub save_logits: Option<PathBuf>,
    #[command(flatten)]
    pub compute: ComputeArguments,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Architectures that `synth` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArchitectureArgument {
    /// Llama
    Llama,
    /// Qwen2: biases on q, k and v
    Qwen2,
    /// Qwen3: norms on query and key heads
    Qwen3,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carnot synth --preset 1b --type Q4_0 -o 1b-q4_0.gguf && carnot profile 1b-q4_0.gguf
  carnot synth --preset mobilenet-v2 -o mobilenet-v2.onnx && carnot profile mobilenet-v2.onnx")]
pub struct SynthArguments {
    /// Architecture of a model of text [default: llama]
    #[arg(long, value_enum)]
    pub arch: Option<ArchitectureArgument>,
    /// Shape: of text 150m, 0.5b, 1b, 3b, 8b, which become GGUF; of images mobilenet-v2, resnet-50, which become ONNX
    #[arg(long, value_parser = preset)]
    pub preset: Preset,
    /// Type of the matrices of a model of text, such as `Q4_0`, `Q4_K`, `Q8_0`, F16
    #[arg(long = "type", value_name = "TYPE", value_parser = block_type)]
    pub dtype: Option<BlockType>,
    /// Seed of the weights
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// A shape that `synth` writes.
#[derive(Clone, Copy, Debug)]
pub enum Preset {
    Text(carnot_formats::synth::Preset),
    Images(carnot_onnx::Network),
}

/// A form to write, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emit(pub Option<carnot_report::Form>);

fn emit(text: &str) -> Result<Emit, String> {
    use carnot_report::Form;
    if text == "none" {
        return Ok(Emit(None));
    }
    let names = || Form::ALL.map(Form::name).join(", ");
    Form::from_name(text)
        .map(|form| Emit(Some(form)))
        .ok_or_else(|| format!("expected one of {}, none", names()))
}

fn kv_type(text: &str) -> Result<KvType, String> {
    let named = KvType::ALL.into_iter().find(|dtype| dtype.name() == text);
    named.ok_or_else(|| {
        let names = KvType::ALL.map(KvType::name).join(", ");
        format!("expected one of {names}, got {text}")
    })
}

/// A number of bytes, with or without a unit.
fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 7] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    let unit = UNITS
        .iter()
        .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (number, unit) = unit.unwrap_or((text, 1));
    let number: f64 = number
        .trim()
        .parse()
        .map_err(|_| format!("expected a size such as 4GiB, got {text}"))?;
    let size = number * unit as f64;
    if size >= 1.0 && size < u64::MAX as f64 {
        Ok(size as u64)
    } else {
        Err(format!("expected a size above 0, got {text}"))
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (0.001..1e6).contains(number));
    number
        .ok_or_else(|| "expected a number of requests a second from 0.001, such as 2.5".to_owned())
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number: &f64| *number >= 0.0 && number.is_finite());
    number.ok_or_else(|| "expected a number from 0".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (0.01..100.0).contains(number));
    number.ok_or_else(|| "expected a number of percent from 0.01 to 100, such as 2.5".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse().ok().filter(|&number: &f64| number > 0.0);
    let duration = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    duration.ok_or_else(|| "expected a number of seconds above 0, such as 0.5".to_owned())
}

fn seconds_or_none(text: &str) -> Result<Duration, String> {
    let number = text.parse().ok();
    let duration = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    duration.ok_or_else(|| "expected a number of seconds from 0, such as 0.5".to_owned())
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| "expected a whole number from 1".to_owned())
}

fn block_type(text: &str) -> Result<BlockType, String> {
    let names = || BlockType::ALL.map(BlockType::name).join(", ");
    BlockType::from_name(text).ok_or_else(|| format!("expected one of {}", names()))
}

fn preset(text: &str) -> Result<Preset, String> {
    let of_text = carnot_formats::synth::Preset::from_name(text).map(Preset::Text);
    let preset = of_text.or_else(|| carnot_onnx::Network::parse(text).map(Preset::Images));
    preset
        .ok_or_else(|| "expected one of 150m, 0.5b, 1b, 3b, 8b, mobilenet-v2, resnet-50".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
