//! `carnot perplexity`: the instrument that judges every later optimisation.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, ensure};
use carnot_formats::Tokenizer;
use carnot_kernels::{Compute, InstructionSet, KvType};
use carnot_llm::perplexity::{Protocol, Scored, Settings, Tally, divergence, score};
use carnot_llm::{KvRoom, MemoryNeed, Model, StepSize};
use serde::Serialize;

use crate::cli::{Format, PerplexityArguments, ProtocolArgument};
use crate::model_source;
use crate::printer::{Printer, Unit};

/// The first bytes of a file of log-probabilities; vocabulary, context and protocol follow as little-endian `u32`.
const MAGIC: &[u8; 8] = b"carnotLP";

/// The result, as it is printed in JSON.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    version: u32,
    model: String,
    file: String,
    protocol: &'static str,
    context: usize,
    chunks: usize,
    /// Tokens that were scored.
    tokens: u64,
    perplexity: f64,
    standard_error: f64,
    bits_per_byte: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<Divergence>,
}

/// How far the run is from a base run, token by token.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the JSON")]
struct Divergence {
    perplexity: f64,
    /// Mean difference of the logarithms of perplexity, paired, and its standard error.
    ln_ratio: f64,
    ln_ratio_standard_error: f64,
    kl_divergence: f64,
    kl_divergence_standard_error: f64,
    kl_divergence_p99: f64,
    same_top_token: f64,
}

pub fn execute(arguments: &PerplexityArguments, printer: &Printer) -> anyhow::Result<()> {
    let file = model_source::open(Some(&arguments.model))?;
    let text = fs::read_to_string(&arguments.file)
        .with_context(|| format!("reading {}", arguments.file.display()))?;
    let tokenizer = file.tokenizer()?;
    let settings = settings(arguments, &tokenizer);
    let limit = file.config().context_length;
    ensure!(
        settings.context <= limit,
        "--context {}: the model's context is {limit}",
        settings.context
    );
    let tokens = tokenizer.encode(&text, settings.protocol == Protocol::LlamaCpp)?;
    let chunks = settings.chunks_of(tokens.len());
    ensure!(
        chunks > 0,
        "{}: {} tokens, expected at least one chunk of {}; lower --context",
        arguments.file.display(),
        tokens.len(),
        settings.context
    );
    let name = file.name().to_owned();
    let (options, _) = model_source::options(&arguments.compute, settings.context, printer);
    if let Some(available) = options.available_bytes {
        MemoryNeed::of(&file, step_size(&settings, options.kv_type))
            .check(file.path(), available)
            .map_err(|error| model_source::advised(error, "--context"))?;
    }
    let set = options.instruction_set.unwrap_or_else(InstructionSet::best);
    let compute = Compute::with_instruction_set(options.threads, set);
    let room = KvRoom {
        blocks: settings.context.div_ceil(16),
        dtype: options.kv_type,
    };
    let mut model = Model::load(file, compute, room, |_, _| ())?;
    let mut run = Run::open(arguments, &settings, model.config().vocabulary)?;
    let bar = printer.progress("scoring", Unit::Steps);
    bar.set_length(chunks as u64);
    let mut failure = None;
    score(&mut model, &tokens, &settings, |chunk, scored| {
        bar.set_position(chunk as u64);
        if failure.is_none() {
            failure = run.add(&scored, &tokenizer).err();
        }
    });
    bar.finish_and_clear();
    if let Some(failure) = failure {
        return Err(failure);
    }
    let report = run.report(arguments, name, &settings, chunks)?;
    printer.result(&match arguments.format {
        Format::Json => serde_json::to_string_pretty(&report)? + "\n",
        Format::Text => report.text(),
    })?;
    Ok(())
}

/// A chunk is one step.
fn step_size(settings: &Settings, kv_type: KvType) -> StepSize {
    StepSize {
        kv_type,
        context: settings.context,
        rows: settings.context,
        logit_rows: settings.scored().len(),
    }
}

fn settings(arguments: &PerplexityArguments, tokenizer: &Tokenizer) -> Settings {
    let protocol = match arguments.protocol {
        ProtocolArgument::Llamacpp => Protocol::LlamaCpp,
        ProtocolArgument::Huggingface => Protocol::HuggingFace,
    };
    let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    Settings {
        context: arguments.context as usize,
        chunks: arguments.chunks,
        protocol,
        bos,
    }
}

/// Sums of a run, the base it is compared with, and the file it is saved to.
struct Run {
    nll: Tally,
    bytes: u64,
    base: Option<Base>,
    saved: Option<BufWriter<File>>,
}

struct Base {
    reader: BufReader<File>,
    path: String,
    row: Vec<f32>,
    nll: Tally,
    difference: Tally,
    kl: Tally,
    kls: Vec<f64>,
    same: u64,
}

impl Run {
    fn open(
        arguments: &PerplexityArguments,
        settings: &Settings,
        vocabulary: usize,
    ) -> anyhow::Result<Self> {
        let header = header(settings, vocabulary);
        let base = arguments
            .base
            .as_deref()
            .map(|path| Base::open(path, &header, vocabulary))
            .transpose()?;
        let saved = arguments
            .save_logits
            .as_deref()
            .map(|path| create(path, &header))
            .transpose()?;
        Ok(Self {
            nll: Tally::default(),
            bytes: 0,
            base,
            saved,
        })
    }

    fn add(&mut self, scored: &Scored<'_>, tokenizer: &Tokenizer) -> anyhow::Result<()> {
        self.nll
            .add(-f64::from(scored.log_probabilities[scored.token as usize]));
        self.bytes += tokenizer
            .token_bytes(scored.token)
            .map_or(0, |bytes| bytes.len()) as u64;
        if let Some(base) = &mut self.base {
            base.add(scored)?;
        }
        if let Some(saved) = &mut self.saved {
            let bytes: Vec<u8> = scored
                .log_probabilities
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            saved
                .write_all(&bytes)
                .context("writing the log-probabilities")?;
        }
        Ok(())
    }

    fn report(
        mut self,
        arguments: &PerplexityArguments,
        model: String,
        settings: &Settings,
        chunks: usize,
    ) -> anyhow::Result<Report> {
        if let Some(saved) = &mut self.saved {
            saved.flush().context("writing the log-probabilities")?;
        }
        let perplexity = self.nll.mean().exp();
        let bits = self.nll.mean() * self.nll.tokens() as f64 / std::f64::consts::LN_2;
        Ok(Report {
            schema: "carnot.perplexity",
            version: 1,
            model,
            file: arguments.file.display().to_string(),
            protocol: match settings.protocol {
                Protocol::LlamaCpp => "llamacpp",
                Protocol::HuggingFace => "huggingface",
            },
            context: settings.context,
            chunks,
            tokens: self.nll.tokens(),
            perplexity,
            standard_error: perplexity * self.nll.standard_error(),
            bits_per_byte: bits / self.bytes.max(1) as f64,
            base: self.base.map(Base::report),
        })
    }
}

fn header(settings: &Settings, vocabulary: usize) -> Vec<u8> {
    let fields = [
        vocabulary as u32,
        settings.context as u32,
        settings.protocol as u32,
    ];
    MAGIC
        .iter()
        .copied()
        .chain(fields.into_iter().flat_map(u32::to_le_bytes))
        .collect()
}

fn create(path: &Path, header: &[u8]) -> anyhow::Result<BufWriter<File>> {
    let mut writer = BufWriter::with_capacity(
        1 << 20,
        File::create(path).with_context(|| format!("creating {}", path.display()))?,
    );
    writer
        .write_all(header)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(writer)
}

impl Base {
    fn open(path: &Path, expected: &[u8], vocabulary: usize) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let mut reader = BufReader::with_capacity(
            1 << 20,
            File::open(path).with_context(|| format!("opening {name}"))?,
        );
        let mut header = vec![0; expected.len()];
        reader
            .read_exact(&mut header)
            .with_context(|| format!("{name}: header"))?;
        ensure!(
            header.starts_with(MAGIC),
            "{name}: expected a file written by --save-logits"
        );
        ensure!(
            header == expected,
            "{name}: the base run has another vocabulary, context or protocol than this one"
        );
        Ok(Self {
            reader,
            path: name,
            row: vec![0.0; vocabulary],
            nll: Tally::default(),
            difference: Tally::default(),
            kl: Tally::default(),
            kls: Vec::new(),
            same: 0,
        })
    }

    fn add(&mut self, scored: &Scored<'_>) -> anyhow::Result<()> {
        let mut bytes = vec![0; self.row.len() * 4];
        let count = self.kl.tokens();
        self.reader.read_exact(&mut bytes).with_context(|| {
            format!("{}: holds {count} tokens, this run scores more", self.path)
        })?;
        for (value, bytes) in self.row.iter_mut().zip(bytes.as_chunks().0) {
            *value = f32::from_le_bytes(*bytes);
        }
        let at = |row: &[f32]| -f64::from(row[scored.token as usize]);
        let (base, own) = (at(&self.row), at(scored.log_probabilities));
        let (kl, same) = divergence(&self.row, scored.log_probabilities);
        self.nll.add(base);
        self.difference.add(own - base);
        self.kl.add(kl);
        self.kls.push(kl);
        self.same += u64::from(same);
        Ok(())
    }

    fn report(mut self) -> Divergence {
        self.kls.sort_by(f64::total_cmp);
        let p99 = self
            .kls
            .get(self.kls.len() * 99 / 100)
            .copied()
            .unwrap_or(0.0);
        Divergence {
            perplexity: self.nll.mean().exp(),
            ln_ratio: self.difference.mean(),
            ln_ratio_standard_error: self.difference.standard_error(),
            kl_divergence: self.kl.mean(),
            kl_divergence_standard_error: self.kl.standard_error(),
            kl_divergence_p99: p99,
            same_top_token: self.same as f64 / self.kl.tokens().max(1) as f64,
        }
    }
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!(
            "perplexity      {:.4} ± {:.4}\nbits per byte   {:.4}\ntokens          {} in {} chunks of {}, {} protocol\n",
            self.perplexity,
            self.standard_error,
            self.bits_per_byte,
            self.tokens,
            self.chunks,
            self.context,
            self.protocol
        );
        if let Some(base) = &self.base {
            let _ = write!(
                text,
                "base            {:.4}\nln ratio        {:+.5} ± {:.5}, paired\nKL divergence   {:.6} ± {:.6} nats, p99 {:.5}\nsame top token  {:.2} %\n",
                base.perplexity,
                base.ln_ratio,
                base.ln_ratio_standard_error,
                base.kl_divergence,
                base.kl_divergence_standard_error,
                base.kl_divergence_p99,
                base.same_top_token * 100.0
            );
        }
        text
    }
}
