//! Carnot as `cargo xtask bench` drives it: a line of work in, a line of times out (`benchmarks/METHODOLOGY.md`).
//!
//! ```text
//! bench_driver MODEL [--threads 2] [--cache-tokens N] [--probe]     work from standard input, for example
//!     {"phase": "decode", "tokens": 32, "depth": 4096, "sequences": 1, "warmup": 4, "repeat": 1}
//! bench_driver MODEL --first-token 8 [--threads 2] [--context 512]  load, evaluate a prompt, say how long it took, end
//! ```
//!
//! The first line of output says what was loaded, and each line of work is answered by one. The counterpart is
//! `tools/bench/llama_cpp_driver.py`; both feed the same tokens.
#![expect(clippy::print_stdout, reason = "the answers go to standard output")]

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use carnot_formats::ModelFile;
use carnot_kernels::{Compute, InstructionSet, Layout};
use carnot_llm::{Batch, BatchSpan, BlockPool, BlockTable, Model};
use serde::Deserialize;
use serde_json::{Value, json};

/// Most tokens of one forward pass, in both engines.
const CHUNK: usize = 512;
const BLOCK_TOKENS: usize = carnot_kernels::kv::BLOCK_TOKENS;
/// Recorded events that there is room for, with `--probe`.
const EVENTS: usize = 1 << 20;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let begin = Instant::now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = Options::parse(&arguments).and_then(|options| match options.first_token {
        Some(tokens) => first_token(&options, tokens, begin),
        None => serve(&options, begin),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&json!({ "error": error.to_string() }));
            ExitCode::FAILURE
        }
    }
}

struct Options {
    model: PathBuf,
    threads: usize,
    /// Tokens of all sequences together that the cache has room for.
    cache_tokens: usize,
    context: usize,
    first_token: Option<usize>,
    probe: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            model: PathBuf::new(),
            threads: 2,
            cache_tokens: 1024,
            context: 512,
            first_token: None,
            probe: false,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut number = || -> Result<usize> {
                let text = rest.next().map_or("nothing", String::as_str);
                let wrong = |_| format!("{argument}: expected a whole number, got {text}");
                Ok(text.parse().map_err(wrong)?)
            };
            match argument.as_str() {
                "--threads" => options.threads = number()?,
                "--cache-tokens" => options.cache_tokens = number()?,
                "--context" => options.context = number()?,
                "--first-token" => options.first_token = Some(number()?),
                "--probe" => options.probe = true,
                flag if flag.starts_with("--") => {
                    return Err(format!("{flag}: no such option").into());
                }
                model => options.model = model.into(),
            }
        }
        if options.model.as_os_str().is_empty() {
            return Err("expected a model, got none".into());
        }
        Ok(options)
    }

    fn load(&self, file: Arc<ModelFile>, cache_tokens: usize) -> Result<Driver> {
        let blocks = cache_tokens.div_ceil(BLOCK_TOKENS);
        let compute = Compute::with_instruction_set(self.threads, InstructionSet::best());
        Ok(Driver {
            model: Model::load(file, compute, blocks, |_, _| ())?,
            pool: BlockPool::new(blocks),
            tables: Vec::new(),
            kind: None,
        })
    }
}

/// Loads as an engine does, with the tokenizer, and evaluates a prompt.
fn first_token(options: &Options, tokens: usize, begin: Instant) -> Result<()> {
    let file = Arc::new(ModelFile::open(&options.model)?);
    let tokenizer = file.tokenizer()?;
    let mut driver = options.load(file, options.context)?;
    driver.reserve(tokens, 1)?;
    driver.prefill(0, 0, tokens, true);
    let top = driver.top();
    let seconds = begin.elapsed().as_secs_f64();
    drop(tokenizer);
    say(&json!({ "seconds": seconds, "tokens": tokens, "prepare_seconds": 0.0, "top": top }));
    Ok(())
}

fn serve(options: &Options, begin: Instant) -> Result<()> {
    let file = Arc::new(ModelFile::open(&options.model)?);
    let mut driver = options.load(file, options.cache_tokens)?;
    if options.probe {
        carnot_probe::enable();
        carnot_probe::reserve(EVENTS);
    }
    say(&driver.description(begin.elapsed().as_secs_f64()));
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let work = serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))?;
        say(&driver.measure(&work)?);
        if options.probe {
            carnot_probe::drain();
        }
    }
    Ok(())
}

fn say(answer: &Value) {
    println!("{answer}");
    std::io::stdout()
        .flush()
        .expect("who reads the answers is there");
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Prefill,
    Decode,
}

/// What is asked for. The cache is filled to `depth` once; every measurement of the same work starts from there.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Work {
    phase: Phase,
    /// Of each sequence.
    tokens: usize,
    depth: usize,
    sequences: usize,
    /// Tokens of each sequence that are processed before the clock starts, and forgotten.
    warmup: usize,
    /// How often the timed part is done, from the same depth.
    repeat: usize,
}

struct Driver {
    model: Model,
    pool: BlockPool,
    tables: Vec<BlockTable>,
    kind: Option<Work>,
}

impl Driver {
    /// What runs, and what its work is: `benchmarks/METHODOLOGY.md` says how the limits follow.
    fn description(&self, load_seconds: f64) -> Value {
        let (model, config) = (&self.model, self.model.config());
        let matrices = self.matrices();
        let sum = |int8: bool, is_output: bool| -> u64 {
            let kind = |matrix: &&Matrix| (matrix.int8, matrix.is_output) == (int8, is_output);
            let chosen = matrices.iter().filter(kind);
            chosen.map(|matrix| matrix.operations).sum()
        };
        json!({
            "engine": "Carnot",
            "version": format!("Carnot {}", env!("CARGO_PKG_VERSION")),
            "system": model.compute().instruction_set().to_string(),
            "load_seconds": load_seconds,
            "model": {
                "parameters": model.file().parameters(),
                "bytes": model.file().bytes(),
                "step_bytes": model.weights().step_bytes(),
                "kv_token_bytes": model.kv_token_bytes(),
                "int8_operations": sum(true, false),
                "f32_operations": sum(false, false),
                "output_int8_operations": sum(true, true),
                "output_f32_operations": sum(false, true),
                "attention_operations": 4 * config.layers * config.heads * config.head_dim,
            },
        })
    }

    /// Every matrix that is multiplied with; an embedding is one if it is the output too.
    fn matrices(&self) -> Vec<Matrix> {
        let file = self.model.file();
        let tied = file.optional_tensor("output.weight").is_none();
        let output = if tied {
            "token_embd.weight"
        } else {
            "output.weight"
        };
        let specs = file.config().tensors().filter(|spec| spec.shape.len() == 2);
        let tensors = specs.filter_map(|spec| file.optional_tensor(&spec.name));
        let used =
            tensors.filter(|tensor| tensor.name == output || tensor.name != "token_embd.weight");
        used.map(|tensor| Matrix {
            int8: Layout::of(tensor.dtype).is_integer(),
            is_output: tensor.name == output,
            operations: 2 * tensor.elements() as u64,
        })
        .collect()
    }

    fn measure(&mut self, work: &Work) -> Result<Value> {
        let begin = Instant::now();
        self.prepare(work)?;
        self.run(work, work.warmup);
        let start = Instant::now();
        for _ in 0..work.repeat {
            self.run(work, work.tokens);
        }
        let seconds = start.elapsed().as_secs_f64();
        Ok(json!({
            "seconds": seconds,
            "tokens": work.tokens * work.sequences * work.repeat,
            "prepare_seconds": (start - begin).as_secs_f64(),
            "top": self.top(),
        }))
    }

    /// Fills the cache to the depth, unless the last work was the same. Prefill also runs one whole chunk, so that buffers have their size.
    fn prepare(&mut self, work: &Work) -> Result<()> {
        if self.kind == Some(*work) {
            return Ok(());
        }
        self.kind = None;
        self.reserve(work.depth + work.tokens.max(work.warmup), work.sequences)?;
        for sequence in 0..work.sequences {
            self.prefill(sequence, 0, work.depth, false);
        }
        if work.phase == Phase::Prefill {
            self.run(work, work.tokens.min(CHUNK));
        }
        self.kind = Some(*work);
        Ok(())
    }

    /// Blocks for `tokens` tokens of each sequence; what others held is given back.
    fn reserve(&mut self, tokens: usize, sequences: usize) -> Result<()> {
        self.tables.clear();
        for _ in 0..sequences {
            let mut table = BlockTable::default();
            let grown = table.grow(&self.pool, tokens);
            grown.map_err(|lacking| format!("{lacking} blocks of keys and values are missing"))?;
            self.tables.push(table);
        }
        Ok(())
    }

    /// The work with `tokens` tokens of each sequence, from the depth.
    fn run(&mut self, work: &Work, tokens: usize) {
        let (first, end) = (work.depth, work.depth + tokens);
        match work.phase {
            Phase::Prefill => {
                for sequence in 0..work.sequences {
                    self.prefill(sequence, first, end, true);
                }
            }
            Phase::Decode => (first..end).for_each(|position| self.decode(position)),
        }
    }

    /// The tokens `first..end` of a sequence, in chunks; the logits of the last one if they are wanted.
    fn prefill(&mut self, sequence: usize, first: usize, end: usize, logits: bool) {
        let vocabulary = self.model.config().vocabulary;
        for position in (first..end).step_by(CHUNK) {
            let last = end.min(position + CHUNK);
            let tokens: Vec<u32> = (position..last)
                .map(|index| token(index, sequence, vocabulary))
                .collect();
            let span = BatchSpan {
                tokens: &tokens,
                position,
                blocks: self.tables[sequence].numbers(),
            };
            let rows = [tokens.len() - 1];
            let wanted = if logits && last == end {
                &rows[..]
            } else {
                &[]
            };
            self.model.forward(Batch {
                spans: &[span],
                logits: wanted,
            });
        }
    }

    /// One token of every sequence; the logits of all.
    fn decode(&mut self, position: usize) {
        let vocabulary = self.model.config().vocabulary;
        let tokens: Vec<[u32; 1]> = (0..self.tables.len())
            .map(|sequence| [token(position, sequence, vocabulary)])
            .collect();
        let spans: Vec<BatchSpan> = tokens
            .iter()
            .zip(&self.tables)
            .map(|(tokens, table)| BatchSpan {
                tokens,
                position,
                blocks: table.numbers(),
            })
            .collect();
        let rows: Vec<usize> = (0..spans.len()).collect();
        self.model.forward(Batch {
            spans: &spans,
            logits: &rows,
        });
    }

    /// The likeliest token after the last row, which shows that both engines did the same work. Of equals it is the first:
    /// synthetic models have rows of weights twice.
    fn top(&mut self) -> usize {
        let vocabulary = self.model.config().vocabulary;
        let (_, logits) = self.model.compute_and_logits();
        let row = &logits[logits.len() - vocabulary..];
        let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let top = row.iter().position(|logit| *logit == highest);
        top.unwrap_or(0)
    }
}

struct Matrix {
    /// Whether it is multiplied in integers.
    int8: bool,
    is_output: bool,
    /// For each row that it is multiplied with: two for each weight.
    operations: u64,
}

/// The fixed text; `tools/bench/llama_cpp_driver.py` computes the same.
fn token(index: usize, sequence: usize, vocabulary: usize) -> u32 {
    let at = index + 1009 * sequence;
    ((7 * at * at + 13 * at + 5) % vocabulary) as u32
}
