//! The forward pass: tokens of any number of sequences in, logits of chosen rows out.
//!
//! ```text
//! x ─ norm ─ q,k,v ─ (bias) ─ (head norms) ─ rope ─ store ─ attention ─ out ─┬─ norm ─ gate,up ─ silu·up ─ down ─┬─ …
//! └────────────────────────────────────────────────────────────── + ─────────┘└──────────────────────── + ───────┘
//! ```
//!
//! Each matmul, and each element-wise operation that is large enough, is one fork and join of the pool.

use std::ops::Range;
use std::sync::Arc;

use carnot_formats::{ModelConfig, ModelFile, RopeStyle};
use carnot_kernels::{
    Activations, Compute, Forms, KvLayer, KvShape, KvType, Product, Rotation, Span,
};
use carnot_probe::SiteId;

use crate::Error;
use crate::angles::Angles;
use crate::faults;
use crate::head_padding::{self, HeadPadding};
use crate::instrument::{Recorder, Sites, Work};
use crate::weights::{LayerWeights, Weights};

/// Consecutive tokens of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct BatchSpan<'a> {
    /// The tokens.
    pub tokens: &'a [u32],
    /// Position of the first one.
    pub position: usize,
    /// The sequence's blocks; they must cover `position + tokens.len()` positions.
    pub blocks: &'a [u32],
}

/// What one forward pass processes.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Tokens of one or more sequences, one after another.
    pub spans: &'a [BatchSpan<'a>],
    /// Rows (counted over all spans) whose logits are wanted.
    pub logits: &'a [usize],
}

/// Room for keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvRoom {
    /// Blocks of 16 tokens.
    pub blocks: usize,
    /// How they are stored.
    pub dtype: KvType,
}

/// Half floats.
impl From<usize> for KvRoom {
    fn from(blocks: usize) -> Self {
        Self {
            blocks,
            dtype: KvType::F16,
        }
    }
}

/// Buffers that live from step to step.
#[derive(Default)]
struct Workspace {
    x: Vec<f32>,
    normed: Activations,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    attention_in: Activations,
    delta: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    feed_forward_in: Activations,
    cos: Vec<f32>,
    sin: Vec<f32>,
    chosen: Vec<f32>,
    output_in: Activations,
    logits: Vec<f32>,
}

/// A loaded model with its key/value cache.
pub struct Model {
    compute: Compute,
    weights: Weights,
    cache: Vec<KvLayer>,
    shape: KvShape,
    angles: Angles,
    sites: Sites,
    recorder: Recorder,
    space: Workspace,
    padding: Option<HeadPadding>,
}

impl Model {
    /// Loads `file` with `room` for keys and values, such as a number of blocks; `progress(done, total)` is called as layers come in.
    pub fn load(
        file: Arc<ModelFile>,
        compute: Compute,
        room: impl Into<KvRoom>,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, Error> {
        let room = room.into();
        let config = file.config().clone();
        let weights = Weights::load(file, &compute, progress)?;
        let shape = head_padding::cached_shape(&config, room.dtype);
        let first = &weights.layers[0];
        let sites = Sites::new([
            &first.q,
            &first.attention_out,
            &first.gate,
            &first.down,
            &weights.output,
        ]);
        Ok(Self {
            cache: (0..config.layers)
                .map(|_| KvLayer::new(shape, room.blocks))
                .collect(),
            angles: Angles::new(config.rope.frequencies()),
            recorder: Recorder::new(compute.pool().threads()),
            space: Workspace::default(),
            padding: HeadPadding::of(&config),
            shape,
            sites,
            weights,
            compute,
        })
    }

    /// What the model is.
    pub fn config(&self) -> &ModelConfig {
        self.weights.file.config()
    }

    /// The file it came from.
    pub fn file(&self) -> &ModelFile {
        &self.weights.file
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The pool and kernels.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// What about the model's shape costs memory or speed here.
    pub fn notes(&self) -> Vec<String> {
        Vec::from_iter(head_padding::note(self.config()))
    }

    /// Bytes of keys and values per token, all layers together.
    pub fn kv_token_bytes(&self) -> u64 {
        (self.shape.token_bytes() * self.cache.len()) as u64
    }

    /// Runs `batch` and returns the logits of its chosen rows, one row of the vocabulary's length after another.
    ///
    /// # Panics
    /// If a token is not in the vocabulary, a table does not cover its positions, or a chosen row does not exist.
    pub fn forward(&mut self, batch: Batch<'_>) -> &mut [f32] {
        let mut space = std::mem::take(&mut self.space);
        let spans = kernel_spans(batch.spans, self.config().sliding_window);
        self.recorder
            .begin_step(&self.compute, self.working_set(&spans));
        self.embed(batch.spans, &mut space);
        self.angles(&spans, &mut space);
        for index in 0..self.weights.layers.len() {
            self.attention(index, &spans, &mut space);
            self.feed_forward(index, &mut space);
        }
        self.output(batch.logits, &mut space);
        self.space = space;
        &mut self.space.logits
    }

    /// Makes block `to` of every layer hold the keys and values of block `from`.
    pub fn copy_block(&mut self, from: u32, to: u32) {
        self.cache
            .iter_mut()
            .for_each(|layer| layer.copy_block(from, to));
    }

    /// The kernels, and the logits of the last forward pass.
    pub fn compute_and_logits(&mut self) -> (&Compute, &mut [f32]) {
        (&self.compute, &mut self.space.logits)
    }

    /// The hidden states that the last forward pass left of rows, before the last norm.
    pub(crate) fn hidden(&self, rows: Range<usize>) -> &[f32] {
        let width = self.config().hidden;
        &self.space.x[rows.start * width..rows.end * width]
    }

    /// The weights of the norm before the output, and its epsilon.
    pub(crate) fn output_norm(&self) -> (&[f32], f32) {
        (&self.weights.output_norm, self.config().rms_norm_epsilon)
    }

    /// Weights, and keys and values of the sequences: what is gone through before any of it is read again.
    fn working_set(&self, spans: &[Span<'_>]) -> u64 {
        let tokens: usize = spans.iter().map(|span| span.position + span.tokens).sum();
        self.weights.step_bytes() + tokens as u64 * self.kv_token_bytes()
    }

    fn embed(&self, spans: &[BatchSpan<'_>], space: &mut Workspace) {
        let hidden = self.config().hidden;
        let rows: usize = spans.iter().map(|span| span.tokens.len()).sum();
        let table = self
            .weights
            .file
            .tensor("token_embd.weight")
            .expect("the file was checked when it was opened");
        let row_bytes = table.dtype.row_bytes(hidden);
        let work = Work {
            flops: 0,
            bytes: (rows * row_bytes) as u64,
        };
        self.recorder
            .operation(&self.compute, (self.sites.embed, None), work, || {
                space.x.resize(rows * hidden, 0.0);
                let tokens = spans.iter().flat_map(|span| span.tokens);
                for (row, &token) in space.x.chunks_exact_mut(hidden).zip(tokens) {
                    let bytes =
                        &table.data[token as usize * row_bytes..(token as usize + 1) * row_bytes];
                    carnot_kernels::blocks::dequantize(table.dtype, bytes, row);
                }
            });
    }

    /// Cosines and sines of every row's position.
    fn angles(&mut self, spans: &[Span<'_>], space: &mut Workspace) {
        let Workspace { cos, sin, .. } = space;
        cos.clear();
        sin.clear();
        for span in spans {
            for position in span.position..span.position + span.tokens {
                self.angles.append(position, cos, sin);
            }
        }
    }

    fn attention(&mut self, index: usize, spans: &[Span<'_>], space: &mut Workspace) {
        self.project(index, space);
        self.attend(index, spans, space);
        self.attention_out(index, space);
    }

    /// Norm, and queries, keys and values.
    fn project(&self, index: usize, space: &mut Workspace) {
        let config = self.config();
        let rows = space.x.len() / config.hidden;
        let layer = &self.weights.layers[index];
        let (compute, recorder, sites) = (&self.compute, &self.recorder, &self.sites);
        let forms = Forms::of([&layer.q, &layer.k, &layer.v]);
        space.normed.reshape(rows, config.hidden);
        recorder.operation(
            compute,
            (sites.norm, Some(index)),
            elementwise(space.x.len(), 4),
            || {
                let epsilon = config.rms_norm_epsilon;
                compute.rms_norm_into(
                    &space.x,
                    &layer.attention_norm,
                    epsilon,
                    forms,
                    &mut space.normed,
                );
            },
        );
        resize(&mut space.q, rows * layer.q.rows());
        resize(&mut space.k, rows * layer.k.rows());
        resize(&mut space.v, rows * layer.v.rows());
        let mut products = [
            Product {
                weights: &layer.q,
                out: &mut space.q,
            },
            Product {
                weights: &layer.k,
                out: &mut space.k,
            },
            Product {
                weights: &layer.v,
                out: &mut space.v,
            },
        ];
        let work = matmul_work(&products, rows);
        recorder.operation(compute, (sites.qkv, Some(index)), work, || {
            compute.matmul(&space.normed, &mut products);
        });
    }

    /// Positions into queries and keys, keys and values into the cache, and what each query finds there.
    fn attend(&mut self, index: usize, spans: &[Span<'_>], space: &mut Workspace) {
        let config = self.weights.file.config();
        let (heads, kv_heads, head_dim) = (config.heads, config.kv_heads, config.head_dim);
        let layer = &self.weights.layers[index];
        let cache = &mut self.cache[index];
        let (compute, recorder, sites) = (&self.compute, &self.recorder, &self.sites);
        let rotation = Rotation {
            cos: &space.cos,
            sin: &space.sin,
            half: self.angles.pairs(),
            interleaved: config.rope.style == RopeStyle::Interleaved,
        };
        let work = elementwise(space.q.len() + space.k.len(), 3);
        recorder.operation(compute, (sites.rope, Some(index)), work, || {
            adjust_heads(
                compute,
                layer,
                config,
                &mut space.q,
                &mut space.k,
                &mut space.v,
            );
            compute.rotate(&mut space.q, heads, head_dim, &rotation);
            compute.rotate(&mut space.k, kv_heads, head_dim, &rotation);
            let (k, v) = match &mut self.padding {
                None => (&space.k, &space.v),
                Some(padding) => {
                    padding.widen(&space.q, &space.k, &space.v);
                    (&padding.k, &padding.v)
                }
            };
            compute.store_kv(cache, self.shape, spans, k, v);
        });
        resize(&mut space.attended, space.q.len());
        let needed = KvShape {
            head_dim,
            ..self.shape
        };
        let work = attention_work(spans, heads, needed);
        recorder.operation(compute, (sites.attention, Some(index)), work, || {
            let (q, attended) = match &mut self.padding {
                None => (&space.q, &mut space.attended),
                Some(padding) => (&padding.q, &mut padding.attended),
            };
            compute.attention(cache, self.shape, heads, q, spans, attended);
            if let Some(padding) = &self.padding {
                padding.narrow(&mut space.attended);
            }
        });
    }

    /// The attended values back into the residual stream.
    fn attention_out(&self, index: usize, space: &mut Workspace) {
        let config = self.config();
        let rows = space.x.len() / config.hidden;
        let weights = &self.weights.layers[index].attention_out;
        let at = |site: SiteId| (site, Some(index));
        let (compute, recorder, sites) = (&self.compute, &self.recorder, &self.sites);
        space.attention_in.reshape(rows, weights.columns());
        recorder.operation(
            compute,
            at(sites.quantize),
            elementwise(space.attended.len(), 2),
            || {
                compute.copy_into(
                    &space.attended,
                    Forms::of([weights]),
                    &mut space.attention_in,
                );
            },
        );
        resize(&mut space.delta, rows * config.hidden);
        let mut products = [Product {
            weights,
            out: &mut space.delta,
        }];
        let work = matmul_work(&products, rows);
        recorder.operation(compute, at(sites.attention_out), work, || {
            compute.matmul(&space.attention_in, &mut products);
        });
        recorder.operation(
            compute,
            at(sites.add),
            elementwise(space.x.len(), 1),
            || {
                compute.add(&mut space.x, &space.delta);
            },
        );
    }

    fn feed_forward(&self, index: usize, space: &mut Workspace) {
        let config = self.config();
        let rows = space.x.len() / config.hidden;
        let layer = &self.weights.layers[index];
        let at = |site: SiteId| (site, Some(index));
        let (compute, recorder, sites) = (&self.compute, &self.recorder, &self.sites);

        let forms = Forms::of([&layer.gate, &layer.up]);
        recorder.operation(
            compute,
            at(sites.norm),
            elementwise(space.x.len(), 4),
            || {
                compute.rms_norm_into(
                    &space.x,
                    &layer.feed_forward_norm,
                    config.rms_norm_epsilon,
                    forms,
                    &mut space.normed,
                );
            },
        );
        resize(&mut space.gate, rows * config.feed_forward);
        resize(&mut space.up, rows * config.feed_forward);
        let mut products = [
            Product {
                weights: &layer.gate,
                out: &mut space.gate,
            },
            Product {
                weights: &layer.up,
                out: &mut space.up,
            },
        ];
        let work = matmul_work(&products, rows);
        recorder.operation(compute, at(sites.gate_up), work, || {
            compute.matmul(&space.normed, &mut products);
        });
        space.feed_forward_in.reshape(rows, config.feed_forward);
        recorder.operation(
            compute,
            at(sites.silu),
            elementwise(space.gate.len(), 8),
            || {
                compute.silu_gate_into(
                    &space.gate,
                    &space.up,
                    Forms::of([&layer.down]),
                    &mut space.feed_forward_in,
                );
            },
        );
        let mut products = [Product {
            weights: &layer.down,
            out: &mut space.delta,
        }];
        let work = matmul_work(&products, rows);
        recorder.operation(compute, at(sites.down), work, || {
            compute.matmul(&space.feed_forward_in, &mut products);
        });
        recorder.operation(
            compute,
            at(sites.add),
            elementwise(space.x.len(), 1),
            || compute.add(&mut space.x, &space.delta),
        );
    }

    fn output(&self, chosen: &[usize], space: &mut Workspace) {
        let config = self.config();
        let (compute, recorder, sites) = (&self.compute, &self.recorder, &self.sites);
        space.chosen.clear();
        for &row in chosen {
            space
                .chosen
                .extend_from_slice(&space.x[row * config.hidden..(row + 1) * config.hidden]);
        }
        resize(&mut space.logits, chosen.len() * config.vocabulary);
        if chosen.is_empty() {
            return;
        }
        space.output_in.reshape(chosen.len(), config.hidden);
        let forms = Forms::of([&self.weights.output]);
        recorder.operation(
            compute,
            (sites.norm, None),
            elementwise(space.chosen.len(), 4),
            || {
                faults::computes("slow kernel");
                compute.rms_norm_into(
                    &space.chosen,
                    &self.weights.output_norm,
                    config.rms_norm_epsilon,
                    forms,
                    &mut space.output_in,
                );
            },
        );
        let mut products = [Product {
            weights: &self.weights.output,
            out: &mut space.logits,
        }];
        let work = matmul_work(&products, chosen.len());
        recorder.operation(compute, (sites.output, None), work, || {
            compute.matmul(&space.output_in, &mut products);
        });
    }
}

/// Biases (Qwen2) and head norms (Qwen3), where the model has them.
fn adjust_heads(
    compute: &Compute,
    layer: &LayerWeights,
    config: &ModelConfig,
    q: &mut [f32],
    k: &mut [f32],
    v: &mut [f32],
) {
    if let Some([q_bias, k_bias, v_bias]) = &layer.biases {
        for (values, bias) in [(&mut *q, q_bias), (&mut *k, k_bias), (v, v_bias)] {
            values
                .chunks_exact_mut(bias.len())
                .for_each(|row| compute.add(row, bias));
        }
    }
    if let Some([q_norm, k_norm]) = &layer.head_norms {
        compute.norm_heads(q, config.head_dim, q_norm, config.rms_norm_epsilon);
        compute.norm_heads(k, config.head_dim, k_norm, config.rms_norm_epsilon);
    }
}

/// Sets the length; every value is written before it is read.
fn resize(buffer: &mut Vec<f32>, length: usize) {
    buffer.resize(length, 0.0);
}

fn kernel_spans<'a>(spans: &[BatchSpan<'a>], window: Option<usize>) -> Vec<Span<'a>> {
    let mut row = 0;
    spans
        .iter()
        .map(|span| {
            let first = row;
            row += span.tokens.len();
            Span {
                row: first,
                tokens: span.tokens.len(),
                position: span.position,
                table: span.blocks,
                window: window.unwrap_or(usize::MAX),
            }
        })
        .collect()
}

/// A few operations per value; bytes only pass through the cache.
fn elementwise(values: usize, operations: u64) -> Work {
    Work {
        flops: values as u64 * operations,
        bytes: 0,
    }
}

/// Two operations per weight and row; each weight is read once.
fn matmul_work(products: &[Product<'_>], rows: usize) -> Work {
    let of = |f: fn(&Product<'_>) -> usize| products.iter().map(f).sum::<usize>() as u64;
    let weights = of(|product| product.weights.rows() * product.weights.columns());
    Work {
        flops: 2 * rows as u64 * weights,
        bytes: of(|product| product.weights.file_bytes()),
    }
}

/// Four operations per head, dimension and visible position; each visible key and value is read once.
fn attention_work(spans: &[Span<'_>], heads: usize, shape: KvShape) -> Work {
    let mut work = Work::default();
    for span in spans {
        let visible: usize = (span.position + 1..=span.position + span.tokens)
            .map(|to| to.min(span.window))
            .sum();
        let read = (span.position + span.tokens).min(span.window.saturating_add(span.tokens));
        work.flops += (4 * heads * shape.head_dim * visible) as u64;
        work.bytes += (shape.token_bytes() * read) as u64;
    }
    work
}
