//! Drives an engine through one request, phase by phase.

use std::time::{Duration, Instant};

use carnot_engine::{Event, FinishReason, TextEngine, TextRequest, Usage};
use carnot_probe::{Kind, Span, span};

use crate::interrupt;

/// What one request took.
#[derive(Clone, Copy, Debug)]
pub struct Generation {
    /// From submission to the first token.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
    /// Tokens.
    pub usage: Usage,
    /// Why it ended.
    pub reason: FinishReason,
}

/// Runs `request` to its end, or to an interrupt, and gives each piece of text to `out`.
pub fn generate(
    engine: &mut dyn TextEngine,
    request: TextRequest,
    mut out: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<Generation> {
    let begin = Instant::now();
    let mut first_token = None;
    let mut phase = span!("prefill", Kind::Phase).tokens(request.prompt.len() as u32);
    let id = engine.submit(request, begin.elapsed())?;
    let mut events = Vec::new();
    loop {
        if interrupt::asked() {
            engine.cancel(id);
        }
        engine.step(begin.elapsed(), &mut events)?;
        for event in events.drain(..) {
            match event {
                Event::Token { text, .. } => {
                    if first_token.is_none() {
                        first_token = Some(Instant::now());
                        replace(&mut phase, || span!("decode", Kind::Phase));
                    }
                    out(&text)?;
                }
                Event::Finished {
                    text,
                    reason,
                    usage,
                    ..
                } => {
                    phase.set_tokens(if first_token.is_some() {
                        usage.generated_tokens as u32 - 1
                    } else {
                        usage.prompt_tokens as u32
                    });
                    phase.end();
                    let first = first_token.unwrap_or_else(Instant::now);
                    let (prefill, decode) = (first - begin, first.elapsed());
                    out(&text)?;
                    return Ok(Generation {
                        prefill,
                        decode,
                        usage,
                        reason,
                    });
                }
                _ => {}
            }
        }
    }
}

/// Ends the phase before the next begins, so that they do not overlap.
fn replace(phase: &mut Span, next: impl FnOnce() -> Span) {
    *phase = {
        let old = std::mem::replace(phase, carnot_probe::nothing());
        old.end();
        next()
    };
}
