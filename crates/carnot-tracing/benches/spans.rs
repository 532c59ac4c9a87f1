//! What a span costs who tells it: the probe's own, `tracing` with our layer, and `tracing` with a layer that writes Chrome's trace:
//! `cargo bench -p carnot-tracing`.
//!
//! Goal: the probe's own span costs a tenth of `tracing` with `tracing-chrome`, or less. Each way runs in a process of its own, where its
//! subscriber is the program's, in turns. Chrome's file goes nowhere; its thread has a core of its own where there are two, and is waited for after
//! each batch, outside of what is timed.
#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::env;
use std::hint::black_box;
use std::io::{self, Write};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use carnot_probe::{drain, enable, reserve, span};
use tracing::subscriber::set_global_default;
use tracing::{Subscriber, info_span};
use tracing_chrome::ChromeLayerBuilder;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, registry};

const SPANS: u32 = 50_000;
const BATCHES: usize = 5;
const ROUNDS: usize = 9;

/// In the order in which they are told.
const WAYS: [(&str, &str); 7] = [
    ("nothing", "an empty loop"),
    ("probe", "the probe's own span"),
    ("probe-layer", "the same with a layer and tokens"),
    ("tracing", "tracing, a layer that does nothing"),
    ("carnot", "tracing, our layer"),
    ("carnot-layer", "the same with a layer and tokens"),
    ("chrome", "tracing, tracing-chrome"),
];

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let [_, way, spans] = arguments.as_slice()
        && let Ok(spans) = spans.parse()
    {
        println!("{}", measure(way, spans));
        return;
    }
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let (rounds, spans) = if is_test { (1, 100) } else { (ROUNDS, SPANS) };
    let mut told = [(); WAYS.len()].map(|()| Vec::new());
    for round in 0..rounds {
        for index in 0..WAYS.len() {
            // Each way begins some of the rounds.
            let index = (index + round) % WAYS.len();
            told[index].push(in_a_process(WAYS[index].0, spans));
        }
    }
    let medians = told.map(median);
    let chrome = medians[WAYS.len() - 1] - medians[0];
    println!(
        "a span, ns        median of {rounds} processes    chrome's over it, the loop taken away"
    );
    for ((_, name), median) in WAYS.iter().zip(medians) {
        let own = median - medians[0];
        let times = if own > 0.0 {
            format!("{:.1} ×", chrome / own)
        } else {
            String::new()
        };
        println!("{name:<36}{median:>10.1}{times:>12}");
    }
}

fn in_a_process(way: &str, spans: u32) -> f64 {
    let own = env::current_exe().expect("a program knows its file");
    let ran = Command::new(own).args([way, &spans.to_string()]).output();
    let ran = ran.expect("this program starts again");
    let text = String::from_utf8_lossy(&ran.stdout);
    let told = text.trim().parse();
    told.unwrap_or_else(|_| panic!("{way}: expected nanoseconds, got {ran:?}"))
}

/// Nanoseconds a span: the least of some batches, of which the first warms up.
fn measure(way: &str, spans: u32) -> f64 {
    let set = "a program has one subscriber, which is this";
    let mut chrome = None;
    match way {
        "tracing" => set_global_default(registry().with(Nothing)).expect(set),
        "carnot" | "carnot-layer" => {
            set_global_default(registry().with(carnot_tracing::layer())).expect(set);
        }
        "chrome" => {
            let (sender, flushed) = channel();
            let (layer, guard) = ChromeLayerBuilder::new().writer(Nowhere(sender)).build();
            set_global_default(registry().with(layer)).expect(set);
            chrome = Some((guard, flushed));
        }
        _ => (),
    }
    enable();
    let batch = |_| {
        reserve(2 * spans as usize);
        let ns = match way {
            "nothing" => time(spans, |index| _ = black_box(index)),
            "probe" => time(spans, |_| drop(span!("span"))),
            "probe-layer" => time(spans, |index| span!("span").layer(index).tokens(7).end()),
            "carnot-layer" => time(spans, |index| {
                drop(info_span!("span", layer = index, tokens = 7).entered());
            }),
            _ => time(spans, |_| drop(info_span!("span").entered())),
        };
        if let Some((guard, flushed)) = &chrome {
            guard.flush();
            flushed
                .recv()
                .expect("its thread writes until the guard goes");
        }
        drain();
        ns
    };
    let batches: Vec<f64> = (0..=BATCHES).map(batch).skip(1).collect();
    batches.into_iter().fold(f64::INFINITY, f64::min)
}

/// What the registry itself costs, spans closed and all: without a layer it would never close any.
struct Nothing;

impl<S: Subscriber> Layer<S> for Nothing {}

/// Takes what is written, and tells when all that came before has been.
struct Nowhere(Sender<()>);

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(black_box(bytes).len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // At the end nobody waits any more.
        let _ = self.0.send(());
        Ok(())
    }
}

fn time(calls: u32, mut call: impl FnMut(u32)) -> f64 {
    let begin = Instant::now();
    for index in 0..calls {
        call(index);
    }
    begin.elapsed().as_nanos() as f64 / f64::from(calls)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
