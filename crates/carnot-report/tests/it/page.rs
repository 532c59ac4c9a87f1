//! The HTML report in a browser: what it shows is what the analysis says.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use carnot_analyze::Analysis;
use carnot_record::{
    AllocationSite, BenchRecord, Better, FunctionShare, LossSamples, Metric, Series, Trace,
};
use carnot_report::text::Colour;
use carnot_report::{bench, html, units};

use crate::{fixture, hostile};

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const PATIENCE: Duration = Duration::from_secs(90);
const SKIPPED: &str = "skipped: no Chromium is installed (Debian package chromium)";

/// The page after its scripts ran, as the browser writes it; `None` where there is no browser.
fn drawn(analysis: &Analysis, trace: &Trace) -> Option<String> {
    drawn_page(&html::render(analysis, trace))
}

pub fn drawn_page(page_text: &str) -> Option<String> {
    let installed = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
    let browser = BROWSERS.iter().find(installed)?;
    let folder = tempfile::tempdir().expect("a folder for the page");
    let page = folder.path().join("report.html");
    fs::write(&page, page_text).expect("the page is written");
    Some(dump(browser, &page, folder.path()))
}

fn dump(browser: &str, page: &Path, folder: &Path) -> String {
    let output = folder.join("dom.html");
    let mut child = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("browser").display()
        ))
        .args(["--window-size=1300,2000", "--dump-dom"])
        .arg(format!("file://{}", page.display()))
        .stdout(File::create(&output).expect("a file for what it prints"))
        .stderr(Stdio::null())
        .spawn()
        .expect("it was there a moment ago");
    let begin = Instant::now();
    while child.try_wait().expect("it is our child").is_none() {
        if begin.elapsed() > PATIENCE {
            child.kill().expect("it is our child");
            panic!("{browser} took more than {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(50));
    }
    fs::read_to_string(output).expect("the browser writes UTF-8")
}

/// An attribute and the text of the element that has `marker` among its attributes.
fn element<'a>(dom: &'a str, marker: &str) -> (&'a str, &'a str) {
    let at = dom
        .find(marker)
        .unwrap_or_else(|| panic!("the page has no {marker}"));
    let (attributes, rest) = dom[at..].split_once('>').expect("a tag ends");
    let value = attributes
        .split_once("data-value=\"")
        .map_or("", |(_, value)| value);
    (
        value.split('"').next().unwrap_or(""),
        rest.split('<').next().unwrap_or(""),
    )
}

#[test]
fn the_page_shows_the_figures_of_the_analysis() {
    let analysis = fixture::analysis();
    let Some(dom) = drawn(&analysis, &fixture::trace()) else {
        eprintln!("{SKIPPED}");
        return;
    };
    assert!(dom.contains("data-drawn=\"true\""));
    assert!(
        !dom.contains("class=\"failed\""),
        "a part could not be drawn"
    );
    let total = &analysis.total;
    let duration = |ns: f64| units::duration(ns);
    let wall = (total.wall_ns.to_string(), duration(total.wall_ns as f64));
    assert_eq!(
        element(&dom, "data-field=\"wall_ns\""),
        (wall.0.as_str(), wall.1.as_str())
    );
    let floor = (total.floor_ns.to_string(), duration(total.floor_ns as f64));
    assert_eq!(
        element(&dom, "data-field=\"floor_ns\""),
        (floor.0.as_str(), floor.1.as_str())
    );
    let (_, efficiency) = element(&dom, "data-field=\"efficiency\"");
    assert_eq!(efficiency, units::whole_percent(total.efficiency()));
    for phase in analysis.phases.iter().filter(|phase| phase.counted) {
        let (_, rate) = element(&dom, &format!("data-field=\"{}_tokens_per_s\"", phase.name));
        assert_eq!(rate, units::tokens_per_s(phase.tokens_per_s()));
    }
}

#[test]
fn the_waterfall_on_the_page_adds_up() {
    let analysis = fixture::analysis();
    let Some(dom) = drawn(&analysis, &fixture::trace()) else {
        eprintln!("{SKIPPED}");
        return;
    };
    let mut sum = 0;
    for path in analysis
        .total
        .losses
        .iter()
        .map(carnot_analyze::Loss::path)
        .chain(["floor".into()])
    {
        let (value, text) = element(&dom, &format!("data-loss=\"{path}\""));
        let ns: i64 = value.parse().unwrap();
        assert_eq!(text, units::duration(ns as f64), "{path}");
        sum += ns;
    }
    assert_eq!(sum, analysis.total.wall_ns as i64);
    let points = dom.matches("data-operation=").count();
    assert_eq!(points, analysis.operations_by_phase.len());
}

#[test]
fn hostile_names_run_nothing_on_the_page() {
    let (analysis, trace) = hostile::profile();
    let Some(dom) = drawn(&analysis, &trace) else {
        eprintln!("{SKIPPED}");
        return;
    };
    assert!(dom.contains("data-drawn=\"true\""));
    assert!(
        !dom.contains("class=\"failed\""),
        "a part could not be drawn"
    );
    let root = dom
        .split_once("<html")
        .and_then(|(_, rest)| rest.split_once('>'))
        .unwrap()
        .0;
    assert!(!root.contains("broken"), "{root}");
}

#[test]
fn the_page_of_benchmarks_shows_their_medians_and_losses() {
    let values = vec![0.2, 0.1, 0.4, 0.3, 0.5, 0.25, 0.35, 0.45, 0.15];
    let record = BenchRecord {
        suite: "inference".to_owned(),
        metrics: vec![
            Metric::latencies("end_to_end", values).with_limit(0.03),
            Metric::repeated("decode", "tokens/s", Better::Higher, vec![1234.0]),
        ],
        losses: vec![
            LossSamples {
                name: "floor".to_owned(),
                ns: vec![3e6, 5e6, 4e6],
            },
            LossSamples {
                name: "kernel/<b>matmul</b>".to_owned(),
                ns: vec![9e6, 8e6, 7e6],
            },
        ],
        series: vec![Series {
            plot: "Throughput".to_owned(),
            name: "measured".to_owned(),
            x: "clients, ".to_owned(),
            y: "tokens a second, tokens/s".to_owned(),
            points: vec![[1.0, 10.0], [2.0, 18.0]],
        }],
        functions: vec![FunctionShare {
            function: "engine::<step>".to_owned(),
            file: "engine/src/lib.rs".to_owned(),
            own: 0.25,
            total: 0.75,
        }],
        allocations: vec![AllocationSite {
            function: "engine::step".to_owned(),
            place: "engine/src/lib.rs:12".to_owned(),
            allocations: 7.0,
            bytes: 1e6,
            kept_bytes: 0.0,
        }],
        void: Some("the client was the limit".to_owned()),
        ..BenchRecord::default()
    };
    let Some(dom) = drawn_page(&bench::html::render(std::slice::from_ref(&record))) else {
        eprintln!("{SKIPPED}");
        return;
    };
    assert!(dom.contains("data-drawn=\"true\""), "a script failed");
    assert_eq!(
        element(&dom, "data-field=\"end_to_end\""),
        ("0.3", "300 ms")
    );
    assert_eq!(
        element(&dom, "data-field=\"decode\""),
        ("1234", "1,234 tok/s")
    );
    assert!(
        dom.contains("8.00 ms · 66.7 %"),
        "the medians of the losses: {dom}"
    );
    assert!(dom.contains("kernel/&lt;b&gt;matmul"), "a name is text");
    assert!(dom.contains("engine::&lt;step&gt;") && dom.contains("25.0 %"));
    assert!(dom.contains("engine/src/lib.rs:12") && dom.contains("1.00 MB"));
    assert!(dom.contains("Void: the client was the limit"));
    assert!(dom.contains("aria-label=\"Throughput\""));
    let text = bench::text::render(&record, Colour::Never);
    assert!(
        text.contains("300 ms") && text.contains("10 %") && text.contains("engine/src/lib.rs:12"),
        "as in the terminal: {text}"
    );
}
