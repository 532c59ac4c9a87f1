//! Requests as clients write them. Fields that nobody here knows are ignored, as OpenAI's own clients send some.

use std::collections::BTreeMap;

use carnot_engine::Grammar;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::error::{ApiError, INVALID_JSON};

/// Fields of chats and completions alike.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct Common {
    pub model: Option<String>,
    pub max_tokens: Option<usize>,
    pub max_completion_tokens: Option<usize>,
    pub min_tokens: Option<usize>,
    pub n: Option<usize>,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<i64>,
    pub min_p: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub logit_bias: Option<BTreeMap<String, f32>>,
    pub seed: Option<i64>,
    pub stop: Option<OneOrMany>,
    pub stop_token_ids: Option<Vec<u32>>,
    pub ignore_eos: Option<bool>,
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    /// Tells how far the prompt is while it is processed, as llama-server does.
    pub return_progress: Option<bool>,
    /// Tokens that are sent together at least, but for the last.
    pub stream_interval: Option<usize>,
    /// Sends no more tokens a second, for those who read along.
    pub tokens_per_second: Option<f64>,
    /// 10 goes first; 5 where nothing is said.
    #[schema(maximum = 10)]
    pub priority: Option<u8>,
    pub response_format: Option<ResponseFormat>,
    pub structured_outputs: Option<StructuredOutputs>,
}

/// OpenAI's way to ask for JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema { json_schema: NamedSchema },
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct NamedSchema {
    pub schema: Value,
}

/// vLLM's way to ask for any form.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct StructuredOutputs {
    pub json: Option<Value>,
    pub regex: Option<String>,
    pub choice: Option<Vec<String>>,
    pub grammar: Option<String>,
}

impl Common {
    /// The form that the text has to have.
    pub fn grammar(&self) -> Result<Option<Grammar>, ApiError> {
        let format = match &self.response_format {
            None | Some(ResponseFormat::Text) => None,
            Some(ResponseFormat::JsonObject) => {
                Some(Grammar::JsonSchema(r#"{"type":"object"}"#.to_owned()))
            }
            Some(ResponseFormat::JsonSchema { json_schema }) => {
                Some(Grammar::JsonSchema(json_schema.schema.to_string()))
            }
        };
        let Some(outputs) = &self.structured_outputs else {
            return Ok(format);
        };
        let json = outputs.json.as_ref().map(|schema| match schema {
            // Some clients write the schema as a text.
            Value::String(text) => Grammar::JsonSchema(text.clone()),
            schema => Grammar::JsonSchema(schema.to_string()),
        });
        let regex = outputs.regex.clone().map(Grammar::Regex);
        let choice = outputs.choice.as_ref().map(|choices| one_of(choices));
        let lark = outputs.grammar.clone().map(Grammar::Lark);
        let mut all = [format, json, regex, choice, lark].into_iter().flatten();
        let first = all.next();
        match all.next() {
            None => Ok(first),
            Some(_) => Err(ApiError::field("structured_outputs", "one form", "several")),
        }
    }
}

/// A regular expression for one of several texts.
fn one_of(choices: &[String]) -> Grammar {
    let escaped = choices.iter().map(|choice| {
        let escape = |letter: char| {
            let special = !letter.is_alphanumeric() && letter.is_ascii() && !letter.is_whitespace();
            [special.then_some('\\'), Some(letter)]
                .into_iter()
                .flatten()
        };
        choice.chars().flat_map(escape).collect::<String>()
    });
    Grammar::Regex(format!("({})", escaped.collect::<Vec<String>>().join("|")))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct StreamOptions {
    #[serde(default)]
    pub include_usage: bool,
}

/// `"x"` or `["x", "y"]`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ChatRequest {
    pub messages: Vec<Message>,
    #[serde(default)]
    pub logprobs: Option<bool>,
    #[serde(default)]
    pub top_logprobs: Option<usize>,
    #[serde(default)]
    pub tools: Option<Vec<Value>>,
    /// `none` hides the tools; everything else leaves it to the model.
    #[serde(default)]
    pub tool_choice: Option<Value>,
    /// Values that the model's template asks for, as vLLM has them.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub chat_template_kwargs: Map<String, Value>,
    #[serde(flatten)]
    pub common: Common,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Message {
    pub role: String,
    #[serde(default)]
    pub content: Option<Content>,
    /// `tool_calls`, `tool_call_id`, `name` and the like, for the template.
    #[serde(flatten)]
    #[schema(ignore)]
    pub rest: Map<String, Value>,
}

/// A text, or parts of one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Part {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub text: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CompletionRequest {
    #[serde(default)]
    pub prompt: Option<Prompt>,
    #[serde(default)]
    pub logprobs: Option<usize>,
    #[serde(default)]
    pub echo: Option<bool>,
    #[serde(flatten)]
    pub common: Common,
}

/// A text, texts, tokens, or lists of tokens.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

/// A body, or an error that says where it is wrong.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new(&INVALID_JSON, format!("the body: {error}")))
}
