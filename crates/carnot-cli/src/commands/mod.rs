//! One file per verb.

pub mod baseline;
pub mod bench;
pub mod compare;
pub mod history;
pub mod machine;
pub mod metrics;
pub mod monitor;
pub mod perplexity;
pub mod profile;
pub mod run;
pub mod serve;
pub mod synth;

use carnot_engine::Sampling;

use crate::cli::SamplingArguments;

impl From<&SamplingArguments> for Sampling {
    fn from(arguments: &SamplingArguments) -> Self {
        Self {
            temperature: arguments.temperature,
            top_k: arguments.top_k,
            top_p: arguments.top_p,
            min_p: arguments.min_p,
            repetition_penalty: arguments.repetition_penalty,
            frequency_penalty: arguments.frequency_penalty,
            presence_penalty: arguments.presence_penalty,
            seed: arguments.seed,
        }
    }
}
