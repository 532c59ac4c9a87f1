//! The turns of a conversation: each has all that was said before, and is due when the one before it is answered and thought over.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{Ask, Work, client};

impl Work {
    /// Leads the `index`-th conversation, whose first turn was due at `due`; whether anybody listens still, which is so until the run is over. A
    /// turn that is not answered ends it: there is nothing that the next could follow.
    pub(super) async fn lead(&self, index: usize, due: Instant) -> bool {
        let index = index % self.asks.len();
        let Ask {
            prompt,
            tokens,
            later,
        } = &self.asks[index];
        let mut answer = client::ask(&self.connections, &self.prepared[index], due).await;
        let mut answers: Vec<String> = Vec::new();
        for turn in 1..=later.len() {
            let due = answer.ended + self.think;
            let is_answered = answer.outcome.is_ok();
            answers.extend(answer.text.take());
            if self.answers.send(answer).is_err() {
                return false;
            }
            if !is_answered {
                return true;
            }
            let mut said = vec![&**prompt];
            for (answer, next) in answers.iter().zip(later) {
                said.extend([answer.as_str(), &**next]);
            }
            let keeps_text = turn < later.len();
            let target = self.connections.target();
            let prepared = target.prepare_turn(&said, *tokens, keeps_text);
            if let Some(alarm) = &self.alarm {
                alarm.wait(due).await;
            }
            answer = client::ask(&self.connections, &prepared, due).await;
        }
        self.answers.send(answer).is_ok()
    }
}

/// Wakes who waits for a time: a thread, since the runtime's own clock goes by milliseconds, and what comes late voids a run.
#[derive(Clone)]
pub(super) struct Alarm(mpsc::Sender<(Instant, oneshot::Sender<()>)>);

impl Alarm {
    pub fn new() -> Self {
        let (sender, asked) = mpsc::channel();
        // It ends when nobody is left to ask.
        thread::spawn(move || ring(&asked));
        Self(sender)
    }

    async fn wait(&self, until: Instant) {
        let (tell, told) = oneshot::channel();
        // The thread lives while there is a sender, which this is.
        let is_asked = self.0.send((until, tell)).is_ok();
        if is_asked {
            told.await.ok();
        }
    }
}

fn ring(asked: &Receiver<(Instant, oneshot::Sender<()>)>) {
    let mut waiting = BTreeMap::new();
    let mut count = 0_u64;
    loop {
        let now = Instant::now();
        while let Some(first) = waiting.first_entry()
            && first.key() <= &(now, u64::MAX)
        {
            let tell: oneshot::Sender<()> = first.remove();
            // Who has left needs no waking.
            tell.send(()).ok();
        }
        let next = match waiting.first_key_value() {
            None => asked.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(((until, _), _)) => asked.recv_timeout(until.saturating_duration_since(now)),
        };
        match next {
            Ok((until, tell)) => {
                count += 1;
                waiting.insert((until, count), tell);
            }
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
