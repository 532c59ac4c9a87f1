//! A server under clients that are not all well-behaved, and what it must still do.
//!
//! ```text
//! kind        what clients do, in which proportion, and what a server owes them
//! wire        bytes on a socket, whole, halved or read one by one
//! visit       one client's visit: the request, and whether what came was as expected
//! invariants  what must hold when all have gone
//! ```
//!
//! Requests come when they are due, whatever became of those before ([`crate::load`] says why), and the latencies of the well-formed count from then.

mod invariants;
mod kind;
mod visit;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{sleep_until, timeout};

use crate::load::{Error, Latencies, Target, prompts};
use carnot_statistics::Dice;

pub use invariants::{Invariant, invariants};
pub use kind::Kind;

/// How often the caller is asked whether to go on.
const ATTENTION: Duration = Duration::from_millis(200);
/// Prompts that are made up, after which they come again.
const PROMPTS: usize = 256;
/// Words of a prompt, of which so many are the same in all.
const WORDS: (usize, usize) = (48, 24);

/// Who comes, how often, for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whom they visit.
    pub target: Target,
    /// Clients.
    pub clients: usize,
    /// Visits a second of each, on average.
    pub rate: f64,
    /// For how long they come.
    pub duration: Duration,
    /// Tokens that a well-formed request asks for.
    pub tokens: usize,
    /// Tokens of a sequence that the server takes at most: larger prompts are to be refused.
    pub context: usize,
    /// The same seed gives the same visits at the same times.
    pub seed: u64,
}

impl Plan {
    /// Requests of all visits together, on average.
    pub fn requests(&self) -> f64 {
        let visits = self.rate * self.clients as f64 * self.duration.as_secs_f64();
        visits * Kind::requests_of_a_visit()
    }
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Of which kind it was.
    pub kind: Kind,
    /// From the due time to the first text and to the end; of well-formed requests that were answered.
    pub times: Option<(Duration, Duration)>,
    /// As expected, or what came instead.
    pub outcome: Result<(), String>,
}

/// All that happened.
#[derive(Clone, Debug)]
pub struct Run {
    /// In the order in which they ended.
    pub visits: Vec<Visit>,
    /// From the first to the last.
    pub wall: Duration,
}

/// One kind of client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub kind: Kind,
    /// Requests.
    pub sent: usize,
    /// Those that went as they should.
    pub as_expected: usize,
    /// What came instead and how often, the most frequent first.
    pub others: Vec<(String, usize)>,
}

impl Run {
    /// One for each kind, in the order of [`Kind::ALL`].
    pub fn rows(&self) -> Vec<Row> {
        Kind::ALL.into_iter().map(|kind| self.row(kind)).collect()
    }

    fn row(&self, kind: Kind) -> Row {
        let of_kind = || self.visits.iter().filter(|visit| visit.kind == kind);
        let mut others: Vec<(String, usize)> = Vec::new();
        for error in of_kind().filter_map(|visit| visit.outcome.as_ref().err()) {
            match others.iter_mut().find(|(known, _)| known == error) {
                Some((_, count)) => *count += 1,
                None => others.push((error.clone(), 1)),
            }
        }
        others.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Row {
            kind,
            sent: of_kind().count(),
            as_expected: of_kind().filter(|visit| visit.outcome.is_ok()).count(),
            others,
        }
    }

    /// Of the well-formed requests, the part that was answered; nothing where there was none.
    pub fn success(&self) -> Option<f64> {
        let rows = self.rows();
        let well_formed = || rows.iter().filter(|row| row.kind.is_well_formed());
        let sent: usize = well_formed().map(|row| row.sent).sum();
        let answered: usize = well_formed().map(|row| row.as_expected).sum();
        (sent > 0).then(|| answered as f64 / sent as f64)
    }

    /// From the due time to the first text, and to the end, of what was answered of the well-formed; in seconds.
    pub fn times(&self) -> [Vec<f64>; 2] {
        let times = || self.visits.iter().filter_map(|visit| visit.times);
        [
            times().map(|(first, _)| first.as_secs_f64()).collect(),
            times().map(|(_, whole)| whole.as_secs_f64()).collect(),
        ]
    }

    /// Quantiles of [`Self::times`].
    pub fn latencies(&self) -> [Option<Latencies>; 2] {
        self.times().map(Latencies::of)
    }
}

/// Lets the clients of `plan` come; `go_on(visits)` is asked now and then, and ends them early by `false`.
///
/// # Errors
/// If a first request, which is not counted, is not answered.
pub fn put(plan: &Plan, mut go_on: impl FnMut(usize) -> bool) -> Result<Run, Error> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let visitors = Arc::new(visit::Visitors::new(plan));
    if let Err(failure) = runtime.block_on(visitors.first()) {
        let url = plan.target.to_string();
        return Err(Error::Unreachable { url, failure });
    }
    let begin = Instant::now();
    let (sender, mut ended) = unbounded_channel();
    let clients: Vec<_> = (0..plan.clients as u64)
        .map(|client| {
            let of_client = comes(
                plan.clone(),
                client,
                begin,
                Arc::clone(&visitors),
                sender.clone(),
            );
            runtime.spawn(of_client)
        })
        .collect();
    drop(sender);
    let mut visits = Vec::new();
    runtime.block_on(async {
        loop {
            match timeout(ATTENTION, ended.recv()).await {
                Ok(Some(visit)) => visits.push(visit),
                Ok(None) => break,
                Err(_) => (),
            }
            if !go_on(visits.len()) {
                clients.iter().for_each(tokio::task::JoinHandle::abort);
            }
        }
    });
    let wall = begin.elapsed();
    Ok(Run { visits, wall })
}

/// One client: at chance times, a visit of a chance kind, whatever became of the visits before.
async fn comes(
    plan: Plan,
    client: u64,
    begin: Instant,
    visitors: Arc<visit::Visitors>,
    ended: UnboundedSender<Visit>,
) {
    let mut dice = Dice(plan.seed ^ (client + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut at = 0.0;
    loop {
        at -= dice.uniform().ln() / plan.rate;
        if at >= plan.duration.as_secs_f64() {
            return;
        }
        let due = begin + Duration::from_secs_f64(at);
        sleep_until(due.into()).await;
        let kind = Kind::drawn(dice.uniform());
        for _ in 0..kind.at_once() {
            let (visitors, ended, chance) = (Arc::clone(&visitors), ended.clone(), dice.uniform());
            tokio::spawn(async move {
                let visit = visitors.visit(kind, due, chance).await;
                // Nobody listens any more only when the run is over.
                let _ = ended.send(visit);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(kind: Kind, outcome: Result<(), &str>) -> Visit {
        let outcome = outcome.map_err(str::to_owned);
        let times = outcome
            .is_ok()
            .then_some((Duration::from_secs(1), Duration::from_secs(2)));
        Visit {
            kind,
            times,
            outcome,
        }
    }

    #[test]
    fn success_is_of_the_well_formed_alone() {
        let visits = vec![
            visit(Kind::Ordinary, Ok(())),
            visit(Kind::Burst, Err("status 503")),
            visit(Kind::Burst, Err("status 503")),
            visit(Kind::Burst, Err("closed")),
            visit(Kind::BrokenJson, Err("status 500")),
        ];
        let run = Run {
            visits,
            wall: Duration::ZERO,
        };
        assert_eq!(run.success(), Some(0.25));
        let burst = &run.rows()[1];
        assert_eq!((burst.sent, burst.as_expected), (3, 0));
        assert_eq!(burst.others[0], ("status 503".to_owned(), 2));
        assert_eq!(run.times()[1], [2.0]);
        let nobody = Run {
            visits: Vec::new(),
            wall: Duration::ZERO,
        };
        assert_eq!(nobody.success(), None);
    }
}
