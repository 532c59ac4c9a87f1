//! What can be measured, and how.

use std::path::PathBuf;
use std::time::Duration;

use carnot_bench::load::{MetricsPage, Target, TensorShape};
use clap::{Args, Subcommand, ValueEnum};

use super::memory_profile::MemoryProfileArguments;
use super::stress::StressArguments;
use super::{
    Format, ModelArguments, TensorArguments, not_negative, percent, positive, rate, seconds,
    seconds_or_none,
};

/// What `carnot bench` takes.
#[derive(Debug, Args)]
pub struct BenchArguments {
    #[command(subcommand)]
    pub suite: Suite,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub enum Suite {
    /// A model in this process: load, prefill, decode, latencies, and where the time went
    Inference(InferenceArguments),
    /// A model in this process with more and more sequences at once, and what limits their number
    Concurrent(ConcurrentArguments),
    /// The prefix cache of a model in this process: hits, misses, what they cost, and how large it would have to be
    Cache(CacheArguments),
    /// Memory of a model in this process: whose it is, what a token and what a request add
    Memory(MemoryArguments),
    /// Functions of a model that runs in this process, by the processor time that they take
    Cpu(CpuArguments),
    /// The first four, one after another
    All(AllArguments),
    /// A server that speaks OpenAI's interface, ours or not
    Serve(Box<ServeLoadArguments>),
    /// A server under clients that leave, do not read, and send what is no request
    Stress(StressArguments),
    /// Whether memory comes back when a model is unloaded, again and again
    MemoryProfile(MemoryProfileArguments),
}

/// What suites that run a model in this process have in common.
#[derive(Debug, Args)]
pub struct WorkloadArguments {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Text to continue [default: a built-in one of 128 tokens]
    #[arg(short, long)]
    pub prompt: Option<String>,
    /// Length of the built-in prompt
    #[arg(long, conflicts_with = "prompt", value_name = "N", value_parser = positive)]
    pub prompt_tokens: Option<usize>,
    /// Tokens to generate; end-of-text tokens are ignored
    #[arg(short = 'n', long, default_value_t = 64, value_parser = positive)]
    pub tokens: usize,
}

/// Where what was measured goes.
#[derive(Debug, Args)]
pub struct ResultArguments {
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// Directory for the files: the record, a table of its values, a summary, and a page of all records there
    #[arg(short, long, value_name = "DIRECTORY", env = "CARNOT_BENCH_OUTPUT")]
    pub output: Option<PathBuf>,
}

/// Whether stacks are looked at, besides.
#[derive(Debug, Args)]
pub struct StackArguments {
    /// Look at stacks too, after what counts, for files in DIRECTORY/flamegraphs: flame graph, pprof, hotspots; of `inference` also the trace of a request
    #[arg(long, requires = "output")]
    pub profile: bool,
}

/// What `carnot bench inference` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carnot bench inference
  carnot bench inference model.gguf --prompt-tokens 512 --tokens 128 --iterations 20 --output benchmark_results
  carnot bench inference model.onnx --inputs image:8x3x224x224 --iterations 50
  carnot compare --a './old bench inference --format json' --b './new bench inference --format json'")]
pub struct InferenceArguments {
    #[command(flatten)]
    pub workload: WorkloadArguments,
    /// Requests that count
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = positive)]
    pub iterations: usize,
    /// Requests before that do not count [default: until the times of three in a row are within 10 %, 10 at most]
    #[arg(long, value_name = "N")]
    pub warmup: Option<usize>,
    #[command(flatten)]
    pub stacks: StackArguments,
    #[command(flatten)]
    pub result: ResultArguments,
    #[command(flatten)]
    pub tensors: TensorArguments,
}

/// What `carnot bench concurrent` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carnot bench concurrent
  carnot bench concurrent model.gguf --clients 1,2,4,8 --requests 4")]
pub struct ConcurrentArguments {
    #[command(flatten)]
    pub workload: WorkloadArguments,
    /// How many clients ask at once, one after another
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_value = "1,2,4,8,16,32", value_parser = positive)]
    pub clients: Vec<usize>,
    /// Requests of each client that count
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = positive)]
    pub requests: usize,
    #[command(flatten)]
    pub stacks: StackArguments,
    #[command(flatten)]
    pub result: ResultArguments,
}

/// What `carnot bench cache` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carnot bench cache
  carnot bench cache model.gguf --prefixes 64 --prefix-tokens 512 --cache-tokens 16384")]
pub struct CacheArguments {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Beginnings that prompts share, such as system prompts
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = positive)]
    pub prefixes: usize,
    /// Tokens of each
    #[arg(long, value_name = "N", default_value_t = 192, value_parser = positive)]
    pub prefix_tokens: usize,
    /// Tokens after it, different in each prompt
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = positive)]
    pub own_tokens: usize,
    /// Tokens to generate
    #[arg(short = 'n', long, value_name = "N", default_value_t = 4, value_parser = positive)]
    pub tokens: usize,
    /// Requests, one after another
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = positive)]
    pub requests: usize,
    /// How much more often some are asked for: the k-th by 1/k to this power (Zipf)
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = not_negative)]
    pub skew: f64,
    /// Tokens that the cache has room for [default: those of half of the prefixes]
    #[arg(long, value_name = "TOKENS", value_parser = positive)]
    pub cache_tokens: Option<usize>,
    /// The same seed gives the same prompts
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub result: ResultArguments,
}

/// What `carnot bench memory` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carnot bench memory
  carnot bench memory model.gguf --prompt-tokens 2048 --requests 50")]
pub struct MemoryArguments {
    #[command(flatten)]
    pub workload: WorkloadArguments,
    /// Requests, one after another
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = positive)]
    pub requests: usize,
    #[command(flatten)]
    pub stacks: StackArguments,
    #[command(flatten)]
    pub result: ResultArguments,
}

/// What `carnot bench cpu` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carnot bench cpu
  carnot bench cpu model.gguf --prompt-tokens 512 --duration 30 --output benchmark_results
  go tool pprof -top benchmark_results/flamegraphs/cpu_profile.pb.gz

Linux on x86-64. Nothing has to be built in another way; the program's own tables of lines name its functions.")]
pub struct CpuArguments {
    #[command(flatten)]
    pub workload: WorkloadArguments,
    /// For how long requests are run
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub duration: Duration,
    /// Samples a second of each thread that runs; at most 10000
    #[arg(long, value_name = "HZ", default_value_t = carnot_sampling::cpu::RATE, value_parser = rate)]
    pub frequency: f64,
    #[command(flatten)]
    pub result: ResultArguments,
}

/// What `carnot bench all` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carnot bench all --output benchmark_results
  carnot bench all model.gguf")]
pub struct AllArguments {
    /// GGUF file, safetensors file, or directory with config.json; the embedded model if none is given
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub result: ResultArguments,
}

/// What `carnot bench serve` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carnot bench serve --rate 4 --duration 60 --tokens 64
  carnot bench serve --rate 1,2,4,8 --output benchmark_results
  carnot bench serve --search --slo-first-ms 500 --duration 20
  carnot bench serve --clients 16 --url http://127.0.0.1:8000 --model other --chat --as vllm
  carnot bench serve --rate 1 --turns 4 --think 2 --chat
  carnot bench serve --rate 4 --server-metrics --output benchmark_results
  carnot bench serve --protocol oip --model resnet --shape input:8,3,224,224 --rate 20
  carnot bench serve --replay mooncake.jsonl --speed 2 --raw answers.jsonl

Latencies count from when a request was due, not from when it was sent. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 void: the client was the limit.")]
pub struct ServeLoadArguments {
    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = Target::parse)]
    pub url: Target,
    /// The model's name, where the server has several
    #[arg(long)]
    pub model: Option<String>,
    /// What opens the server
    #[arg(
        long,
        value_name = "KEY",
        env = "CARNOT_API_KEY",
        hide_env_values = true
    )]
    pub api_key: Option<String>,
    /// What the server speaks: OpenAI's interface, or the Open Inference Protocol (version 2 of KServe's), which takes tensors
    #[arg(long, value_enum, default_value_t = InterfaceArgument::Openai)]
    pub protocol: InterfaceArgument,
    /// Ask for chats instead of completions
    #[arg(long)]
    pub chat: bool,
    #[command(flatten)]
    pub arrivals: ArrivalArguments,
    #[command(flatten)]
    pub requests: RequestArguments,
    #[command(flatten)]
    pub objectives: ObjectiveArguments,
    /// Beside the load, a request for one token twice a second: what others feel of it
    #[arg(long)]
    pub probe_stream: bool,
    /// Scrape the server's own metrics once a second, and keep them on the time axis of the load [default: /metrics of --url]
    #[arg(long, value_name = "URL", num_args = 0..=1, value_parser = MetricsPage::parse)]
    #[expect(clippy::option_option, reason = "a flag whose value may be left out")]
    pub server_metrics: Option<Option<MetricsPage>>,
    /// Keep the times of each request in a file, an object a line
    #[arg(long, value_name = "FILE")]
    pub raw: Option<PathBuf>,
    /// Keep latencies as a log of HDR histograms, in nanoseconds: one a second of each of three series
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
    /// Ask nobody: read the times of an earlier run from its --raw file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["raw", "search", "probe_stream", "replay", "server_metrics"])]
    pub from: Option<PathBuf>,
    /// Print the figures that another tool would have, by its names and definitions
    #[arg(long = "as", value_name = "TOOL", conflicts_with = "search")]
    pub view: Option<ViewArgument>,
    #[command(flatten)]
    pub result: ResultArguments,
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InterfaceArgument {
    /// Text: `/v1/completions`, or `/v1/chat/completions`
    Openai,
    /// Tensors: `/v2/models/MODEL/infer`
    Oip,
}

/// When requests come.
#[derive(Debug, Args)]
#[command(next_help_heading = "When requests come")]
pub struct ArrivalArguments {
    /// Requests a second, whatever became of those before; several rates are run one after another
    #[arg(long, value_name = "N,…", conflicts_with = "clients", value_delimiter = ',', value_parser = rate)]
    pub rate: Vec<f64>,
    /// How uneven they come: 0 evenly, 1 as from many people (Poisson), more in bursts
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = not_negative)]
    pub burstiness: f64,
    /// Let the rate grow up to this, evenly over the duration
    #[arg(long, value_name = "N", requires = "rate", conflicts_with_all = ["search", "replay"], value_parser = rate)]
    pub ramp_to: Option<f64>,
    /// Without a rate: clients, each of which asks again when it is answered; several numbers are run one after another
    #[arg(long, value_name = "N,…", default_value = "16", value_delimiter = ',', value_parser = positive)]
    pub clients: Vec<usize>,
    /// Requests of a trace, when they came: our CSV, Mooncake's JSON lines, or the CSV of `BurstGPT`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rate", "clients", "dataset", "search"])]
    pub replay: Option<PathBuf>,
    /// Play the trace so many times as fast
    #[arg(long, value_name = "X", default_value_t = 1.0, requires = "replay", value_parser = rate)]
    pub speed: f64,
    /// Look for the highest rate at which the objectives hold; begins at --rate, or 1
    #[arg(long, conflicts_with = "clients")]
    pub search: bool,
    /// For how long requests come, at each rate; a trace is cut there [default: 30, of a trace all]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,
    /// The same seed gives the same prompts at the same times
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// What requests ask.
#[derive(Debug, Args)]
#[command(next_help_heading = "What they ask")]
pub struct RequestArguments {
    /// Words of a prompt
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive)]
    pub prompt_words: usize,
    /// Words of them that are the same in all prompts
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shared_words: usize,
    /// Prompts instead of words: a file with an object a line, with `prompt`, or with `turns`, what a user says one after another; of tensors, bodies that are sent as they are
    #[arg(long, value_name = "FILE")]
    pub dataset: Option<PathBuf>,
    /// Sizes of an input of tensors, all of them, where the model leaves some open; several times for several inputs
    #[arg(long, value_name = "NAME:N,…", conflicts_with = "dataset", value_parser = TensorShape::parse)]
    pub shape: Vec<TensorShape>,
    /// Tokens that each request asks for
    #[arg(short = 'n', long, value_name = "N", default_value_t = 64, value_parser = positive)]
    pub tokens: usize,
    /// Turns of a conversation: each request is the first of so many, and each next one has all that was said before, and new words
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with_all = ["replay", "dataset"], value_parser = positive)]
    pub turns: usize,
    /// From an answer to when the next turn is due
    #[arg(long, value_name = "SECONDS", default_value = "0", conflicts_with = "replay", value_parser = seconds_or_none)]
    pub think: Duration,
    /// How much lengths of prompts and answers vary: their standard deviation over their mean (gamma distributed)
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = not_negative)]
    pub spread: f64,
}

/// What a good request keeps.
#[derive(Debug, Args)]
#[command(next_help_heading = "Objectives")]
pub struct ObjectiveArguments {
    /// A good request has its first text in so many milliseconds from when it was due
    #[arg(long = "slo-first-ms", value_name = "MS", value_parser = not_negative)]
    pub first_ms: Option<f64>,
    /// A good request takes so many milliseconds a token after the first, on average
    #[arg(long = "slo-token-ms", value_name = "MS", value_parser = not_negative)]
    pub token_ms: Option<f64>,
    /// A good request ends in so many milliseconds from when it was due
    #[arg(long = "slo-whole-ms", value_name = "MS", value_parser = not_negative)]
    pub whole_ms: Option<f64>,
    /// A rate holds if so many percent of those that were due were good, and waiting did not grow
    #[arg(long = "slo-share", value_name = "PERCENT", default_value_t = 99.0, value_parser = percent)]
    pub share: f64,
}

/// Whose figures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ViewArgument {
    /// vLLM's `bench serve`
    Vllm,
    /// `AIPerf` of NVIDIA
    Aiperf,
    /// `GuideLLM`
    Guidellm,
    /// `LLMPerf`
    Llmperf,
}
