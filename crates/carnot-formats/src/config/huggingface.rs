//! The configuration in a Hugging Face `config.json`, of transformers 4 and 5.

use serde::Deserialize;

use super::{Architecture, ModelConfig, Rope, RopeScaling, RopeStyle};
use crate::error::{Error, File};

#[derive(Deserialize)]
struct Json {
    model_type: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    vocab_size: usize,
    rope_theta: Option<f32>,
    /// Where transformers 4 says how rope is scaled.
    rope_scaling: Option<RopeJson>,
    /// Where transformers 5 says it, with the base.
    rope_parameters: Option<RopeJson>,
    partial_rotary_factor: Option<f32>,
    #[serde(default)]
    tie_word_embeddings: bool,
    sliding_window: Option<usize>,
    /// Qwen 2 and 3 name a window that they do not use.
    use_sliding_window: Option<bool>,
    hidden_act: Option<String>,
    #[serde(default)]
    mlp_bias: bool,
    quantization_config: Option<serde_json::Value>,
}

#[derive(Clone, Deserialize)]
struct RopeJson {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f32>,
    partial_rotary_factor: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<usize>,
}

/// Parses `config.json`; `file` is its name, for errors.
pub(crate) fn parse(file: File, json: &[u8]) -> Result<ModelConfig, Error> {
    let json: Json = serde_json::from_slice(json).map_err(|error| file.json(error))?;
    let architecture = architecture(file, &json)?;
    refuse_variants(file, &json)?;
    let heads = json.num_attention_heads;
    let head_dim = json.head_dim.unwrap_or(json.hidden_size / heads.max(1));
    let windowed = json
        .use_sliding_window
        .unwrap_or(architecture == Architecture::Mistral);
    Ok(ModelConfig {
        architecture,
        vocabulary: json.vocab_size,
        hidden: json.hidden_size,
        layers: json.num_hidden_layers,
        heads,
        kv_heads: json.num_key_value_heads.unwrap_or(heads),
        head_dim,
        feed_forward: json.intermediate_size,
        context_length: json.max_position_embeddings,
        rms_norm_epsilon: json.rms_norm_eps,
        rope: rope(file, &json, head_dim)?,
        tied_embeddings: json.tie_word_embeddings,
        sliding_window: json.sliding_window.filter(|window| windowed && *window > 0),
    })
}

fn architecture(file: File, json: &Json) -> Result<Architecture, Error> {
    match json.model_type.as_str() {
        "llama" => Ok(Architecture::Llama),
        "mistral" => Ok(Architecture::Mistral),
        "qwen2" => Ok(Architecture::Qwen2),
        "qwen3" => Ok(Architecture::Qwen3),
        other => Err(file.unsupported("model_type", other, "llama, mistral, qwen2 and qwen3 are")),
    }
}

/// What would change the arithmetic without changing a tensor's name must not be ignored.
fn refuse_variants(file: File, json: &Json) -> Result<(), Error> {
    match json.hidden_act.as_deref() {
        None | Some("silu" | "swish") => {}
        Some(other) => return Err(file.unsupported("hidden_act", other, "silu is")),
    }
    if json.mlp_bias {
        return Err(file.unsupported("mlp_bias", true, "feed-forward parts without biases are"));
    }
    if let Some(quantization) = &json.quantization_config {
        let method = quantization
            .get("quant_method")
            .and_then(|method| method.as_str())
            .unwrap_or("unnamed");
        return Err(file.unsupported(
            "quantization_config",
            method,
            "f32, f16 and bf16 weights are",
        ));
    }
    Ok(())
}

fn rope(file: File, json: &Json, head_dim: usize) -> Result<Rope, Error> {
    let parameters = json.rope_parameters.as_ref().or(json.rope_scaling.as_ref());
    let theta = json
        .rope_parameters
        .as_ref()
        .and_then(|parameters| parameters.rope_theta)
        .or(json.rope_theta);
    let rotated = parameters
        .and_then(|parameters| parameters.partial_rotary_factor)
        .or(json.partial_rotary_factor);
    Ok(Rope {
        theta: theta.unwrap_or(10_000.0),
        dimension: rotated.map_or(head_dim, |part| (head_dim as f32 * part) as usize),
        style: RopeStyle::Half,
        scaling: parameters.map_or(Ok(RopeScaling::None), |parameters| {
            scaling(file, parameters)
        })?,
        frequency_factors: None,
    })
}

fn scaling(file: File, parameters: &RopeJson) -> Result<RopeScaling, Error> {
    let need = |value: Option<f32>, field: &str| {
        value.ok_or_else(|| {
            file.malformed(format!("rope parameters: {field}"), "a number", "nothing")
        })
    };
    match parameters.rope_type.as_deref() {
        None | Some("default") => Ok(RopeScaling::None),
        Some("linear") => Ok(RopeScaling::Linear {
            factor: need(parameters.factor, "factor")?,
        }),
        Some("llama3") => Ok(RopeScaling::Llama3 {
            factor: need(parameters.factor, "factor")?,
            low_frequency: need(parameters.low_freq_factor, "low_freq_factor")?,
            high_frequency: need(parameters.high_freq_factor, "high_freq_factor")?,
            original_context: parameters.original_max_position_embeddings.ok_or_else(|| {
                file.malformed(
                    "rope parameters: original_max_position_embeddings",
                    "a number",
                    "nothing",
                )
            })?,
        }),
        Some(other) => Err(file.unsupported("rope scaling", other, "none, linear and llama3 are")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#""hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "vocab_size": 10"#;

    fn parse(extra: &str) -> Result<ModelConfig, Error> {
        super::parse(
            File("config.json"),
            format!("{{{PLAIN}, {extra}}}").as_bytes(),
        )
    }

    #[test]
    fn transformers_4_and_5_say_the_same() {
        let old = parse(
            r#""model_type": "llama", "rope_theta": 5e5, "rope_scaling": {"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 32}"#,
        );
        let new = parse(
            r#""model_type": "llama", "rope_parameters": {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0,
            "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}"#,
        );
        let (old, new) = (old.unwrap(), new.unwrap());
        assert_eq!(old, new);
        assert_eq!((new.rope.theta, new.head_dim, new.kv_heads), (5e5, 4, 2));
        assert!(matches!(
            new.rope.scaling,
            RopeScaling::Llama3 {
                original_context: 32,
                ..
            }
        ));
    }

    #[test]
    fn a_window_counts_only_when_it_is_used() {
        let window = |extra| parse(extra).unwrap().sliding_window;
        assert_eq!(
            window(r#""model_type": "mistral", "sliding_window": 4096"#),
            Some(4096)
        );
        assert_eq!(
            window(r#""model_type": "mistral", "sliding_window": null"#),
            None
        );
        assert_eq!(
            window(r#""model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": false"#),
            None
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let message = |extra| parse(extra).unwrap_err().to_string();
        let yarn = r#""model_type": "qwen2", "rope_scaling": {"rope_type": "yarn", "factor": 4.0}"#;
        assert_eq!(
            message(yarn),
            "config.json: rope scaling yarn is not supported (none, linear and llama3 are)"
        );
        assert!(message(r#""model_type": "gemma""#).contains("model_type gemma"));
        assert!(
            message(r#""model_type": "llama", "hidden_act": "gelu""#).contains("hidden_act gelu")
        );
        assert!(message(r#""model_type": "llama", "mlp_bias": true"#).contains("mlp_bias"));
        assert!(
            message(r#""model_type": "llama", "quantization_config": {"quant_method": "gptq"}"#)
                .contains("gptq")
        );
        assert!(
            message(r#""model_type": "llama", "rope_scaling": {"type": "linear"}"#)
                .contains("rope parameters: factor")
        );
    }
}
