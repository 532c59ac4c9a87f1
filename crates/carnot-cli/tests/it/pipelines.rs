//! `carnot profile report`, `merge`, `versus` and `open` on traces of a pipeline.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::{fs, thread};

use carnot_record::trace_file::{ClockPoint, EventKind, EventSite, RawEvent, TraceWriter};
use carnot_record::{Arithmetic, Outcome as Ended, Rank, Session, SpanKind, Thread};

use crate::{carnot, command};

const MS: u64 = 1_000_000;
const START: u64 = 1_795_000_000_000_000_000;

/// What differs between traces.
#[derive(Clone, Copy)]
struct Run {
    rank: Option<u32>,
    /// What the memory bank takes in each block, in milliseconds.
    bank: u64,
    /// What a block waits for the others.
    wait: u64,
    /// By how much the clock is ahead, and whether the machine is another one than rank 0's.
    ahead: u64,
}

const PLAIN: Run = Run {
    rank: None,
    bank: 2,
    wait: 0,
    ahead: 0,
};

/// Twenty blocks of some 10 ms, each with a memory bank and a wait; a tick is a nanosecond.
fn write(path: &Path, run: Run) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut writer = TraceWriter::new(Vec::new())?;
    let session = Session {
        id: "film".to_owned(),
        unit: "frames".to_owned(),
        host: format!("machine {}", run.ahead),
        rank: run.rank.map(|rank| Rank {
            rank,
            world_size: 4,
            local_rank: rank,
        }),
        started_unix_ns: START,
        outcome: Some(Ended::Completed),
        ..Session::default()
    };
    let clock = |ticks| ClockPoint {
        ticks,
        ns_per_tick: 1.0,
        unix_ns: START + run.ahead + ticks,
    };
    let span = |kind| EventKind::Span(kind, Arithmetic::None);
    let names = [
        ("diffusion", span(SpanKind::Stage)),
        ("block", span(SpanKind::Block)),
        ("memory_bank", span(SpanKind::Stage)),
        ("barrier", span(SpanKind::Wait)),
        ("anchor/first block", EventKind::Instant),
    ];
    let site = |(name, kind): (&str, EventKind)| EventSite {
        name: name.to_owned(),
        kind,
        file: String::new(),
        line: 0,
    };
    writer.session(&session)?;
    writer.clock(clock(0))?;
    writer.names(&names.map(site), &[Thread::default()])?;
    let event = |site, start, end| RawEvent {
        site,
        start,
        end,
        ..RawEvent::default()
    };
    let mut now = 0;
    for block in 0..20_u32 {
        let begun = now;
        now += 8 * MS + u64::from(block % 5) * 1000;
        writer.events([event(2, now, now + run.bank * MS)])?;
        now += run.bank * MS;
        writer.events([event(3, now, now + run.wait * MS)])?;
        now += run.wait * MS;
        let done = RawEvent {
            layer: block,
            tokens: 3,
            ..event(1, begun, now)
        };
        writer.events([done])?;
        if block == 0 {
            writer.events([event(4, 20 * MS, 0)])?;
        }
    }
    writer.events([event(0, 0, now)])?;
    writer.clock(clock(now))?;
    fs::write(path, writer.into_inner())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_trace_is_reported_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.carnot");
    write(&trace, PLAIN).unwrap();
    let report = carnot(&["profile", "report", text(&trace)]).success();
    assert!(report.contains("All spans by name"), "{report}");
    let five = carnot(&["profile", "report", text(&trace), "--template", "pipeline"]).success();
    for section in [
        "1. Overall",
        "2. Components within diffusion",
        "3. Per prompt",
        "4. Per chunk",
        "5. Per block",
    ] {
        assert!(five.contains(section), "{five}");
    }
    assert!(!five.contains("All spans by name"), "{five}");
    assert!(five.contains("… 10 more"), "{five}");
    let out = folder.path().join("out");
    let forms = "html,json,markdown,text,perfetto";
    let json = carnot(&[
        "profile",
        "report",
        text(&trace),
        "--format",
        "json",
        "--emit",
        forms,
        "-o",
        text(&out),
    ]);
    let json: serde_json::Value = serde_json::from_str(&json.success()).unwrap();
    assert_eq!(json["block_analysis"]["total_frames"], 60);
    let mut files: Vec<String> = fs::read_dir(&out)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            "pipeline.html",
            "pipeline.json",
            "pipeline.md",
            "pipeline.pftrace",
            "pipeline.txt"
        ]
    );
}

#[test]
fn what_is_no_trace_is_refused_and_what_is_cut_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.carnot");
    let report = || carnot(&["profile", "report", text(&path)]);
    report().failure(1, &["reading", "trace.carnot", "No such file"]);
    fs::write(&path, "{}").unwrap();
    report().failure(1, &["trace.carnot", "expected it to begin with CARNOTTR"]);
    write(&path, PLAIN).unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 40]).unwrap();
    let told = report().success();
    assert!(
        told.contains("What makes the figures doubtful") && told.contains("cut at byte"),
        "{told}"
    );
}

#[test]
fn ranks_are_merged_though_one_is_missing_and_one_is_garbage() {
    let folder = tempfile::tempdir().unwrap();
    let path = |rank: u32| folder.path().join(format!("rank_{rank}/trace_film.carnot"));
    for rank in [0, 1, 3] {
        let is_slow = rank == 3;
        let run = Run {
            rank: Some(rank),
            bank: if is_slow { 6 } else { 2 },
            wait: if is_slow { 0 } else { 4 },
            ahead: u64::from(rank) * 7 * MS,
        };
        write(&path(rank), run).unwrap();
    }
    fs::create_dir_all(folder.path().join("rank_2")).unwrap();
    fs::write(path(2), "garbage").unwrap();
    let out = folder.path().join("out");
    let told = carnot(&["profile", "merge", text(folder.path()), "-o", text(&out)]).success();
    let mut lines = told.lines();
    let first = lines.find(|line| line.starts_with("high")).unwrap();
    assert!(
        first.contains("rank 3 works 40 % longer than the median rank, most of it in"),
        "{first}"
    );
    assert!(
        first.contains("memory_bank (120.0 ms against 40.0 of"),
        "{first}"
    );
    assert!(
        told.contains("7.00 ms") && told.contains("21.0 ms"),
        "clocks are put on each other: {told}"
    );
    assert!(
        told.contains("rank 2 of 4 is missing") && told.contains("its rank is left out"),
        "{told}"
    );
    assert!(out.join("pipeline.pftrace").exists());
    let empty = folder.path().join("out");
    carnot(&["profile", "merge", text(&empty)]).failure(1, &["expected trace files", "found none"]);
}

#[test]
fn the_cost_of_a_component_has_an_interval() {
    let folder = tempfile::tempdir().unwrap();
    let [with, without] = ["with.carnot", "without.carnot"].map(|name| folder.path().join(name));
    write(&with, PLAIN).unwrap();
    write(&without, Run { bank: 1, ..PLAIN }).unwrap();
    let told = carnot(&["profile", "versus", text(&with), text(&without)]).success();
    let block = told.lines().find(|line| line.starts_with("block")).unwrap();
    assert!(
        block.contains("+11.11 %") && block.ends_with("slower"),
        "{told}"
    );
    assert!(
        told.lines().any(|line| line.starts_with("memory_bank")),
        "{told}"
    );
}

/// `carnot profile open`, stopped when it is dropped.
struct Opened {
    child: Child,
    port: String,
}

impl Opened {
    fn new(trace: &Path) -> Self {
        let mut child = command(&["profile", "open", text(trace)])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        // Whatever else it says goes nowhere, and never fills the pipe.
        thread::spawn(move || lines.for_each(drop));
        let port = line
            .split("127.0.0.1:")
            .nth(1)
            .unwrap()
            .split('/')
            .next()
            .unwrap()
            .to_owned();
        Self { child, port }
    }

    fn ask(&self, target: &str, host: &str) -> String {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{}", self.port)).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_page_asks_for_the_spans_of_a_window() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.carnot");
    write(&trace, PLAIN).unwrap();
    let opened = Opened::new(&trace);
    let ours = format!("127.0.0.1:{}", opened.port);
    let page = opened.ask("/", &ours);
    assert!(page.starts_with("HTTP/1.1 200 OK") && page.contains("carnot pipeline profile"));
    let spans = opened.ask("/spans?from=0&to=30000000", &ours);
    let body = spans.split("\r\n\r\n").nth(1).unwrap();
    let spans: serde_json::Value = serde_json::from_str(body).unwrap();
    // Three blocks with their banks, two barriers of no length, and the stage around them.
    let shown = spans["start_ns"].as_array().unwrap().len();
    assert_eq!(shown, 9, "{spans}");
    assert!(
        opened
            .ask("/spans?from=5", &ours)
            .starts_with("HTTP/1.1 400")
    );
    assert!(opened.ask("/other", &ours).starts_with("HTTP/1.1 404"));
    assert!(opened.ask("/", "evil.example").starts_with("HTTP/1.1 403"));
}

#[test]
fn two_traces_are_compared_with_a_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, run: Run| {
        let path = folder.path().join(name);
        write(&path, run).unwrap();
        path
    };
    let plain = file("plain.carnot", PLAIN);
    let slow = file("slow.carnot", Run { bank: 5, ..PLAIN });
    let compare = |was: &Path, is: &Path, more: &[&str]| {
        let arguments = ["compare", "--baseline", text(was), "--current", text(is)];
        carnot(&[&arguments, more].concat())
    };
    let worse = compare(&plain, &slow, &[]);
    assert_eq!(worse.code, Some(1), "{worse:?}");
    for told in [
        "worse: block +",
        "block: memory_bank +150",
        "20 → 20",
        "stage/memory_bank",
    ] {
        assert!(worse.stdout.contains(told), "{told} in {}", worse.stdout);
    }
    let better = compare(&slow, &plain, &[]).success();
    assert!(better.contains("better: block -"), "{better}");
    let same = compare(&plain, &plain, &["--format", "json"]);
    assert!(matches!(same.code, Some(0 | 3)), "{same:?}");
    let told: serde_json::Value = serde_json::from_str(&same.stdout).unwrap();
    assert_eq!(told["records"][0]["metrics"][0]["name"], "block");

    let model = folder.path().join("model.json");
    fs::write(&model, r#"{"schema": "carnot.profile", "version": 1}"#).unwrap();
    compare(&plain, &model, &[]).failure(2, &["model.json"]);
    let other = file(
        "others.carnot",
        Run {
            rank: Some(1),
            ..PLAIN
        },
    );
    compare(&plain, &other, &[]).failure(
        2,
        &[
            "the condition ranks differs: 1 in the baseline, 4 now",
            "--force",
        ],
    );
    fs::write(&model, "CARNOTTR").unwrap();
    compare(&plain, &model, &[]).failure(2, &["model.json"]);
}
