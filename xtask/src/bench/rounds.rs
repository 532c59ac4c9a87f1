//! The order in which engines take their turns, and when there have been enough rounds.

use std::collections::BTreeMap;

use super::results::{Round, Sample};
use super::summary::Summary;

/// How often a row is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds that are always run.
    pub rounds: usize,
    /// Rounds at most; more than `rounds` are run while the spread is too wide.
    pub most: usize,
    /// The widest interval that is reported, as a share of the median.
    pub widest: f64,
}

/// All rounds of a row, and why they ended early if they did.
#[derive(Debug, Default)]
pub struct Outcome {
    pub rounds: Vec<Round>,
    pub failure: Option<anyhow::Error>,
}

/// Measures every engine once a round. The first of a round moves on by one, so that no engine always follows the same rest.
///
/// A round in which an engine fails is not kept, and is the last.
pub fn run<E: Copy>(
    engines: &[(E, String)],
    plan: Plan,
    mut measure: impl FnMut(E) -> anyhow::Result<Sample>,
    mut tell: impl FnMut(usize, &Round),
) -> Outcome {
    let mut outcome = Outcome::default();
    while is_wanted(&outcome.rounds, plan) {
        let number = outcome.rounds.len();
        match round(engines, number, &mut measure) {
            Ok(round) => {
                tell(number, &round);
                outcome.rounds.push(round);
            }
            Err(error) => {
                outcome.failure = Some(error);
                return outcome;
            }
        }
    }
    outcome
}

fn is_wanted(rounds: &[Round], plan: Plan) -> bool {
    let count = rounds.len();
    count < plan.rounds || count < plan.most && !Summary::of(rounds, plan.widest).is_sharp
}

fn round<E: Copy>(
    engines: &[(E, String)],
    number: usize,
    measure: &mut impl FnMut(E) -> anyhow::Result<Sample>,
) -> anyhow::Result<Round> {
    let mut round = Round {
        order: Vec::new(),
        samples: BTreeMap::new(),
    };
    for index in 0..engines.len() {
        let (engine, key) = &engines[(index + number) % engines.len()];
        round.samples.insert(key.clone(), measure(*engine)?);
        round.order.push(key.clone());
    }
    Ok(round)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::super::engines::CARNOT;
    use super::*;

    const PLAN: Plan = Plan {
        rounds: 3,
        most: 8,
        widest: 0.25,
    };

    fn sample(seconds: f64) -> Sample {
        Sample {
            seconds,
            tokens: 1,
            prepare_seconds: 0.0,
            top: 0,
            spawn_seconds: None,
        }
    }

    fn engines() -> Vec<(usize, String)> {
        let keys = [CARNOT, "a", "b"];
        keys.iter()
            .map(|key| (*key).to_owned())
            .enumerate()
            .collect()
    }

    #[test]
    fn each_round_begins_with_the_next() {
        let outcome = run(&engines(), PLAN, |_| Ok(sample(1.0)), |_, _| ());
        let orders: Vec<String> = outcome
            .rounds
            .iter()
            .map(|round| round.order.join(" "))
            .collect();
        assert_eq!(orders, ["carnot a b", "a b carnot", "b carnot a"]);
    }

    #[test]
    fn noise_asks_for_more_rounds_and_no_more_than_the_most() {
        let mut turn = 0;
        let noisy = |engine: usize| {
            turn += 1;
            Ok(sample(if engine == 0 { f64::from(turn) } else { 1.0 }))
        };
        assert_eq!(run(&engines(), PLAN, noisy, |_, _| ()).rounds.len(), 8);
    }

    #[test]
    fn a_failure_ends_the_row_and_keeps_whole_rounds() {
        let mut turn = 0;
        let failing = |_| {
            turn += 1;
            if turn == 5 {
                bail!("a: ended");
            }
            Ok(sample(1.0))
        };
        let outcome = run(&engines(), PLAN, failing, |_, _| ());
        assert_eq!(outcome.rounds.len(), 1);
        assert_eq!(outcome.failure.unwrap().to_string(), "a: ended");
    }
}
