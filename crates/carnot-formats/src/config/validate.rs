//! What must hold between the numbers of a configuration, so that no arithmetic on them can go wrong later.

use super::{ModelConfig, RopeScaling};
use crate::error::{Error, File};

/// No dimension of a model comes near this, and products of any two stay within 64 bits.
const MOST: usize = 1 << 31;

impl ModelConfig {
    pub(crate) fn validate(&self, file: File) -> Result<(), Error> {
        let sizes = [
            ("vocabulary size", self.vocabulary),
            ("hidden size", self.hidden),
            ("layers", self.layers),
            ("attention heads", self.heads),
            ("key and value heads", self.kv_heads),
            ("head size", self.head_dim),
            ("feed-forward size", self.feed_forward),
            ("context length", self.context_length),
        ];
        for (field, size) in sizes {
            ensure(
                file,
                field,
                (1..MOST).contains(&size),
                "1 to 2^31 - 1",
                size,
            )?;
        }
        let divides = self.heads.is_multiple_of(self.kv_heads);
        ensure(
            file,
            "key and value heads",
            divides,
            format!("a divisor of {} heads", self.heads),
            self.kv_heads,
        )?;
        let epsilon = self.rms_norm_epsilon;
        ensure(
            file,
            "RMS norm epsilon",
            epsilon > 0.0 && epsilon < 1.0,
            "between 0 and 1",
            epsilon,
        )?;
        self.validate_rope(file)
    }

    fn validate_rope(&self, file: File) -> Result<(), Error> {
        let rope = &self.rope;
        let rotated = rope.dimension > 0
            && rope.dimension.is_multiple_of(2)
            && rope.dimension <= self.head_dim;
        let expected = format!("even, at most the head size {}", self.head_dim);
        ensure(file, "rope dimension", rotated, expected, rope.dimension)?;
        ensure(
            file,
            "rope base",
            rope.theta.is_finite() && rope.theta > 0.0,
            "above 0",
            rope.theta,
        )?;
        match rope.scaling {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => ensure(
                file,
                "rope factor",
                factor.is_finite() && factor > 0.0,
                "above 0",
                factor,
            )?,
            RopeScaling::Llama3 {
                factor,
                low_frequency,
                high_frequency,
                original_context,
            } => {
                ensure(
                    file,
                    "rope factor",
                    factor.is_finite() && factor > 0.0,
                    "above 0",
                    factor,
                )?;
                let ordered = low_frequency > 0.0
                    && high_frequency > low_frequency
                    && high_frequency.is_finite();
                ensure(
                    file,
                    "rope high_freq_factor",
                    ordered,
                    format!("above low_freq_factor {low_frequency}"),
                    high_frequency,
                )?;
                ensure(
                    file,
                    "rope original context",
                    (1..MOST).contains(&original_context),
                    "above 0",
                    original_context,
                )?;
            }
        }
        let Some(factors) = &rope.frequency_factors else {
            return Ok(());
        };
        ensure(
            file,
            "rope_freqs.weight",
            factors.len() == rope.dimension / 2,
            rope.dimension / 2,
            factors.len(),
        )?;
        let sound = factors
            .iter()
            .all(|factor| factor.is_finite() && *factor > 0.0);
        ensure(
            file,
            "rope_freqs.weight",
            sound,
            "numbers above 0",
            "others",
        )
    }
}

fn ensure(
    file: File,
    field: &str,
    holds: bool,
    expected: impl ToString,
    found: impl ToString,
) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(file.malformed(field, expected, found))
    }
}
