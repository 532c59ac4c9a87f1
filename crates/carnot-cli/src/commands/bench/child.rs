//! A server of our own for as long as a benchmark takes: this program, as a child, on a port of this machine that is free.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::Context;
use carnot_bench::load::Target;

/// Ends with it.
pub struct ChildServer {
    child: Child,
    /// Kept open: a server that cannot say that it ends would fail.
    _output: BufReader<ChildStdout>,
    /// Reads what it complains of; gives the last line when it has ended.
    complaint: Option<JoinHandle<String>>,
    target: Target,
}

impl ChildServer {
    /// Serves the model at `path`, or the embedded one; waits until it does.
    pub fn start(path: Option<&Path>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("looking for this program")?;
        let mut command = Command::new(program);
        command.args(["serve", "--host", "127.0.0.1", "--port", "0"]);
        command.args(["--log-level", "error"]);
        // What opens another server closes none of ours, and what is set for a server in use is not meant for this one.
        for name in [
            "CARNOT_API_KEY",
            "CARNOT_CONFIG",
            "CARNOT_TLS_CERT",
            "CARNOT_TLS_KEY",
        ] {
            command.env_remove(name);
        }
        let child = command
            .args(path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.context("starting a server")?;
        let complaint = child
            .stderr
            .take()
            .map(|of| thread::spawn(|| last_line(of)));
        let output = child.stdout.take().context("the server's output")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line).context("the server's output")?;
        let url = line.trim_end().split(" on ").last().unwrap_or_default();
        let Ok(target) = Target::parse(url) else {
            child.wait().context("waiting for the server")?;
            let said = complaint.and_then(|of| of.join().ok()).unwrap_or_default();
            anyhow::bail!("a server that was started for this did not listen: {said}");
        };
        Ok(Self {
            child,
            _output: output,
            complaint,
            target,
        })
    }

    /// Where it listens.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// If it had ended before, or does not end well.
    pub fn end(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let said = self.complaint();
            anyhow::bail!("the server ended on its own, with {status}: {said}");
        }
        let kill = format!("kill -TERM {}", self.pid());
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .context("asking the server to end")?;
        let status = self.child.wait().context("waiting for the server")?;
        if !status.success() {
            let said = self.complaint();
            anyhow::bail!("the server ended with {status}, expected success: {said}");
        }
        Ok(())
    }

    /// What it said last on standard error; it has ended.
    fn complaint(&mut self) -> String {
        let reading = self.complaint.take();
        reading.and_then(|of| of.join().ok()).unwrap_or_default()
    }
}

fn last_line(errors: ChildStderr) -> String {
    let lines = BufReader::new(errors).lines().map_while(Result::ok);
    lines.last().unwrap_or_default()
}

impl Drop for ChildServer {
    fn drop(&mut self) {
        // It may have ended already, as it should.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
