//! `carnot run`: text to standard output as it comes, one line of timing to standard error.

use std::io::{IsTerminal, Read};

use anyhow::Context;
use carnot_engine::{ChatMessage, Conversation, Sampling, TextEngine, TextRequest};
use carnot_llm::LlmEngine;

use crate::cli::RunArguments;
use crate::generation::{Generation, generate};
use crate::printer::Printer;
use crate::{interrupt, model_source};

pub fn execute(arguments: &RunArguments, printer: &Printer) -> anyhow::Result<()> {
    Sampling::from(&arguments.sampling).validate()?;
    let mut engine = model_source::load(&arguments.model, printer)?.engine;
    let prompt = prompt(arguments, &engine)?;
    interrupt::listen();
    let request = TextRequest {
        prompt,
        max_tokens: arguments.tokens,
        sampling: (&arguments.sampling).into(),
        stop: arguments.stop.clone(),
        ignore_eos: arguments.ignore_eos,
        ..TextRequest::default()
    };
    let generation = generate(&mut engine, request, |text| Ok(printer.result(text)?))?;
    printer.result("\n")?;
    printer.note(&timing(
        &generation,
        engine.loaded().compute().pool().threads(),
    ));
    Ok(())
}

/// The tokens to continue: a rendered chat, or the prompt, or standard input.
fn prompt(arguments: &RunArguments, engine: &LlmEngine) -> anyhow::Result<Vec<u32>> {
    let tokenizer = engine.tokenizer();
    if let Some(message) = &arguments.chat {
        let system = arguments.system.iter();
        let system = system.map(|system| ChatMessage::new("system", system));
        let conversation = Conversation {
            messages: system.chain([ChatMessage::new("user", message)]).collect(),
            ..Conversation::default()
        };
        let tokens = engine.codec().encode_chat(&conversation);
        return tokens.map_err(|error| anyhow::anyhow!("{error}; give a prompt with -p"));
    }
    let text = match arguments.prompt.as_deref() {
        Some("-") => standard_input()?,
        Some(text) => text.to_owned(),
        None if !std::io::stdin().is_terminal() => standard_input()?,
        None => anyhow::bail!(
            "no prompt: give one with -p, a message with --chat, or text on standard input"
        ),
    };
    let tokens = tokenizer.encode(&text, true)?;
    // A model without a beginning-of-text token has nothing to continue an empty prompt from.
    anyhow::ensure!(!tokens.is_empty(), "the prompt is empty");
    Ok(tokens)
}

fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("reading the prompt from standard input")?;
    Ok(text)
}

fn timing(generation: &Generation, threads: usize) -> String {
    let Generation {
        prefill,
        decode,
        usage,
        reason,
    } = generation;
    let rate = |tokens: usize, seconds: f64| {
        if seconds > 0.0 {
            tokens as f64 / seconds
        } else {
            0.0
        }
    };
    let decoded = usage.generated_tokens.saturating_sub(1);
    format!(
        "prefill {} tokens {:.1} ms ({:.0} tok/s) · decode {} tokens {:.1} ms ({:.1} tok/s) · {} · {threads} thread{}",
        usage.prompt_tokens,
        prefill.as_secs_f64() * 1e3,
        rate(usage.prompt_tokens, prefill.as_secs_f64()),
        decoded,
        decode.as_secs_f64() * 1e3,
        rate(decoded, decode.as_secs_f64()),
        reason.name(),
        if threads == 1 { "" } else { "s" }
    )
}
