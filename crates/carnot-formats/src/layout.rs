//! Which tensors an architecture has, under which names, of which shapes.

use crate::config::ModelConfig;

/// One tensor that a model has or may have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorSpec {
    /// The canonical (GGUF) name.
    pub name: String,
    /// Row-major, outermost first.
    pub shape: Vec<usize>,
    /// Whether a model without it is broken.
    pub required: bool,
}

fn spec(name: impl Into<String>, shape: &[usize], required: bool) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        shape: shape.to_vec(),
        required,
    }
}

impl ModelConfig {
    /// The tensors of such a model, in the order in which files hold them.
    pub fn tensors(&self) -> impl Iterator<Item = TensorSpec> + '_ {
        let embedding = [self.vocabulary, self.hidden];
        let first = [
            Some(spec("token_embd.weight", &embedding, true)),
            Some(spec("output_norm.weight", &[self.hidden], true)),
            (!self.tied_embeddings).then(|| spec("output.weight", &embedding, true)),
            Some(spec("rope_freqs.weight", &[self.rope.dimension / 2], false)),
        ];
        first
            .into_iter()
            .flatten()
            .chain((0..self.layers).flat_map(|layer| self.layer_tensors(layer)))
    }

    fn layer_tensors(&self, layer: usize) -> Vec<TensorSpec> {
        let (hidden, wide) = (self.hidden, self.feed_forward);
        let (query, key) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let biases = self.architecture.has_attention_biases();
        let weight =
            |part: &str, shape: &[usize]| spec(format!("blk.{layer}.{part}.weight"), shape, true);
        let bias = |part: &str, length| spec(format!("blk.{layer}.{part}.bias"), &[length], biases);
        let mut tensors = vec![
            weight("attn_norm", &[hidden]),
            weight("attn_q", &[query, hidden]),
            bias("attn_q", query),
            weight("attn_k", &[key, hidden]),
            bias("attn_k", key),
            weight("attn_v", &[key, hidden]),
            bias("attn_v", key),
            weight("attn_output", &[hidden, query]),
            weight("ffn_norm", &[hidden]),
            weight("ffn_gate", &[wide, hidden]),
            weight("ffn_up", &[wide, hidden]),
            weight("ffn_down", &[hidden, wide]),
        ];
        if self.architecture.has_query_key_norms() {
            tensors.push(weight("attn_q_norm", &[self.head_dim]));
            tensors.push(weight("attn_k_norm", &[self.head_dim]));
        }
        tensors
    }
}

/// The canonical name of a tensor of a Hugging Face model; `None` for names that are not known.
pub(crate) fn canonical_name(name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some("token_embd.weight".to_owned()),
        "model.norm.weight" => return Some("output_norm.weight".to_owned()),
        "lm_head.weight" => return Some("output.weight".to_owned()),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    let (module, kind) = part.rsplit_once('.')?;
    let module = match module {
        "input_layernorm" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "post_attention_layernorm" => "ffn_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{layer}.{module}.{kind}"))
}

/// Buffers that old checkpoints store although they follow from the configuration.
pub(crate) fn is_derived(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_translate() {
        let cases = [
            (
                "model.layers.11.self_attn.q_proj.bias",
                Some("blk.11.attn_q.bias"),
            ),
            (
                "model.layers.0.mlp.down_proj.weight",
                Some("blk.0.ffn_down.weight"),
            ),
            ("lm_head.weight", Some("output.weight")),
            ("model.layers.x.mlp.down_proj.weight", None),
            ("model.layers.0.mlp.experts.weight", None),
            ("visual.weight", None),
        ];
        for (name, expected) in cases {
            assert_eq!(canonical_name(name).as_deref(), expected, "{name}");
        }
    }
}
