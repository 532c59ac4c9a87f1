//! The shapes of models that people run.

use crate::config::{Architecture, ModelConfig, Rope, RopeScaling, RopeStyle};

/// A shape, named by its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Preset {
    /// 150 M weights: a small model whose matrices fit in a large cache.
    M150,
    /// Qwen2-0.5B: a hidden size that is not whole blocks of 256, and a large vocabulary.
    B0_5,
    /// `TinyLlama` 1.1B, with room for long prompts.
    B1,
    /// Llama 3.2 3B.
    B3,
    /// Llama 3.1 8B.
    B8,
}

/// The numbers that differ.
struct Shape {
    sizes: [usize; 6],
    context_length: usize,
    vocabulary: usize,
    theta: f32,
    /// Llama 3's scaling factor.
    stretch: Option<f32>,
    tied_embeddings: bool,
}

impl Preset {
    /// Every preset, the smallest first.
    pub const ALL: [Self; 5] = [Self::M150, Self::B0_5, Self::B1, Self::B3, Self::B8];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::M150 => "150m",
            Self::B0_5 => "0.5b",
            Self::B1 => "1b",
            Self::B3 => "3b",
            Self::B8 => "8b",
        }
    }

    /// The preset of this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|preset| preset.name().eq_ignore_ascii_case(name))
    }

    /// `sizes`: hidden, layers, heads, key and value heads, head size, feed-forward.
    fn shape(self) -> Shape {
        let (context_length, vocabulary, theta, stretch, tied_embeddings) = match self {
            Self::M150 => (8192, 32_000, 10_000.0, None, true),
            Self::B0_5 => (32_768, 151_936, 1_000_000.0, None, true),
            Self::B1 => (32_768, 32_000, 10_000.0, None, false),
            Self::B3 => (131_072, 128_256, 500_000.0, Some(32.0), true),
            Self::B8 => (131_072, 128_256, 500_000.0, Some(8.0), false),
        };
        let sizes = match self {
            Self::M150 => [768, 20, 12, 4, 64, 2048],
            Self::B0_5 => [896, 24, 14, 2, 64, 4864],
            Self::B1 => [2048, 22, 32, 4, 64, 5632],
            Self::B3 => [3072, 28, 24, 8, 128, 8192],
            Self::B8 => [4096, 32, 32, 8, 128, 14_336],
        };
        Shape {
            sizes,
            context_length,
            vocabulary,
            theta,
            stretch,
            tied_embeddings,
        }
    }

    /// The configuration of this shape, with `architecture`'s layers.
    pub fn config(self, architecture: Architecture) -> ModelConfig {
        let shape = self.shape();
        let [hidden, layers, heads, kv_heads, head_dim, feed_forward] = shape.sizes;
        let scaling = shape
            .stretch
            .map_or(RopeScaling::None, |factor| RopeScaling::Llama3 {
                factor,
                low_frequency: 1.0,
                high_frequency: 4.0,
                original_context: 8192,
            });
        let style = if architecture.gguf_name() == "llama" {
            RopeStyle::Interleaved
        } else {
            RopeStyle::Half
        };
        ModelConfig {
            architecture,
            vocabulary: shape.vocabulary,
            hidden,
            layers,
            heads,
            kv_heads,
            head_dim,
            feed_forward,
            context_length: shape.context_length,
            rms_norm_epsilon: 1e-5,
            rope: Rope {
                theta: shape.theta,
                dimension: head_dim,
                style,
                scaling,
                frequency_factors: None,
            },
            tied_embeddings: shape.tied_embeddings,
            sliding_window: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_what_the_names_say() {
        let millions = |preset: Preset| {
            let config = preset.config(Architecture::Llama);
            let weights: usize = config
                .tensors()
                .filter(|spec| spec.required)
                .map(|spec| spec.shape.iter().product::<usize>())
                .sum();
            weights / 1_000_000
        };
        assert_eq!(Preset::ALL.map(millions), [150, 494, 1100, 3212, 8030]);
    }

    #[test]
    fn names_find_their_preset() {
        assert!(
            Preset::ALL
                .into_iter()
                .all(|preset| Preset::from_name(preset.name()) == Some(preset))
        );
    }
}
