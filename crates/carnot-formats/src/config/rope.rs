//! Rotary position embedding: which pairs are rotated, and how fast.

/// Which two elements of a head make a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum RopeStyle {
    /// Elements `2i` and `2i + 1`: llama models in GGUF, whose query and key rows are permuted for it.
    Interleaved,
    /// Elements `i` and `i + dimension / 2`: every model of Hugging Face, and qwen in GGUF.
    Half,
}

/// How frequencies are changed to reach past the context of training.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// What positions are divided by.
        factor: f32,
    },
    /// Low frequencies divided by `factor`, high ones kept, those between blended (Llama 3.1).
    Llama3 {
        /// What the lowest frequencies are divided by.
        factor: f32,
        /// Wavelengths above `original_context / low_frequency` are scaled in full.
        low_frequency: f32,
        /// Wavelengths below `original_context / high_frequency` are kept.
        high_frequency: f32,
        /// The context of training.
        original_context: usize,
    },
}

/// How positions are encoded.
#[derive(Clone, PartialEq, Debug)]
pub struct Rope {
    /// The base of the geometric series of wavelengths.
    pub theta: f32,
    /// Leading elements of a head that are rotated; even, at most the head's width.
    pub dimension: usize,
    /// Which elements pair up.
    pub style: RopeStyle,
    /// How frequencies are changed.
    pub scaling: RopeScaling,
    /// One divisor per pair, stored with the weights (GGUF's `rope_freqs.weight`); applies besides `scaling`.
    pub frequency_factors: Option<Vec<f32>>,
}

impl Rope {
    /// The angle per position of each of the `dimension / 2` pairs, scaling and factors applied. This is all that attention needs.
    pub fn frequencies(&self) -> Vec<f32> {
        let scaled = self
            .unscaled()
            .map(|frequency| self.scaling.apply(frequency));
        match &self.frequency_factors {
            Some(factors) => scaled
                .zip(factors)
                .map(|(frequency, factor)| (frequency / f64::from(*factor)) as f32)
                .collect(),
            None => scaled.map(|frequency| frequency as f32).collect(),
        }
    }

    /// What GGUF stores as `rope_freqs.weight`: the divisor of each pair, if there is anything to say.
    pub fn factors(&self) -> Option<Vec<f32>> {
        match (&self.frequency_factors, self.scaling) {
            (Some(factors), _) => Some(factors.clone()),
            (None, scaling @ RopeScaling::Llama3 { .. }) => Some(
                self.unscaled()
                    .map(|frequency| (frequency / scaling.apply(frequency)) as f32)
                    .collect(),
            ),
            _ => None,
        }
    }

    fn unscaled(&self) -> impl Iterator<Item = f64> + '_ {
        let exponent = |pair| -((2 * pair) as f64) / self.dimension as f64;
        (0..self.dimension / 2).map(move |pair| f64::from(self.theta).powf(exponent(pair)))
    }
}

impl RopeScaling {
    fn apply(self, frequency: f64) -> f64 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / f64::from(factor),
            Self::Llama3 {
                factor,
                low_frequency,
                high_frequency,
                original_context,
            } => {
                let (low, high) = (f64::from(low_frequency), f64::from(high_frequency));
                let turns = original_context as f64 * frequency / std::f64::consts::TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (kept + (1.0 - kept) / f64::from(factor))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(scaling: RopeScaling) -> Rope {
        Rope {
            theta: 500_000.0,
            dimension: 128,
            style: RopeStyle::Half,
            scaling,
            frequency_factors: None,
        }
    }

    const LLAMA_3_1: RopeScaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency: 1.0,
        high_frequency: 4.0,
        original_context: 8192,
    };

    #[test]
    fn frequencies_are_a_geometric_series() {
        let plain = rope(RopeScaling::None).frequencies();
        assert_eq!((plain.len(), plain[0]), (64, 1.0));
        assert!((plain[32] - 500_000_f32.sqrt().recip()).abs() < 1e-9);
        let halved = rope(RopeScaling::Linear { factor: 2.0 }).frequencies();
        assert!(
            plain
                .iter()
                .zip(halved)
                .all(|(plain, halved)| *plain == 2.0 * halved)
        );
    }

    #[test]
    fn llama3_keeps_fast_pairs_and_slows_slow_ones() {
        let factors = rope(LLAMA_3_1).factors().unwrap();
        assert_eq!((factors[0], factors[63]), (1.0, 8.0));
        assert!(factors.is_sorted());
        assert!(factors.iter().any(|&factor| factor > 1.0 && factor < 8.0));
    }

    #[test]
    fn stored_factors_say_the_same_as_the_scaling() {
        let scaled = rope(LLAMA_3_1);
        let stored = Rope {
            frequency_factors: scaled.factors(),
            ..rope(RopeScaling::None)
        };
        for (stored, scaled) in stored.frequencies().iter().zip(scaled.frequencies()) {
            assert!((stored / scaled - 1.0).abs() < 1e-6);
        }
    }
}
