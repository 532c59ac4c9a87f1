//! A model's weights in the form the kernels read.

use std::sync::Arc;

use carnot_formats::ModelFile;
use carnot_kernels::{Compute, PackedMatrix};

use crate::Error;

/// One transformer layer.
pub(crate) struct LayerWeights {
    pub attention_norm: Vec<f32>,
    pub q: PackedMatrix,
    pub k: PackedMatrix,
    pub v: PackedMatrix,
    /// Added to q, k and v (Qwen2).
    pub biases: Option<[Vec<f32>; 3]>,
    /// Norms of each query and key head (Qwen3).
    pub head_norms: Option<[Vec<f32>; 2]>,
    pub attention_out: PackedMatrix,
    pub feed_forward_norm: Vec<f32>,
    pub gate: PackedMatrix,
    pub up: PackedMatrix,
    pub down: PackedMatrix,
}

/// All weights, repacked; the embedding stays in the file, from which single rows are read.
pub struct Weights {
    pub(crate) file: Arc<ModelFile>,
    pub(crate) layers: Vec<LayerWeights>,
    pub(crate) output_norm: Vec<f32>,
    pub(crate) output: PackedMatrix,
}

impl Weights {
    /// Repacks every matrix, layer by layer, and calls `progress(done, total)` after each.
    pub fn load(
        file: Arc<ModelFile>,
        compute: &Compute,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self, Error> {
        let count = file.config().layers;
        let loader = Loader {
            file: &file,
            compute,
        };
        let mut layers = Vec::with_capacity(count);
        for index in 0..count {
            layers.push(loader.layer(index)?);
            progress(index + 1, count + 1);
        }
        let tied = file.optional_tensor("output.weight").is_none();
        let output = loader.matrix(if tied {
            "token_embd.weight"
        } else {
            "output.weight"
        })?;
        let output_norm = loader.vector("output_norm.weight")?;
        progress(count + 1, count + 1);
        Ok(Self {
            file,
            layers,
            output_norm,
            output,
        })
    }

    /// Bytes of all matrices as stored: what one decode step must read.
    pub fn step_bytes(&self) -> u64 {
        self.matrices()
            .map(|matrix| matrix.file_bytes() as u64)
            .sum()
    }

    /// Bytes of all matrices as packed: what lies in memory.
    pub fn packed_bytes(&self) -> u64 {
        self.matrices()
            .map(|matrix| matrix.packed_bytes() as u64)
            .sum()
    }

    fn matrices(&self) -> impl Iterator<Item = &PackedMatrix> {
        self.layers
            .iter()
            .flat_map(LayerWeights::matrices)
            .chain([&self.output])
    }
}

impl LayerWeights {
    fn matrices(&self) -> [&PackedMatrix; 7] {
        let Self {
            q,
            k,
            v,
            attention_out,
            gate,
            up,
            down,
            ..
        } = self;
        [q, k, v, attention_out, gate, up, down]
    }
}

struct Loader<'a> {
    file: &'a ModelFile,
    compute: &'a Compute,
}

impl Loader<'_> {
    fn layer(&self, index: usize) -> Result<LayerWeights, Error> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let matrix = |part: &str| self.matrix(&name(&format!("{part}.weight")));
        let vector = |part: &str| self.vector(&name(part));
        let architecture = self.file.config().architecture;
        let biases = architecture
            .has_attention_biases()
            .then(|| {
                Ok::<_, Error>([
                    vector("attn_q.bias")?,
                    vector("attn_k.bias")?,
                    vector("attn_v.bias")?,
                ])
            })
            .transpose()?;
        let head_norms = architecture
            .has_query_key_norms()
            .then(|| Ok::<_, Error>([vector("attn_q_norm.weight")?, vector("attn_k_norm.weight")?]))
            .transpose()?;
        Ok(LayerWeights {
            attention_norm: vector("attn_norm.weight")?,
            q: matrix("attn_q")?,
            k: matrix("attn_k")?,
            v: matrix("attn_v")?,
            biases,
            head_norms,
            attention_out: matrix("attn_output")?,
            feed_forward_norm: vector("ffn_norm.weight")?,
            gate: matrix("ffn_gate")?,
            up: matrix("ffn_up")?,
            down: matrix("ffn_down")?,
        })
    }

    fn matrix(&self, name: &str) -> Result<PackedMatrix, Error> {
        let tensor = self.file.tensor(name)?;
        let &[rows, columns] = tensor.shape.as_slice() else {
            return Err(Error::Shape {
                what: "dimensions of a weight matrix",
                expected: "2",
                got: tensor.shape.len(),
            });
        };
        Ok(PackedMatrix::pack(
            self.compute.pool(),
            tensor.dtype,
            rows,
            columns,
            tensor.data,
        ))
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, Error> {
        Ok(self.file.tensor(name)?.to_f32())
    }
}
