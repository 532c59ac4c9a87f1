//! One visit: the request, and whether what came was as expected.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::timeout;

use super::wire::{self, Manner};
use super::{Kind, PROMPTS, Plan, Visit, WORDS, prompts};
use crate::load::client::{self, Failure};
use crate::load::{Ask, Connections, Target};

/// How long a visit may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// Who leaves does so within this time.
const STAY: Duration = Duration::from_millis(400);
/// Bytes of headers that nobody needs.
const HEADERS: usize = 1 << 20;

/// What all clients share.
pub(super) struct Visitors {
    connections: Connections,
    target: Target,
    asks: Vec<Ask>,
    oversize: String,
    tokens: usize,
}

impl Visitors {
    pub fn new(plan: &Plan) -> Self {
        Self {
            connections: Connections::new(plan.target.clone()),
            target: plan.target.clone(),
            asks: Ask::all(prompts(PROMPTS, WORDS.0, WORDS.1, plan.seed), plan.tokens),
            // A word is at least a token.
            oversize: "word ".repeat(plan.context + 1),
            tokens: plan.tokens,
        }
    }

    /// A request that shows whether anybody is there.
    pub async fn first(&self) -> Result<(), Failure> {
        let ask = Ask {
            tokens: 1,
            ..self.ask(0.0).clone()
        };
        let ask = self.target.prepare(&ask);
        let asked = client::ask(&self.connections, &ask, Instant::now());
        asked.await.outcome
    }

    /// A visit that was due at `due`; `chance` in 0..1 says which prompt it has, and when who leaves does.
    pub async fn visit(&self, kind: Kind, due: Instant, chance: f64) -> Visit {
        if kind.is_well_formed() {
            return self.well_formed(kind, due, chance).await;
        }
        let (bytes, manner) = self.request(kind, chance);
        let exchange = wire::exchange(&self.target, bytes.as_bytes(), manner);
        let outcome = match timeout(PATIENCE, exchange).await {
            Err(_) => Err(format!("no end after {} s", PATIENCE.as_secs())),
            Ok(Err(error)) => Err(error),
            Ok(Ok(answer)) => kind.judge(answer.status, answer.text.contains("[DONE]")),
        };
        let times = None;
        Visit {
            kind,
            times,
            outcome,
        }
    }

    async fn well_formed(&self, kind: Kind, due: Instant, chance: f64) -> Visit {
        let ask = self.target.prepare(self.ask(chance));
        let asked = client::ask(&self.connections, &ask, due);
        let Ok(answer) = timeout(PATIENCE, asked).await else {
            let outcome = Err(format!("no end after {} s", PATIENCE.as_secs()));
            return Visit {
                kind,
                times: None,
                outcome,
            };
        };
        let first = answer.pieces.first().copied().unwrap_or(answer.ended);
        let times = answer
            .outcome
            .is_ok()
            .then(|| (first - due, answer.ended - due));
        let outcome = answer.outcome.map_err(|failure| match failure {
            // What a server says beside the status has numbers in it that are never the same.
            Failure::Status { status, .. } => format!("status {status}"),
            other => other.to_string(),
        });
        Visit {
            kind,
            times,
            outcome,
        }
    }

    fn ask(&self, chance: f64) -> &Ask {
        let index = (chance * self.asks.len() as f64) as usize;
        &self.asks[index.min(self.asks.len() - 1)]
    }

    fn request(&self, kind: Kind, chance: f64) -> (String, Manner) {
        let body = |prompt: &str, tokens: usize| {
            let mut body = json!({ "prompt": prompt, "max_tokens": tokens, "stream": true, "ignore_eos": true });
            if let Some(model) = &self.target.model {
                body["model"] = model.as_str().into();
            }
            body.to_string()
        };
        let usual = body(&self.ask(chance).prompt, self.tokens);
        let (body, headers, manner) = match kind {
            Kind::Ordinary | Kind::Burst => (usual, String::new(), Manner::Whole),
            // More than they stay for.
            Kind::Storm => {
                let long = body(&self.ask(chance).prompt, 16 * self.tokens);
                (long, String::new(), Manner::Leave(STAY.mul_f64(chance)))
            }
            Kind::SlowReader => (usual, String::new(), Manner::Slow),
            Kind::BrokenJson => (
                usual[..usual.len() / 2].to_owned(),
                String::new(),
                Manner::Whole,
            ),
            Kind::WrongTypes => {
                let wrong =
                    json!({ "prompt": { "of": [1, null] }, "max_tokens": "many", "stream": 7 });
                (wrong.to_string(), String::new(), Manner::Whole)
            }
            Kind::HugeHeaders => {
                let header = format!("x-filler: {}\r\n", "a".repeat(1 << 10));
                (usual, header.repeat(HEADERS >> 10), Manner::Whole)
            }
            Kind::HalfRequest => {
                let whole = wire::request(&self.target, &usual, "");
                let half = whole[..whole.len() - usual.len() / 2].to_owned();
                return (half, Manner::Leave(STAY));
            }
            Kind::Oversize => (
                body(&self.oversize, self.tokens),
                String::new(),
                Manner::Whole,
            ),
        };
        (wire::request(&self.target, &body, &headers), manner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitors() -> Visitors {
        Visitors::new(&Plan {
            target: Target::parse("http://127.0.0.1:1").unwrap(),
            clients: 1,
            rate: 1.0,
            duration: Duration::from_secs(1),
            tokens: 4,
            context: 100,
            seed: 0,
        })
    }

    fn body(kind: Kind) -> String {
        let (bytes, _) = visitors().request(kind, 0.5);
        bytes.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    #[test]
    fn each_kind_is_what_its_name_says() {
        let parsed = |kind| serde_json::from_str::<serde_json::Value>(&body(kind));
        assert!(parsed(Kind::BrokenJson).is_err());
        assert!(parsed(Kind::WrongTypes).unwrap()["max_tokens"].is_string());
        let oversize = parsed(Kind::Oversize).unwrap();
        assert_eq!(
            oversize["prompt"]
                .as_str()
                .unwrap()
                .split_whitespace()
                .count(),
            101
        );
        let slow = parsed(Kind::SlowReader).unwrap();
        let (half, _) = visitors().request(Kind::HalfRequest, 0.5);
        let announced = half
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let announced: usize = announced.unwrap().parse().unwrap();
        assert_eq!(announced, slow.to_string().len());
        assert!(body(Kind::HalfRequest).len() < announced);
        let (huge, _) = visitors().request(Kind::HugeHeaders, 0.5);
        assert!(huge.len() > HEADERS);
    }
}
