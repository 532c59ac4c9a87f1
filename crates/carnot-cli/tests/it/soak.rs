//! A while of everything at once: clients that come, leave and do not read, steps that panic, blocks that are denied. Whatever was
//! lost, the server must say so, lose nothing else, and end as it began.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::serving::Served;

/// How long the clients go on.
const SOAK: Duration = Duration::from_secs(12);
const CLIENTS: u64 = 12;

/// A step in two hundred panics, a draw in a thousand, a block in twenty is denied.
const FAULTS: &str =
    "planned=0.2%panic;computed=0.3%panic;sampled=0.05%panic;drawing=0.1%panic;allocate=5%return";

/// Numbers that look like chance, the same in every run (xorshift: Marsaglia, 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn request(dice: &mut Dice) -> Value {
    let beginnings = ["import os\n", "class Reader:\n", "def read_lines(path):\n"];
    let beginning = beginnings[dice.below(3) as usize];
    let mut request = json!({
        "prompt": beginning.repeat(1 + dice.below(40) as usize),
        "max_tokens": 1 + dice.below(60),
        "temperature": dice.below(2),
        "priority": dice.below(11),
        "n": 1 + dice.below(2),
        "stream": dice.below(2) == 0,
        "ignore_eos": true,
    });
    if dice.below(8) == 0 {
        request["structured_outputs"] = json!({ "regex": "[a-z ]{4,40}" });
        request["ignore_eos"] = false.into();
    }
    request
}

#[derive(Default)]
struct Seen {
    whole: AtomicUsize,
    failed: AtomicUsize,
    left: AtomicUsize,
}

/// One client: asks, and reads to the end, or leaves, or leaves after not reading for a while.
fn client(served: &Served, number: u64, seen: &Seen) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ number);
    let begin = Instant::now();
    while begin.elapsed() < SOAK {
        let mut stream = served.send("POST", "/v1/completions", &request(&mut dice));
        let manner = dice.below(4);
        if manner == 0 {
            thread::sleep(Duration::from_millis(dice.below(60)));
            seen.left.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let mut text = String::new();
        stream
            .set_read_timeout(Some(Duration::from_mins(1)))
            .unwrap();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap_or_default();
        let is_whole = status == "200" && !text.contains("panicked");
        let of = if is_whole { &seen.whole } else { &seen.failed };
        assert!(is_whole || text.contains("panicked"), "{text}");
        of.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_server_that_fails_now_and_then_loses_nothing_else() {
    let served = Served::start_with(&["--cache-tokens", "8192"], &[("FAILPOINTS", FAULTS)]);
    let seen = Seen::default();
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (served, seen) = (&served, &seen);
            scope.spawn(move || client(served, number, seen));
        }
    });
    let Seen {
        whole,
        failed,
        left,
    } = seen;
    let counts = [whole, failed, left].map(AtomicUsize::into_inner);
    assert!(
        counts.iter().all(|&count| count > 0),
        "whole, failed, left: {counts:?}"
    );
    served.wait_for_rest();
    let stats = served.stats();
    assert_eq!(stats["accepted"], stats["answered"], "{stats}");
    let health = served.ask("GET", "/health", &Value::Null);
    assert_eq!(health["lost_requests"], 0, "{health}");
}
