//! What a request asks of the engine, and what of it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carnot_engine::{DEFAULT_PRIORITY, Sampling, TextCodec, TextRequest};

use super::wire::Common;
use crate::engine_thread::EngineHandle;
use crate::error::ApiError;

/// Choices of one request at most.
pub(crate) const MOST_CHOICES: usize = 16;
/// Texts and tokens that may end a choice, at most.
pub(crate) const MOST_STOPS: usize = 16;
/// Log-probabilities beside that of the chosen token, at most.
pub(crate) const MOST_LOGPROBS: usize = 20;

/// Tokens of a stream that are sent together, at most.
const MOST_TOGETHER: usize = 256;
/// Tokens a second that a reader may ask for.
const SLOWEST_PACE: f64 = 1.0;
const FASTEST_PACE: f64 = 1000.0;

/// The two forms of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Completion,
}

/// How a stream is told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct StreamForm {
    pub include_usage: bool,
    /// Whether it says how far the prompt is.
    pub progress: bool,
    /// Tokens that are sent together.
    pub interval: usize,
    /// Time between two tokens at least.
    pub pace: Duration,
}

impl StreamForm {
    fn new(common: &Common) -> Result<Self, ApiError> {
        let pace = match common.tokens_per_second {
            None => Duration::ZERO,
            Some(rate) if (SLOWEST_PACE..=FASTEST_PACE).contains(&rate) => {
                Duration::from_secs_f64(1.0 / rate)
            }
            Some(rate) => {
                let expected = format!("a number from {SLOWEST_PACE} to {FASTEST_PACE}");
                return Err(ApiError::field("tokens_per_second", &expected, rate));
            }
        };
        let options = common.stream_options.as_ref();
        let interval = common.stream_interval.unwrap_or(1);
        Ok(Self {
            include_usage: options.is_some_and(|options| options.include_usage),
            progress: common.return_progress.unwrap_or(false),
            interval: within("stream_interval", interval, 1, MOST_TOGETHER)?,
            pace,
        })
    }
}

/// Sequences, and how they are told.
pub(crate) struct Plan {
    pub kind: Kind,
    pub id: Arc<str>,
    /// Seconds since 1970.
    pub created: u64,
    pub model: String,
    pub codec: Arc<dyn TextCodec>,
    /// A request for each choice; those of one prompt follow each other.
    pub requests: Vec<TextRequest>,
    /// Choices of each prompt.
    pub choices: usize,
    pub stream: bool,
    pub streaming: StreamForm,
    /// Whether the prompt's text comes before the choice's.
    pub echo: bool,
    /// Whether there are tools that the model may call.
    pub has_tools: bool,
}

/// What kinds of request differ in.
pub(crate) struct Prompts {
    pub kind: Kind,
    pub tokens: Vec<Vec<u32>>,
    pub logprobs: Option<usize>,
    pub echo: bool,
    pub has_tools: bool,
}

impl Plan {
    /// Checks what a client wrote, and makes a request of it for each choice.
    pub fn new(
        engine: &EngineHandle,
        tenant: Arc<str>,
        prompts: Prompts,
        common: Common,
    ) -> Result<Self, ApiError> {
        let choices = within("n", common.n.unwrap_or(1), 1, MOST_CHOICES)?;
        let logprobs = prompts.logprobs;
        within("logprobs", logprobs.unwrap_or(0), 0, MOST_LOGPROBS)?;
        let streaming = StreamForm::new(&common)?;
        let stream = common.stream.unwrap_or(false);
        let context = engine.model.context_length;
        let template = template(common, tenant, logprobs)?;
        let mut requests = Vec::new();
        for prompt in prompts.tokens {
            if prompt.len() >= context {
                let prompt = prompt.len();
                return Err(carnot_engine::EngineError::ContextExceeded { prompt, context }.into());
            }
            for choice in 0..choices as u64 {
                let mut request = template.clone();
                request.prompt.clone_from(&prompt);
                request.max_tokens = request.max_tokens.min(context);
                request.sampling.seed = request.sampling.seed.wrapping_add(choice);
                request.validate()?;
                requests.push(request);
            }
        }
        if requests.is_empty() {
            return Err(ApiError::field("prompt", "at least one", "none"));
        }
        Ok(Self {
            kind: prompts.kind,
            id: name(prompts.kind).into(),
            created: unix_seconds(),
            model: engine.model.name.clone(),
            codec: Arc::clone(&engine.codec),
            requests,
            choices,
            stream,
            streaming,
            echo: prompts.echo,
            has_tools: prompts.has_tools,
        })
    }
}

/// Everything but the prompt.
fn template(
    common: Common,
    tenant: Arc<str>,
    logprobs: Option<usize>,
) -> Result<TextRequest, ApiError> {
    let grammar = common.grammar()?;
    let stop = common
        .stop
        .map_or_else(Vec::new, super::wire::OneOrMany::into_vec);
    let stop_tokens = common.stop_token_ids.unwrap_or_default();
    within("stop", stop.len() + stop_tokens.len(), 0, MOST_STOPS)?;
    let bias = common.logit_bias.unwrap_or_default().into_iter();
    let logit_bias = bias.map(|(token, bias)| {
        let parsed = token.parse();
        let token = parsed.map_err(|_| ApiError::field("logit_bias", "token ids", &token))?;
        Ok((token, bias.clamp(-100.0, 100.0)))
    });
    let logit_bias = logit_bias.collect::<Result<_, ApiError>>()?;
    let default = Sampling::default();
    // Llama.cpp and vLLM write -1 for all of them.
    let top_k = common.top_k.map_or(0, |k| usize::try_from(k).unwrap_or(0));
    Ok(TextRequest {
        max_tokens: common
            .max_completion_tokens
            .or(common.max_tokens)
            .unwrap_or(usize::MAX),
        min_tokens: common.min_tokens.unwrap_or(0),
        sampling: Sampling {
            temperature: common.temperature.unwrap_or(1.0),
            top_k,
            top_p: common.top_p.unwrap_or(default.top_p),
            min_p: common.min_p.unwrap_or(default.min_p),
            repetition_penalty: common
                .repetition_penalty
                .unwrap_or(default.repetition_penalty),
            frequency_penalty: common
                .frequency_penalty
                .unwrap_or(default.frequency_penalty),
            presence_penalty: common.presence_penalty.unwrap_or(default.presence_penalty),
            seed: common.seed.map_or_else(any_number, i64::cast_unsigned),
        },
        stop,
        stop_tokens,
        ignore_eos: common.ignore_eos.unwrap_or(false),
        logit_bias,
        logprobs,
        grammar,
        priority: common.priority.unwrap_or(DEFAULT_PRIORITY),
        tenant,
        ..TextRequest::default()
    })
}

fn within(field: &str, value: usize, least: usize, most: usize) -> Result<usize, ApiError> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(ApiError::field(
        field,
        &format!("a number from {least} to {most}"),
        value,
    ))
}

/// Counts requests, for names and seeds.
static COUNT: AtomicU64 = AtomicU64::new(0);

fn name(kind: Kind) -> String {
    let prefix = match kind {
        Kind::Chat => "chatcmpl",
        Kind::Completion => "cmpl",
    };
    format!("{prefix}-{:016x}", any_number())
}

/// Another number each time, also after a restart.
pub(crate) fn any_number() -> u64 {
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanoseconds = since.map_or(0, |since| since.as_nanos() as u64);
    let mixed = nanoseconds.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
