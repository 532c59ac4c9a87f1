//! The HTML report in a browser: what it shows is what the analysis says.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use carnot_analyze::Analysis;
use carnot_record::Trace;
use carnot_report::{html, units};

use crate::{fixture, hostile};

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const PATIENCE: Duration = Duration::from_secs(90);
const SKIPPED: &str = "skipped: no Chromium is installed (Debian package chromium)";

/// The page after its scripts ran, as the browser writes it; `None` where there is no browser.
fn drawn(analysis: &Analysis, trace: &Trace) -> Option<String> {
    let installed = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
    let browser = BROWSERS.iter().find(installed)?;
    let folder = tempfile::tempdir().expect("a folder for the page");
    let page = folder.path().join("report.html");
    fs::write(&page, html::render(analysis, trace)).expect("the page is written");
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
