//! A process that answers lines of work with lines of times. It may die or hang without taking the run with it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

/// Lines of standard error that are kept, to be told if the process dies.
const KEPT_LINES: usize = 5;
/// What a dying process may still want to say.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A running driver; ended when dropped.
pub struct Driver {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
    complaints: Arc<Mutex<VecDeque<String>>>,
}

impl Driver {
    /// Starts `command`; its first answer is not awaited.
    pub fn spawn(name: &str, mut command: Command) -> anyhow::Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name}: starting {program}"))?;
        let (sender, answers) = channel();
        let output = child.stdout.take().expect("standard output is a pipe");
        for_each_line(output, move |line| drop(sender.send(line)));
        let complaints = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&complaints);
        let errors = child.stderr.take().expect("standard error is a pipe");
        for_each_line(errors, move |line| {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_back(line);
            if kept.len() > KEPT_LINES {
                kept.pop_front();
            }
        });
        Ok(Self {
            name: name.to_owned(),
            input: child.stdin.take(),
            child,
            answers,
            complaints,
        })
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a line and waits for its answer.
    pub fn ask(&mut self, line: &str, timeout: Duration) -> anyhow::Result<Value> {
        let sent = self.input.as_mut().map(|input| writeln!(input, "{line}"));
        match sent {
            Some(Ok(())) => self.answer(timeout),
            _ => Err(self.death()),
        }
    }

    /// The next answer. An object with a field `error` is one.
    pub fn answer(&mut self, timeout: Duration) -> anyhow::Result<Value> {
        let name = &self.name;
        let line = match self.answers.recv_timeout(timeout) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                bail!("{name}: no answer within {} s", timeout.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => return Err(self.death()),
        };
        let answer: Value = serde_json::from_str(&line)
            .with_context(|| format!("{name}: expected a line of JSON, got {line:?}"))?;
        match answer["error"].as_str() {
            Some(error) => bail!("{name}: {error}"),
            None => Ok(answer),
        }
    }

    /// Why there is no answer: how the process ended, and the last that it said.
    fn death(&mut self) -> anyhow::Error {
        drop(self.input.take());
        thread::sleep(LAST_WORDS);
        let ended = match self.child.try_wait() {
            Ok(Some(status)) => format!("ended with {status}"),
            Ok(None) => "closed its output".to_owned(),
            Err(error) => error.to_string(),
        };
        let complaints = self
            .complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let said: Vec<&str> = complaints.iter().map(|line| line.trim()).collect();
        let said = if said.is_empty() {
            "nothing".to_owned()
        } else {
            said.join(" | ")
        };
        anyhow!("{}: {ended}; standard error: {said}", self.name)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Failing means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn for_each_line(from: impl Read + Send + 'static, mut take: impl FnMut(String) + Send + 'static) {
    thread::spawn(move || {
        BufReader::new(from)
            .lines()
            .map_while(Result::ok)
            .for_each(&mut take);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Driver {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Driver::spawn("peer", command).unwrap()
    }

    fn error(script: &str, timeout: Duration) -> String {
        format!("{:#}", shell(script).ask("{}", timeout).unwrap_err())
    }

    #[test]
    fn lines_are_answered() {
        let mut driver = shell("while read line; do echo \"$line\"; done");
        let answer = driver.ask(r#"{"seconds": 2.5}"#, LONG).unwrap();
        assert_eq!(answer["seconds"], 2.5);
        assert_eq!(driver.ask("{}", LONG).unwrap(), serde_json::json!({}));
    }

    #[test]
    fn a_death_says_how_and_the_last_words() {
        let found = error("read line; echo out of luck >&2; exit 3", LONG);
        assert!(found.contains("peer: ended with exit status: 3"), "{found}");
        assert!(found.ends_with("standard error: out of luck"), "{found}");
        let found = error("read line; kill -ILL $$", LONG);
        assert!(found.contains("signal: 4"), "{found}");
    }

    #[test]
    fn a_hang_is_cut_and_an_error_is_told() {
        let found = error("sleep 60", Duration::from_millis(50));
        assert_eq!(found, "peer: no answer within 0 s");
        let found = error(r#"read line; echo '{"error": "no such model"}'"#, LONG);
        assert_eq!(found, "peer: no such model");
        let found = error("read line; echo hello", LONG);
        assert!(
            found.starts_with("peer: expected a line of JSON, got \"hello\""),
            "{found}"
        );
    }
}
