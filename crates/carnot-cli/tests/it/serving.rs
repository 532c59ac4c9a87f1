//! `carnot serve` with a real model, over a socket.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use carnot_record::{BenchRecord, Record};
use serde_json::{Value, json};

use crate::{carnot, command, text};

const PROMPT: &str = "def read_lines(path):\n";

/// A server on a port of its own, killed when it is dropped.
pub struct Served {
    child: Child,
    address: String,
}

impl Served {
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let arguments = [&["serve", "--port", "0", "--threads", "2"], arguments].concat();
        let mut command = command(&arguments);
        let command = command.envs(environment.iter().copied());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let (_, address) = line.trim_end().split_once("http://").expect(&line);
        let address = address.to_owned();
        Self { child, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nhost: test\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        stream
    }

    /// The body of a response.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut text = String::new();
        self.send(method, path, body)
            .read_to_string(&mut text)
            .unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub fn complete(&self, body: &Value) -> Value {
        self.ask("POST", "/v1/completions", body)
    }

    pub fn stats(&self) -> Value {
        self.ask("GET", "/stats", &Value::Null)["engines"][0].take()
    }

    /// Asks for the statistics until they are as wanted.
    fn wait_until(&self, wanted: impl Fn(&Value) -> bool) {
        for _ in 0..2000 {
            if wanted(&self.stats()) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not come to that: {}", self.stats());
    }

    /// Blocks that no sequence holds come to be all of them.
    pub fn wait_for_rest(&self) {
        self.wait_until(|stats| {
            let count = |field: &str| stats[field].as_u64().unwrap();
            let unused = count("kv_blocks_free") + count("kv_blocks_cached");
            stats["in_flight"] == 0 && unused == count("kv_blocks")
        });
    }

    pub fn end(mut self, signals: usize) -> ExitStatus {
        for _ in 0..signals {
            let pid = self.child.id().to_string();
            assert!(
                Command::new("kill")
                    .args(["-TERM", &pid])
                    .status()
                    .unwrap()
                    .success()
            );
            thread::sleep(Duration::from_millis(100));
        }
        self.child.wait().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn greedy(prompt: &str, tokens: usize) -> Value {
    json!({ "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": true })
}

#[test]
fn a_completion_is_what_the_command_line_writes() {
    let served = Served::start(&[]);
    let answer = served.complete(&json!({ "prompt": PROMPT, "max_tokens": 24, "temperature": 0 }));
    let expected = carnot(&["run", "-p", PROMPT, "-n", "24"]).success();
    let text = answer["choices"][0]["text"].as_str().unwrap();
    assert_eq!(format!("{text}\n"), expected);
    let again = served.complete(&json!({ "prompt": PROMPT, "max_tokens": 24, "temperature": 0 }));
    assert_eq!(again["choices"], answer["choices"]);
    let prompt = answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    assert_eq!(
        again["usage"]["prompt_tokens_details"]["cached_tokens"],
        prompt - 1,
        "all but the last"
    );
    let messages = json!([{ "role": "user", "content": "hi" }]);
    let chat = json!({ "messages": messages, "max_tokens": 8, "response_format": { "type": "json_object" } });
    let chat = served.ask("POST", "/v1/chat/completions", &chat);
    let content = chat["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(content.starts_with('{'), "{chat}");
    assert!(
        chat["timings"]["prompt_ms"].as_f64().unwrap() > 0.0,
        "{chat}"
    );
    served.wait_for_rest();
    assert!(served.end(1).success());
}

#[test]
fn load_on_it_is_told_from_when_requests_were_due() {
    let served = Served::start(&[]);
    let url = format!("http://{}", served.address);
    let arguments = [
        "bench",
        "serve",
        "--url",
        &url,
        "--rate",
        "20",
        "--duration",
        "1",
        "-n",
        "4",
        "--format",
        "json",
    ];
    let outcome = carnot(&arguments);
    assert!(
        matches!(outcome.code, Some(0 | 3)),
        "3 where the machine is busy: {outcome:?}"
    );
    let told = BenchRecord::from_json(&outcome.stdout).unwrap();
    let of = |name: &str| told.metric(name).unwrap();
    let asked = of("client_lag").values.len() as f64;
    assert_eq!(of("answered").values, [1.0], "{told:?}");
    assert_eq!(told.summary["successful_requests"], asked, "{told:?}");
    let rates = [of("output_tokens"), of("requests")].map(|metric| metric.values[0]);
    assert!(
        (rates[0] / rates[1] - 4.0).abs() < 1e-9,
        "four tokens each: {told:?}"
    );
    let ends = [of("end_to_end"), of("service_end_to_end")].map(|metric| metric.quantile(0.5));
    assert!(ends[0] >= ends[1], "{told:?}");
    served.wait_for_rest();
}

#[test]
fn its_own_metrics_are_told_on_the_time_of_the_load() {
    let served = Served::start(&[]);
    let url = format!("http://{}", served.address);
    let load = ["bench", "serve", "--url", &url, "--clients", "4", "-n", "8"];
    let load = [&load[..], &["--duration", "1.5", "--server-metrics"]].concat();
    let told = |rest: &[&str]| {
        let outcome = carnot(&[&load, rest].concat());
        let is_told = matches!(outcome.code, Some(0 | 3));
        assert!(is_told, "3 where the machine is busy: {outcome:?}");
        outcome.stdout
    };
    let record = BenchRecord::from_json(&told(&["--format", "json"])).unwrap();
    let of = |plot: &str| record.series.iter().find(|line| line.plot == plot).unwrap();
    for plot in [
        "Server: carnot_requests_running",
        "Server: carnot_kv_blocks",
        "Server: carnot_generated_tokens_total",
        "Requests under way",
        "Tokens received",
    ] {
        let line = of(plot);
        assert_eq!(line.x, "since the load began, s");
        assert!(line.points.iter().all(|point| point[0] >= 0.0), "{line:?}");
    }
    let rates = &of("Server: carnot_generated_tokens_total").points;
    assert!(rates.iter().any(|point| point[1] > 0.0), "{rates:?}");
    let is_failed = |warning: &String| warning.contains("failed");
    assert!(!record.warnings.iter().any(is_failed), "{record:?}");
    // Another page, which is none.
    let text = told(&[&format!("{url}/nowhere")]);
    let expected = "scrapes failed: ";
    assert!(
        text.contains(expected) && text.contains("got 404"),
        "{text}"
    );
    served.wait_for_rest();
}

#[test]
fn turns_of_a_conversation_find_what_was_said_kept() {
    let served = Served::start(&[]);
    let url = format!("http://{}", served.address);
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("raw.jsonl");
    let asked = ["bench", "serve", "--url", &url, "--clients", "2", "--turns"];
    let asked = [&asked[..], &["3", "--think", "0.01", "--chat", "-n", "4"]].concat();
    let rest = ["--duration", "0.5", "--prompt-words", "60", "--raw"];
    let arguments = [&asked, &rest[..], &[text(&raw), "--format", "json"]].concat();
    let outcome = carnot(&arguments);
    assert!(
        matches!(outcome.code, Some(0 | 3)),
        "3 where the machine is busy: {outcome:?}"
    );
    let told = BenchRecord::from_json(&outcome.stdout).unwrap();
    let count = |name: &str| told.metric(name).unwrap().values.len();
    let turns = [1, 2, 3].map(|turn| count(&format!("time_to_first_token/turn {turn}")));
    assert_eq!(turns, [count("time_to_first_token") / 3; 3], "{told:?}");
    assert_eq!(told.conditions["turns"], "3");
    let lines = fs::read_to_string(&raw).unwrap();
    for line in lines.lines() {
        let request: Value = serde_json::from_str(line).unwrap();
        let of = |name: &str| request[name].as_u64().unwrap();
        // The template of chats stands before and behind what was said.
        let is_mostly_kept = 2 * of("cached_tokens") > of("prompt_tokens");
        assert!(of("turn") == 1 || is_mostly_kept, "{line}");
    }
    let log = folder.path().join("latencies.hlog");
    let again = carnot(&["bench", "serve", "--from", text(&raw), "--hdr", text(&log)]);
    let log = fs::read_to_string(&log).unwrap();
    for tag in ["time_to_first_token", "end_to_end", "inter_piece"] {
        assert!(log.contains(&format!("\nTag={tag},")), "{log}");
    }
    assert!(matches!(again.code, Some(0 | 3)), "{again:?}");
    assert!(again.stdout.contains("to first text, turn 3"), "{again:?}");
    served.wait_for_rest();
}

#[test]
fn clients_that_leave_give_their_blocks_back() {
    let served = Served::start(&["--cache-tokens", "4096"]);
    let long = "x = 1\n".repeat(100);
    for (prompt, streams) in [
        (PROMPT, true),
        (PROMPT, false),
        (&long, true),
        (&long, false),
    ] {
        let mut request = greedy(prompt, 5000);
        request["stream"] = streams.into();
        let stream = served.send("POST", "/v1/completions", &request);
        served.wait_until(|stats| stats["running"] == 1);
        drop(stream);
        served.wait_for_rest();
    }
}

#[test]
fn many_at_once_say_what_each_says_alone() {
    let served = Served::start(&[]);
    let prompts = [
        "def main(",
        "class Queue:\n",
        "import os\n",
        "for item in ",
        "# Sorts a list",
        "return ",
    ];
    let alone: Vec<Value> = prompts
        .iter()
        .map(|prompt| served.complete(&greedy(prompt, 40))["choices"][0]["text"].take())
        .collect();
    served.ask("POST", "/cache/flush", &Value::Null);
    let together: Vec<Value> = thread::scope(|scope| {
        let ask = |prompt: &'static str| {
            let served = &served;
            scope.spawn(move || served.complete(&greedy(prompt, 40))["choices"][0]["text"].take())
        };
        let asked: Vec<_> = prompts.into_iter().map(ask).collect();
        asked
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    });
    assert_eq!(together, alone);
    served.wait_for_rest();
}

#[test]
fn the_first_signal_lets_requests_end_and_the_second_does_not() {
    let served = Served::start(&[]);
    let mut request = greedy(PROMPT, 200);
    request["stream"] = true.into();
    let mut running = BufReader::new(served.send("POST", "/v1/completions", &request));
    let mut line = String::new();
    running.read_line(&mut line).unwrap();
    assert!(served.end(1).success());
    let mut rest = String::new();
    running.read_to_string(&mut rest).unwrap();
    assert!(rest.trim_end().ends_with("data: [DONE]"), "{rest}");

    let served = Served::start(&["--cache-tokens", "65536", "--context", "65536"]);
    let _running = served.send("POST", "/v1/completions", &greedy(PROMPT, 60_000));
    served.wait_until(|stats| stats["running"] == 1);
    assert_eq!(served.end(2).code(), Some(130));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let served = Served::start(&[]);
    let port = served.address.rsplit(':').next().unwrap();
    carnot(&["serve", "--port", port]).failure(1, &["127.0.0.1", port, "in use"]);
}
