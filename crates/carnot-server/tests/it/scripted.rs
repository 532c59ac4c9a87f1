//! An engine that computes nothing: every running request gets the next letter, and a test says how many steps there are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use carnot_engine::{
    Census, Conversation, EngineError, Event, FinishReason, Grammar, ModelInfo, RequestId,
    StepOutcome, TextCodec, TextEngine, TextRequest, TokenLogprobs, Usage,
};

/// A prompt that makes the engine fail, and one that makes it panic.
pub const FAILS: &str = "fail!";
pub const PANICS: &str = "panic!";
/// A prompt that ends with this and a text makes the engine say that text.
pub const SAYS: &str = "says:";
/// A regular expression whose compilation takes so long.
pub const SLOW_GRAMMAR: &str = "slow";
pub const GRAMMAR_TIME: Duration = Duration::from_millis(300);
const VOCABULARY: usize = 256;
pub const CONTEXT: usize = 100_000;

/// Steps that the engine may still do.
#[derive(Clone, Default)]
pub struct Gate(Arc<AtomicUsize>);

impl Gate {
    pub fn allow(&self, steps: usize) {
        self.0.fetch_add(steps, Ordering::SeqCst);
    }

    pub fn open(&self) {
        self.0.store(usize::MAX / 2, Ordering::SeqCst);
    }

    fn pass(&self) -> bool {
        let take = |left: usize| left.checked_sub(1);
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .is_ok()
    }
}

struct Sequence {
    id: RequestId,
    request: TextRequest,
    generated: usize,
    is_paused: bool,
}

impl Sequence {
    fn prompt(&self) -> String {
        let letters = self.request.prompt.iter();
        letters.map(|&byte| byte as u8 as char).collect()
    }

    /// What it has to say, where its prompt has [`SAYS`]; the rest of the alphabet otherwise.
    fn says(&self) -> Option<Vec<u8>> {
        let prompt = self.prompt();
        let (_, said) = prompt.rsplit_once(SAYS)?;
        Some(said.as_bytes().to_vec())
    }
}

pub struct Scripted {
    info: ModelInfo,
    places: usize,
    gate: Gate,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    cancelled: Vec<RequestId>,
    next_id: u64,
}

impl Scripted {
    pub fn new(name: &str, places: usize, gate: Gate) -> Self {
        Self {
            info: ModelInfo {
                name: name.to_owned(),
                vocabulary: VOCABULARY,
                context_length: CONTEXT,
                ..ModelInfo::default()
            },
            places,
            gate,
            waiting: VecDeque::new(),
            running: Vec::new(),
            cancelled: Vec::new(),
            next_id: 0,
        }
    }
}

/// Bytes as tokens.
struct Bytes;

impl TextCodec for Bytes {
    fn encode(&self, text: &str, _: bool) -> Result<Vec<u32>, EngineError> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, EngineError> {
        let bytes: Vec<u8> = tokens.iter().map(|&token| token as u8).collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn token_bytes(&self, token: u32) -> Option<Vec<u8>> {
        Some(vec![token as u8])
    }

    fn encode_chat(&self, conversation: &Conversation) -> Result<Vec<u32>, EngineError> {
        let tools = conversation.tools.iter().map(|tool| format!("[{tool}]"));
        let messages = conversation.messages.iter().map(|message| {
            let rest = (!message.rest.is_empty()).then(|| Value::from(message.rest.clone()));
            let rest = rest.map(|rest| rest.to_string()).unwrap_or_default();
            format!("<{}>{}{rest}", message.role, message.content)
        });
        let text: String = tools.chain(messages).collect();
        self.encode(&text, true)
    }

    fn check_grammar(&self, grammar: &Grammar) -> Result<(), EngineError> {
        match grammar {
            Grammar::Regex(text) if text == "(" => Err(EngineError::InvalidGrammar {
                reason: "unclosed".to_owned(),
            }),
            Grammar::Regex(text) if text == SLOW_GRAMMAR => {
                std::thread::sleep(GRAMMAR_TIME);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// What a sequence generates: `abc…`, over and over.
fn letter(index: usize) -> u8 {
    b'a' + (index % 26) as u8
}

impl TextEngine for Scripted {
    fn model(&self) -> &ModelInfo {
        &self.info
    }

    fn codec(&self) -> Arc<dyn TextCodec> {
        Arc::new(Bytes)
    }

    fn submit(&mut self, request: TextRequest, _: Duration) -> Result<RequestId, EngineError> {
        request.validate()?;
        if let Some(position) = request
            .prompt
            .iter()
            .position(|&token| token as usize >= VOCABULARY)
        {
            return Err(EngineError::UnknownToken {
                token: request.prompt[position],
                position,
                vocabulary: VOCABULARY,
            });
        }
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.waiting.push_back(Sequence {
            id,
            request,
            generated: 0,
            is_paused: false,
        });
        Ok(id)
    }

    fn cancel(&mut self, request: RequestId) {
        self.cancelled.push(request);
    }

    fn pause(&mut self, request: RequestId, is_paused: bool) {
        for sequence in self.running.iter_mut().chain(&mut self.waiting) {
            if sequence.id == request {
                sequence.is_paused = is_paused;
            }
        }
    }

    fn census(&self) -> Census {
        Census {
            running: self.running.len(),
            waiting: self.waiting.len(),
            ..Census::default()
        }
    }

    fn flush_prefix_cache(&mut self) -> usize {
        7
    }

    fn step(&mut self, now: Duration, events: &mut Vec<Event>) -> Result<StepOutcome, EngineError> {
        for id in std::mem::take(&mut self.cancelled) {
            let ended = |sequence: &Sequence| finished(sequence, FinishReason::Cancelled);
            events.extend(
                self.waiting
                    .iter()
                    .filter(|sequence| sequence.id == id)
                    .map(ended),
            );
            events.extend(
                self.running
                    .iter()
                    .filter(|sequence| sequence.id == id)
                    .map(ended),
            );
            self.waiting.retain(|sequence| sequence.id != id);
            self.running.retain(|sequence| sequence.id != id);
        }
        let late = |sequence: &Sequence| sequence.request.deadline.is_some_and(|at| at <= now);
        events.extend(
            self.running
                .iter()
                .filter(|sequence| late(sequence))
                .map(|sequence| finished(sequence, FinishReason::TimedOut)),
        );
        self.running.retain(|sequence| !late(sequence));
        if !self.gate.pass() {
            return Ok(StepOutcome::default());
        }
        while self.running.len() < self.places {
            let Some(sequence) = self.waiting.pop_front() else {
                break;
            };
            events.push(Event::Started {
                request: sequence.id,
                cached_tokens: 0,
            });
            self.running.push(sequence);
        }
        let mut outcome = StepOutcome::default();
        let mut left = Vec::new();
        for mut sequence in std::mem::take(&mut self.running) {
            let prompt = sequence.prompt();
            if prompt == FAILS {
                return Err(EngineError::Engine("it was asked to".into()));
            }
            assert!(prompt != PANICS, "it was asked to");
            if sequence.request.embed.is_some() {
                // Its length, and its first letter.
                let values = [
                    sequence.request.prompt.len() as f32,
                    sequence.request.prompt[0] as f32,
                ];
                events.push(Event::Embedding {
                    request: sequence.id,
                    values: values.to_vec(),
                });
                events.push(finished(&sequence, FinishReason::Stop));
                continue;
            }
            if !sequence.is_paused {
                if sequence.generated < sequence.request.max_tokens {
                    outcome.decode_tokens += 1;
                    events.push(token(&sequence));
                    sequence.generated += 1;
                }
                let said = sequence.says().map(|said| said.len());
                if said.is_some_and(|length| sequence.generated >= length) {
                    events.push(finished(&sequence, FinishReason::Stop));
                    continue;
                }
                if sequence.generated >= sequence.request.max_tokens {
                    events.push(finished(&sequence, FinishReason::Length));
                    continue;
                }
            }
            left.push(sequence);
        }
        self.running = left;
        Ok(outcome)
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }
}

fn token(sequence: &Sequence) -> Event {
    let letter = match sequence.says() {
        Some(said) => said[sequence.generated],
        None => letter(sequence.generated),
    };
    Event::Token {
        request: sequence.id,
        token: letter.into(),
        text: char::from(letter).to_string(),
        logprobs: sequence.request.logprobs.map(|top| {
            Box::new(TokenLogprobs {
                chosen: -0.5,
                top: (0..top)
                    .map(|rank| (u32::from(b'a') + rank as u32, -(rank as f32)))
                    .collect(),
            })
        }),
    }
}

fn finished(sequence: &Sequence, reason: FinishReason) -> Event {
    Event::Finished {
        request: sequence.id,
        reason,
        text: String::new(),
        usage: Usage {
            prompt_tokens: sequence.request.prompt.len(),
            generated_tokens: sequence.generated,
            ..Usage::default()
        },
    }
}
