//! The order in which engines take their turns, which rounds count, and when there have been enough.

use std::collections::BTreeMap;

use anyhow::anyhow;
use carnot_statistics::median;

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
    /// The share of the cores that others may use during a round that counts.
    pub disturbance: f64,
}

/// Those who are measured.
pub trait Contest {
    type Engine: Copy;

    /// Returns when a round may begin.
    fn settle(&mut self) -> anyhow::Result<()>;

    fn measure(&mut self, engine: Self::Engine) -> anyhow::Result<Sample>;

    /// A round has ended; `kept` are all that count, it among them if it does.
    fn tell(&mut self, round: &Round, kept: &[Round]);
}

/// All rounds of a row, and why they ended early if they did.
#[derive(Debug, Default)]
pub struct Outcome {
    pub rounds: Vec<Round>,
    /// Rounds that do not count, because others used the cores.
    pub disturbed: Vec<Round>,
    pub failure: Option<anyhow::Error>,
}

/// Measures every engine once a round. The first of a round moves on by one, so that no engine always follows the same rest.
///
/// A round in which others used the cores is repeated, and one in which an engine fails is the last, and not kept.
pub fn run<C: Contest>(contest: &mut C, engines: &[(C::Engine, String)], plan: Plan) -> Outcome {
    let mut outcome = Outcome::default();
    while is_wanted(&outcome.rounds, plan) {
        match round(contest, engines, outcome.rounds.len()) {
            Ok(round) => {
                let list = if round.disturbance() > plan.disturbance {
                    &mut outcome.disturbed
                } else {
                    &mut outcome.rounds
                };
                list.push(round.clone());
                contest.tell(&round, &outcome.rounds);
            }
            Err(error) => {
                outcome.failure = Some(error);
                return outcome;
            }
        }
        if outcome.disturbed.len() > plan.most {
            outcome.failure = Some(too_busy(&outcome.disturbed, plan));
            return outcome;
        }
    }
    outcome
}

fn is_wanted(rounds: &[Round], plan: Plan) -> bool {
    let count = rounds.len();
    count < plan.rounds || count < plan.most && !Summary::of(rounds, plan.widest).is_sharp
}

fn round<C: Contest>(
    contest: &mut C,
    engines: &[(C::Engine, String)],
    number: usize,
) -> anyhow::Result<Round> {
    contest.settle()?;
    let mut round = Round {
        order: Vec::new(),
        samples: BTreeMap::new(),
    };
    for index in 0..engines.len() {
        let (engine, key) = &engines[(index + number) % engines.len()];
        let sample = contest.measure(*engine)?;
        round.samples.insert(key.clone(), sample);
        round.order.push(key.clone());
    }
    Ok(round)
}

fn too_busy(disturbed: &[Round], plan: Plan) -> anyhow::Error {
    let shares: Vec<f64> = disturbed.iter().map(Round::disturbance).collect();
    let (count, most) = (shares.len(), plan.disturbance * 100.0);
    let share = median(&shares).unwrap_or(0.0) * 100.0;
    anyhow!(
        "the machine is busy: in {count} rounds others used {share:.0} % of the cores (median), at most {most:.0} % pass"
    )
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
        disturbance: 0.05,
    };

    /// Engines whose samples are a function of the turn and the engine.
    struct Scripted<F> {
        turn: usize,
        sample: F,
        told: usize,
    }

    impl<F: FnMut(usize, usize) -> anyhow::Result<Sample>> Contest for Scripted<F> {
        type Engine = usize;

        fn settle(&mut self) -> anyhow::Result<()> {
            Ok(())
        }

        fn measure(&mut self, engine: usize) -> anyhow::Result<Sample> {
            self.turn += 1;
            (self.sample)(self.turn, engine)
        }

        fn tell(&mut self, _: &Round, kept: &[Round]) {
            self.told = kept.len();
        }
    }

    /// Runs three engines whose samples are `sample(turn, engine)`, turns counted from 1.
    fn run_scripted(sample: impl FnMut(usize, usize) -> anyhow::Result<Sample>) -> Outcome {
        let keys = [CARNOT, "a", "b"].map(str::to_owned);
        let engines: Vec<(usize, String)> = keys.into_iter().enumerate().collect();
        let mut contest = Scripted {
            turn: 0,
            sample,
            told: 0,
        };
        let outcome = run(&mut contest, &engines, PLAN);
        assert_eq!(contest.told, outcome.rounds.len());
        outcome
    }

    fn sample(seconds: f64) -> Sample {
        Sample {
            seconds,
            tokens: 1,
            prepare_seconds: 0.0,
            top: 0,
            spawn_seconds: None,
            ticks: 100,
            foreign_ticks: 0,
        }
    }

    #[test]
    fn each_round_begins_with_the_next() {
        let outcome = run_scripted(|_, _| Ok(sample(1.0)));
        let orders: Vec<String> = outcome
            .rounds
            .iter()
            .map(|round| round.order.join(" "))
            .collect();
        assert_eq!(orders, ["carnot a b", "a b carnot", "b carnot a"]);
    }

    #[test]
    fn noise_asks_for_more_rounds_and_no_more_than_the_most() {
        let noisy = |turn: usize, engine| Ok(sample(if engine == 0 { turn as f64 } else { 1.0 }));
        assert_eq!(run_scripted(noisy).rounds.len(), PLAN.most);
    }

    #[test]
    fn a_failure_ends_the_row_and_keeps_whole_rounds() {
        let outcome = run_scripted(|turn, _| match turn {
            5 => bail!("a: ended"),
            _ => Ok(sample(1.0)),
        });
        assert_eq!(outcome.rounds.len(), 1);
        assert_eq!(outcome.failure.unwrap().to_string(), "a: ended");
    }

    #[test]
    fn disturbed_rounds_are_repeated() {
        let disturbed = |turn: usize, _| {
            let foreign_ticks = if turn == 4 { 40 } else { 0 };
            Ok(Sample {
                foreign_ticks,
                ..sample(1.0)
            })
        };
        let outcome = run_scripted(disturbed);
        assert_eq!((outcome.rounds.len(), outcome.disturbed.len()), (3, 1));
        assert!(outcome.failure.is_none());
    }

    #[test]
    fn a_machine_that_stays_busy_ends_the_row() {
        let outcome = run_scripted(|_, _| {
            Ok(Sample {
                foreign_ticks: 43,
                ..sample(1.0)
            })
        });
        let expected = "the machine is busy: in 9 rounds others used 43 % of the cores (median), at most 5 % pass";
        assert_eq!(outcome.failure.unwrap().to_string(), expected);
    }
}
