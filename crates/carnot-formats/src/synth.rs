//! Models of real shapes and random weights, for measuring speed without downloading anything.
//!
//! The files load in llama.cpp too, so that engines can be compared on them. Weights are normal, scaled as at initialisation, so that
//! activations and logits stay of ordinary size; the text that comes out is noise. Rows are runs of one pool of random quantised
//! blocks, at offsets drawn anew for every row: quantising each weight of its own would take minutes and measure the same.

mod pool;
mod preset;
mod vocabulary;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use carnot_kernels::blocks::{BlockType, quantize};

use crate::config::{Architecture, ModelConfig};
use crate::convert;
use crate::error::Error;
use crate::gguf::{Metadata, TensorHeader, Writer};
use pool::{Pool, Random};
pub use preset::Preset;

/// Writes a model of `preset`'s shape to `path`, its matrices stored as `dtype`; the same seed gives the same file.
///
/// `progress` is told the bytes written and the bytes in all. Memory stays at a few tens of megabytes whatever the size.
pub fn write(
    architecture: Architecture,
    preset: Preset,
    dtype: BlockType,
    seed: u64,
    path: &Path,
    progress: impl FnMut(u64, u64),
) -> Result<(), Error> {
    let file = File::create(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })?;
    write_to(
        &preset.config(architecture),
        preset.name(),
        dtype,
        seed,
        BufWriter::with_capacity(1 << 20, file),
        progress,
    )
}

fn write_to(
    config: &ModelConfig,
    name: &str,
    dtype: BlockType,
    seed: u64,
    out: impl Write,
    mut progress: impl FnMut(u64, u64),
) -> Result<(), Error> {
    let mut metadata = Metadata::new();
    convert::describe(config, &format!("synthetic-{name}"), dtype, &mut metadata);
    vocabulary::listing(config.vocabulary).write(&mut metadata);
    metadata.string("tokenizer.chat_template", CHAT_TEMPLATE);
    let headers: Vec<TensorHeader> = headers(config, dtype);
    let total = headers.iter().map(|header| header.bytes() as u64).sum();
    let mut done = 0;
    let mut writer = Writer::new(out, &metadata, &headers)?;
    let mut source = Source {
        config,
        seed,
        pools: HashMap::new(),
    };
    for (index, header) in headers.iter().enumerate() {
        source.tensor(index as u64, header, |bytes| {
            done += bytes.len() as u64;
            progress(done, total);
            writer.write(bytes)
        })?;
    }
    writer.finish()?;
    Ok(())
}

const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";

fn headers(config: &ModelConfig, dtype: BlockType) -> Vec<TensorHeader> {
    let factors = config.rope.factors();
    let wanted = config
        .tensors()
        .filter(|spec| spec.required || spec.name == convert::ROPE_FACTORS && factors.is_some());
    wanted
        .map(|spec| TensorHeader {
            dtype: convert::stored_type(&spec.name, &spec.shape, dtype),
            name: spec.name,
            shape: spec.shape,
        })
        .collect()
}

/// Where weights come from.
struct Source<'a> {
    config: &'a ModelConfig,
    seed: u64,
    /// By storage type and the bits of the standard deviation.
    pools: HashMap<(BlockType, u32), Pool>,
}

impl Source<'_> {
    /// Hands the bytes of one tensor to `write`, in pieces.
    fn tensor(
        &mut self,
        index: u64,
        header: &TensorHeader,
        mut write: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let mut random = Random::new(self.seed ^ (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let &[rows, row] = &header.shape[..] else {
            return write(&self.vector(&header.name, header.shape[0], &mut random));
        };
        let deviation = self.deviation(&header.name, row);
        let seed = self.seed;
        let pool = self
            .pools
            .entry((header.dtype, deviation.to_bits()))
            .or_insert_with(|| Pool::new(header.dtype, deviation, seed));
        let row_bytes = header.dtype.row_bytes(row);
        let rows_per_piece = ((1 << 20) / row_bytes).max(1);
        let mut piece = Vec::with_capacity(rows_per_piece.min(rows) * row_bytes);
        for first in (0..rows).step_by(rows_per_piece) {
            piece.clear();
            for _ in first..rows.min(first + rows_per_piece) {
                pool.append(&mut random, row_bytes, &mut piece);
            }
            write(&piece)?;
        }
        Ok(())
    }

    /// Projections keep the size of what passes; those that write to the residual stream share it among all layers.
    fn deviation(&self, name: &str, row: usize) -> f32 {
        let writes_residual =
            name.ends_with("attn_output.weight") || name.ends_with("ffn_down.weight");
        let share = if writes_residual {
            2 * self.config.layers
        } else {
            1
        };
        ((row * share) as f32).sqrt().recip()
    }

    fn vector(&self, name: &str, length: usize, random: &mut Random) -> Vec<u8> {
        let values: Vec<f32> = if name == convert::ROPE_FACTORS {
            self.config.rope.factors().unwrap_or_default()
        } else if name.rsplit('.').next() == Some("bias") {
            (0..length).map(|_| 0.02 * random.normal()).collect()
        } else {
            vec![1.0; length]
        };
        let mut bytes = vec![0; 4 * values.len()];
        quantize(BlockType::F32, &values, &mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelFile;

    fn tiny(architecture: Architecture, preset: Preset) -> ModelConfig {
        ModelConfig {
            layers: 1,
            vocabulary: 1000,
            ..preset.config(architecture)
        }
    }

    fn synthesize(config: &ModelConfig, dtype: BlockType, seed: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_to(config, "tiny", dtype, seed, &mut bytes, |_, _| {}).unwrap();
        bytes
    }

    #[test]
    fn every_preset_of_every_architecture_opens() {
        for preset in Preset::ALL {
            for architecture in [
                Architecture::Llama,
                Architecture::Qwen2,
                Architecture::Qwen3,
            ] {
                let config = tiny(architecture, preset);
                let bytes = synthesize(&config, BlockType::Q4_0, 1);
                let model = ModelFile::from_gguf_bytes("tiny", bytes).unwrap();
                let read = model.config();
                assert_eq!(
                    (read.heads, read.kv_heads, read.head_dim),
                    (config.heads, config.kv_heads, config.head_dim)
                );
                assert_eq!(read.rope.frequencies().len(), config.rope.dimension / 2);
                assert_eq!(model.tokenizer().unwrap().vocabulary_size(), 1000);
            }
        }
    }

    #[test]
    fn a_seed_is_a_file() {
        let config = tiny(Architecture::Llama, Preset::M150);
        let [a, b, c] = [1, 1, 2].map(|seed| synthesize(&config, BlockType::Q8_0, seed));
        assert!(a == b && a != c);
    }

    #[test]
    fn weights_are_of_the_size_of_an_initialised_model() {
        let config = tiny(Architecture::Llama, Preset::M150);
        let bytes = synthesize(&config, BlockType::Q4K, 3);
        let model = ModelFile::from_gguf_bytes("tiny", bytes).unwrap();
        for (name, variance) in [
            ("blk.0.attn_q.weight", 1.0 / 768.0),
            ("blk.0.ffn_down.weight", 1.0 / 2048.0 / 2.0),
        ] {
            let values = model.tensor(name).unwrap().to_f32();
            let found = values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32;
            assert!(
                (found / variance - 1.0).abs() < 0.05,
                "{name}: {found} for {variance}"
            );
        }
    }

    #[test]
    fn progress_ends_at_the_total() {
        let mut last = (0, 1);
        let config = tiny(Architecture::Llama, Preset::M150);
        write_to(
            &config,
            "tiny",
            BlockType::F16,
            1,
            std::io::sink(),
            |done, total| last = (done, total),
        )
        .unwrap();
        assert_eq!(last.0, last.1);
    }
}
