//! Phases: how fast each part of a run was, beside how fast it could have been, and how long tokens took to come.

use carnot_record::Trace;
use serde::Serialize;

use crate::{
    accounting::Accounting,
    execution::Scope,
    statistics::{Distribution, ratio},
};

/// One phase of a run, with all its repetitions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    /// `load`, `tokenize`, `prefill`, `decode`, or another pipeline's own.
    pub name: String,
    /// How often it ran.
    pub count: u64,
    /// Whether it is part of the accounted wall time.
    pub counted: bool,
    /// Tokens that it processed.
    pub tokens: u64,
    /// Its wall time, from the floor up.
    pub accounting: Accounting,
    /// Durations of its steps.
    pub steps: Distribution,
}

impl Phase {
    /// Tokens a second.
    pub fn tokens_per_s(&self) -> f64 {
        ratio(self.tokens as f64, self.accounting.wall_ns as f64) * 1e9
    }

    /// Tokens a second if the whole phase ran at its floor; 0 when the floor is unknown.
    pub fn limit_tokens_per_s(&self) -> f64 {
        ratio(self.tokens as f64, self.accounting.floor_ns as f64) * 1e9
    }
}

/// How long tokens took to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// From the start of tokenising, or of prefill where nothing was tokenised just before, to the end of prefill,
    /// whose last step samples the first token. One for each repetition.
    pub first_token: Distribution,
    /// From token to token in decode: from the end of one step to the end of the next, the first from the phase's start.
    pub inter_token: Distribution,
}

/// Phases by name, in the order in which they first began.
pub(crate) fn phases(
    trace: &Trace,
    scopes: &[Scope],
    counted: impl Fn(&str) -> bool,
) -> Vec<Phase> {
    let mut names: Vec<&str> = Vec::new();
    for scope in scopes {
        if !names.contains(&scope.name) {
            names.push(scope.name);
        }
    }
    let phase = |name: &str| {
        let same: Vec<&Scope> = scopes.iter().filter(|scope| scope.name == name).collect();
        Phase {
            name: name.to_owned(),
            count: same.len() as u64,
            counted: counted(name),
            tokens: same
                .iter()
                .fold(0, |sum: u64, scope| sum.saturating_add(scope.tokens())),
            accounting: Accounting::of(trace, &same),
            steps: Distribution::of(
                same.iter()
                    .flat_map(|s| &s.steps)
                    .map(|step| step.end_ns - step.start_ns)
                    .collect(),
            ),
        }
    };
    names.into_iter().map(phase).collect()
}

pub(crate) fn latency(scopes: &[Scope]) -> Latency {
    Latency {
        first_token: Distribution::of(first_tokens(scopes)),
        inter_token: Distribution::of(inter_tokens(scopes)),
    }
}

fn first_tokens(scopes: &[Scope]) -> Vec<u64> {
    let prefills = scopes
        .iter()
        .enumerate()
        .filter(|(_, scope)| scope.name == "prefill");
    prefills
        .map(|(index, prefill)| {
            let before = index.checked_sub(1).map(|before| &scopes[before]);
            let tokenize = before.filter(|scope| scope.name == "tokenize");
            prefill.end_ns - tokenize.unwrap_or(prefill).start_ns
        })
        .collect()
}

fn inter_tokens(scopes: &[Scope]) -> Vec<u64> {
    let decodes = scopes.iter().filter(|scope| scope.name == "decode");
    decodes
        .flat_map(|decode| {
            decode.steps.iter().scan(decode.start_ns, |before, step| {
                let gap = step.end_ns.saturating_sub(*before);
                *before = step.end_ns;
                Some(gap)
            })
        })
        .collect()
}
