//! From flags to loads.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use carnot_bench::Fetcher;
use carnot_bench::load::{
    Arrivals, Ask, Endpoint, Load, ModelMetadata, Replay, Shape, Target, asks, bodies, tensors,
};
use serde_json::Value;

use crate::cli::{InterfaceArgument, ServeLoadArguments};

/// Prompts that are made up, after which they come again.
const PROMPTS: usize = 1000;
/// For how long requests come where nobody says.
const DURATION: Duration = Duration::from_secs(30);
/// One-token requests a second beside a load.
const PROBES: f64 = 2.0;

/// How long a server may take to describe its model.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the flags fit the protocol: tensors have no turns, no tokens and no first text.
pub fn check(arguments: &ServeLoadArguments) -> anyhow::Result<()> {
    let requests = &arguments.requests;
    if arguments.protocol == InterfaceArgument::Openai {
        anyhow::ensure!(
            requests.shape.is_empty(),
            "--shape: expected --protocol oip beside it, got openai"
        );
        return Ok(());
    }
    let of_text = [
        ("--chat", arguments.chat),
        ("--turns", requests.turns > 1),
        ("--replay", arguments.arrivals.replay.is_some()),
        ("--probe-stream", arguments.probe_stream),
        ("--as", arguments.view.is_some()),
        ("--slo-first-ms", arguments.objectives.first_ms.is_some()),
        ("--slo-token-ms", arguments.objectives.token_ms.is_some()),
    ];
    if let Some((flag, _)) = of_text.iter().find(|(_, is_there)| *is_there) {
        anyhow::bail!("{flag}: expected --protocol openai beside it, got oip: it is about text");
    }
    anyhow::ensure!(
        arguments.model.is_some() || arguments.from.is_some(),
        "--protocol oip: expected --model NAME beside it, or NAME/versions/VERSION, got none"
    );
    Ok(())
}

/// The loads that are run one after another.
pub fn loads(arguments: &ServeLoadArguments) -> anyhow::Result<Vec<Load>> {
    let arrivals = &arguments.arrivals;
    if let Some(path) = &arrivals.replay {
        return Ok(vec![replay(path, arguments)?]);
    }
    let levels: Vec<Arrivals> = if arrivals.rate.is_empty() {
        let closed = |&clients: &usize| Arrivals::Closed { clients };
        arrivals.clients.iter().map(closed).collect()
    } else {
        arrivals
            .rate
            .iter()
            .map(|&rate| at(rate, arguments))
            .collect()
    };
    let numbered = (0..).zip(levels);
    numbered
        .map(|(index, level)| load(arguments, level, index))
        .collect()
}

/// Requests at that rate, as they are to come.
pub fn at(rate: f64, arguments: &ServeLoadArguments) -> Arrivals {
    let arrivals = &arguments.arrivals;
    match (arrivals.ramp_to, arrivals.burstiness) {
        (Some(to), _) => Arrivals::Ramp {
            from: rate,
            to,
            over: arrivals.duration.unwrap_or(DURATION),
        },
        (None, 0.0) => Arrivals::Constant { rate },
        (None, burstiness) => Arrivals::Random { rate, burstiness },
    }
}

/// A load that comes so, the `index`-th of a run: each has prompts of its own, so that none finds those of another kept.
pub fn load(
    arguments: &ServeLoadArguments,
    arrivals: Arrivals,
    index: u64,
) -> anyhow::Result<Load> {
    let mut target = arguments.url.clone();
    target.endpoint = match (arguments.protocol, arguments.chat) {
        (InterfaceArgument::Oip, _) => Endpoint::Infer,
        (InterfaceArgument::Openai, true) => Endpoint::Chat,
        (InterfaceArgument::Openai, false) => Endpoint::Completions,
    };
    target.model.clone_from(&arguments.model);
    target.key.clone_from(&arguments.api_key);
    let requests = &arguments.requests;
    let seed = arguments.arrivals.seed.wrapping_add(index << 32);
    let asks = match (&requests.dataset, arguments.protocol) {
        // Nobody is asked.
        _ if arguments.from.is_some() => Vec::new(),
        (Some(path), InterfaceArgument::Openai) => read(path, requests.tokens)?,
        (Some(path), InterfaceArgument::Oip) => {
            let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
            bodies(&text).with_context(|| format!("{}", path.display()))?
        }
        (None, InterfaceArgument::Oip) => made_up(&target, arguments, seed)?,
        (None, InterfaceArgument::Openai) => {
            let shape = Shape {
                words: requests.prompt_words,
                shared: requests.shared_words,
                tokens: requests.tokens,
                spread: requests.spread,
                turns: requests.turns,
            };
            asks(PROMPTS, shape, seed)
        }
    };
    Ok(Load {
        target,
        arrivals,
        duration: arguments.arrivals.duration.unwrap_or(DURATION),
        asks,
        think: requests.think,
        seed,
    })
}

/// Tensors as the server's model wants them.
fn made_up(target: &Target, arguments: &ServeLoadArguments, seed: u64) -> anyhow::Result<Vec<Ask>> {
    let path = target.model_path();
    let told = Fetcher::new(target.clone(), PATIENCE)?.text(&path)?;
    let model = ModelMetadata::parse(&told, &format!("{target}{path}"))?;
    let shapes = model.shapes(&arguments.requests.shape)?;
    Ok(tensors(&model, &shapes, seed)?)
}

/// The load of a trace.
fn replay(path: &Path, arguments: &ServeLoadArguments) -> anyhow::Result<Load> {
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let replay = Replay::read(&text, arguments.arrivals.speed);
    let replay = replay.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    // The last one is due just before the end.
    let whole = replay.span + Duration::from_nanos(1);
    Ok(Load {
        asks: replay.asks,
        duration: arguments.arrivals.duration.unwrap_or(whole),
        ..load(arguments, replay.arrivals, 0)?
    })
}

/// Requests for one token beside a load.
pub fn probe(load: &Load) -> Load {
    let shape = Shape {
        words: 8,
        shared: 0,
        tokens: 1,
        spread: 0.0,
        turns: 1,
    };
    Load {
        arrivals: Arrivals::Constant { rate: PROBES },
        asks: asks(PROMPTS, shape, !load.seed),
        ..load.clone()
    }
}

/// Requests that will come, if that is known.
pub fn expected(load: &Load) -> Option<u64> {
    if matches!(load.arrivals, Arrivals::Closed { .. }) {
        return None;
    }
    let dues = load.arrivals.offsets(load.seed);
    let dues = dues.take_while(|due| *due < load.duration);
    let turns = dues.zip(load.asks.iter().cycle());
    Some(turns.map(|(_, ask)| ask.turns() as u64).sum())
}

/// The prompts of a file: an object a line, with `prompt` or `text`, or with `turns`.
fn read(path: &Path, tokens: usize) -> anyhow::Result<Vec<Ask>> {
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let prompts = lines.map(|(index, line)| {
        let at = || format!("{}, line {}", path.display(), index + 1);
        let object: Value = serde_json::from_str(line).with_context(at)?;
        let said = said(&object);
        let mut said = said.into_iter().flatten().map(Into::into);
        let prompt = said.next().with_context(|| {
            let expected = "an object with `prompt`, or with a list of texts as `turns`";
            format!("{}: expected {expected}, got {line}", at())
        })?;
        Ok(Ask {
            prompt,
            tokens,
            later: said.collect(),
        })
    });
    let prompts = prompts.collect::<anyhow::Result<Vec<Ask>>>()?;
    anyhow::ensure!(
        !prompts.is_empty(),
        "{}: expected a prompt a line, got none",
        path.display()
    );
    Ok(prompts)
}

/// What a user says one after another.
fn said(object: &Value) -> Option<Vec<&str>> {
    match &object["turns"] {
        Value::Array(turns) => turns.iter().map(Value::as_str).collect(),
        _ => Some(vec![object["prompt"].as_str().or(object["text"].as_str())?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &str) -> anyhow::Result<Vec<Ask>> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), lines)?;
        read(file.path(), 7)
    }

    #[test]
    fn a_line_is_a_prompt_or_what_is_said_in_turns() {
        let asks = check("{\"prompt\": \"a\"}\n\n{\"turns\": [\"b\", \"c\", \"d\"]}\n").unwrap();
        let said = |ask: &Ask| {
            let later: Vec<String> = ask.later.iter().map(ToString::to_string).collect();
            (ask.prompt.to_string(), later, ask.tokens)
        };
        let said: Vec<_> = asks.iter().map(said).collect();
        let later = vec!["c".to_owned(), "d".to_owned()];
        assert_eq!(
            said,
            [("a".to_owned(), vec![], 7), ("b".to_owned(), later, 7)]
        );
    }

    #[test]
    fn a_line_that_asks_nothing_is_named() {
        for line in ["{}", "{\"turns\": []}", "{\"turns\": [\"a\", 1]}"] {
            let told = check(&format!("{{\"text\": \"a\"}}\n{line}\n")).unwrap_err();
            let told = told.to_string();
            assert!(told.contains("line 2: expected an object"), "{told}");
            assert!(told.ends_with(line), "{told}");
        }
    }
}
