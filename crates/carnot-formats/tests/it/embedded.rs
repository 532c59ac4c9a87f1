//! The embedded model as Hugging Face would read it.

use carnot_formats::{Architecture, BlockType, RopeStyle};
use serde_json::json;

use crate::{embedded, models};

#[test]
fn the_configuration_is_read() {
    let model = embedded();
    let config = model.config();
    assert_eq!(
        (config.architecture, config.rope.style),
        (Architecture::Llama, RopeStyle::Half)
    );
    assert_eq!(
        (config.vocabulary, config.hidden, config.layers),
        (4096, 256, 6)
    );
    assert_eq!(
        (
            config.heads,
            config.kv_heads,
            config.head_dim,
            config.feed_forward
        ),
        (8, 4, 32, 768)
    );
    assert_eq!(
        (
            config.context_length,
            config.tied_embeddings,
            config.sliding_window
        ),
        (1024, true, None)
    );
    assert_eq!(
        (model.name(), model.file_type().as_str()),
        ("embedded", "F16")
    );
    assert_eq!(model.parameters(), 5_770_496);
}

#[test]
fn tensors_have_canonical_names() {
    let model = embedded();
    let query = model.tensor("blk.5.attn_k.weight").unwrap();
    assert_eq!(
        (&query.shape[..], query.dtype, query.data.len()),
        (&[128, 256][..], BlockType::F16, 128 * 256 * 2)
    );
    assert!(model.optional_tensor("output.weight").is_none());
    let error = model.tensor("blk.6.attn_k.weight").unwrap_err().to_string();
    assert!(
        error.ends_with("model.safetensors: no tensor blk.6.attn_k.weight"),
        "{error}"
    );
}

#[test]
fn text_goes_there_and_back() {
    let tokenizer = embedded().tokenizer().unwrap();
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()),
        (Some(0), &[1][..], true)
    );
    assert_eq!(tokenizer.vocabulary_size(), 4096);
    let text = std::fs::read_to_string(models().join("text/validation.txt")).unwrap();
    let ids = tokenizer.encode(&text, true).unwrap();
    assert_eq!(ids[0], 0);
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
    let joined: Vec<u8> = ids[1..]
        .iter()
        .flat_map(|&id| tokenizer.token_bytes(id).unwrap())
        .collect();
    assert_eq!(joined, text.as_bytes());
}

#[test]
fn special_tokens_are_parsed_and_hidden() {
    let tokenizer = embedded().tokenizer().unwrap();
    let ids = tokenizer.encode("a<|end|>", false).unwrap();
    assert_eq!(ids.last(), Some(&1));
    assert!(tokenizer.is_special(1) && !tokenizer.is_special(ids[0]));
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "a");
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), "a<|end|>");
    assert_eq!(tokenizer.token_bytes(4096), None);
    assert!(tokenizer.decode(&[4096], true).is_err());
}

#[test]
fn conversations_become_comments() {
    let template = embedded()
        .chat_template()
        .unwrap()
        .expect("the model has a template");
    let messages = [json!({ "role": "user", "content": "write a loop" })];
    assert_eq!(
        template
            .render(&messages, &[(); 0], &json!({}), true)
            .unwrap(),
        "# user: write a loop\n# assistant: "
    );
}
