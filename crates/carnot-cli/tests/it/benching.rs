//! Suites of `carnot bench` on the embedded model: what they print, keep, and hand to comparisons.

use std::fs;

use carnot_record::{BenchRecord, Record, Trace};

use crate::{carnot, measure_machine, text};

fn record(arguments: &[&str]) -> BenchRecord {
    measure_machine();
    let line = [&["bench"], arguments, &["--format", "json"]].concat();
    BenchRecord::from_json(&carnot(&line).success()).unwrap()
}

#[test]
fn each_nanosecond_of_a_request_is_in_one_loss() {
    let record = record(&["inference", "-n", "8", "--iterations", "4", "--warmup", "1"]);
    let requests = record.metric("request").unwrap();
    assert_eq!(requests.values.len(), 4);
    for (index, seconds) in requests.values.iter().enumerate() {
        let accounted: f64 = record.losses.iter().map(|loss| loss.ns[index]).sum();
        // A request is asked for, and told, outside of the phases that are accounted for.
        let share = accounted / 1e9 / seconds;
        assert!((0.5..=1.0).contains(&share), "{share} of {seconds} s");
    }
    let limit = record.metric("decode").unwrap().limit.unwrap();
    assert!(limit > 0.0, "{record:?}");
    let gaps = record.metric("inter_token_latency").unwrap();
    assert_eq!(gaps.values.len(), 4 * 7, "seven gaps between eight tokens");
    assert_eq!(record.summary["successful_requests"], 4.0);
    assert_eq!(record.conditions["tokens"], "8");
}

#[test]
fn more_clients_are_each_answered() {
    let arguments = [
        "concurrent",
        "-n",
        "4",
        "--clients",
        "1,2,3",
        "--requests",
        "2",
    ];
    let record = record(&arguments);
    for clients in [1, 2, 3] {
        let latencies = record.metric(&format!("request_of_{clients}")).unwrap();
        assert_eq!(latencies.values.len(), 2 * clients);
        let rate = record.metric(&format!("throughput_of_{clients}")).unwrap();
        assert!(
            rate.values[0] > 0.0 && rate.limit.unwrap() > rate.values[0],
            "{rate:?}"
        );
    }
    let measured = record
        .series
        .iter()
        .find(|line| line.name == "measured")
        .unwrap();
    assert_eq!(measured.points.len(), 3);
}

#[test]
fn a_cache_with_room_for_all_misses_each_prefix_once() {
    let arguments = [
        "--prefixes",
        "4",
        "--prefix-tokens",
        "64",
        "--requests",
        "30",
        "-n",
        "1",
    ];
    let all = record(&[&["cache", "--cache-tokens", "4096"], &arguments[..]].concat());
    let ratio = all.metric("hit_ratio").unwrap();
    assert_eq!(ratio.values[0], ratio.limit.unwrap(), "{all:?}");
    let misses = all.metric("first_token_of_a_miss").unwrap().values.len();
    assert!((1..=4).contains(&misses), "{misses}");
}

#[test]
fn memory_is_told_by_owner() {
    let record = record(&["memory", "-n", "4", "--requests", "3"]);
    let of = |name: &str| record.metric(name).unwrap().values[0];
    let weights = record.model.as_ref().unwrap().bytes as f64;
    assert!(of("live_weights") > 0.5 * weights, "{record:?}");
    assert!(
        of("peak") >= of("live_weights") + of("live_kv_cache"),
        "{record:?}"
    );
    assert_eq!(
        record
            .metric("resident_after_a_request")
            .unwrap()
            .values
            .len(),
        3
    );
}

#[test]
fn what_is_kept_is_drawn_and_compared() {
    measure_machine();
    let folder = tempfile::tempdir().unwrap();
    let inference = [
        "bench",
        "inference",
        "-n",
        "4",
        "--iterations",
        "5",
        "--output",
        text(folder.path()),
    ];
    let told = carnot(&inference).success();
    assert!(told.contains("where the time went"), "{told}");
    for kept in [
        "inference_benchmark.json",
        "inference_benchmark.csv",
        "inference_benchmark.md",
        "benchmark_report.html",
    ] {
        assert!(folder.path().join(kept).exists(), "{kept}");
    }
    let path = folder.path().join("inference_benchmark.json");
    let compared = carnot(&[
        "compare",
        "--baseline",
        text(&path),
        "--current",
        text(&path),
    ]);
    assert!(
        matches!(compared.code, Some(0 | 3)),
        "the same is not worse: {compared:?}"
    );
    fs::write(folder.path().join("memory_benchmark.json"), "{").unwrap();
    carnot(&inference).failure(1, &["memory_benchmark.json", "another --output"]);
}

#[test]
fn a_baseline_is_three_files_that_compare_reads() {
    measure_machine();
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "baseline",
        "--duration",
        "0.2",
        "-n",
        "4",
        "--output",
        text(folder.path()),
    ];
    let report = carnot(&arguments).success();
    assert!(report.contains("embedded"), "{report}");
    for kept in [
        "baseline_results.json",
        "performance_targets.json",
        "baseline_report.md",
    ] {
        assert!(folder.path().join(kept).exists(), "{kept}");
    }
    let same = carnot(&[
        "compare",
        "--baseline",
        text(folder.path()),
        "--current",
        text(folder.path()),
    ]);
    assert!(matches!(same.code, Some(0 | 3)), "{same:?}");
    let none = carnot(&[
        "baseline",
        "--backends",
        "safetensors",
        "--output",
        text(folder.path()),
    ]);
    none.failure(1, &["--backends", "safetensors"]);
}

#[test]
fn a_search_needs_something_to_hold() {
    carnot(&["bench", "serve", "--search"]).failure(1, &["--search", "--slo-first-ms"]);
}

#[test]
fn a_trace_that_is_none_is_told_with_its_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "due_s,prompt_tokens,tokens\n1,2\n").unwrap();
    let arguments = ["bench", "serve", "--replay", text(file.path())];
    carnot(&arguments).failure(1, &["line 2", "expected a number"]);
    let from = [
        "bench",
        "serve",
        "--from",
        text(file.path()),
        "--as",
        "vllm",
    ];
    carnot(&from).failure(1, &["line 1", "--raw"]);
}

#[test]
fn processor_time_is_told_by_function() {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().to_str().unwrap();
    let told = record(&["cpu", "-n", "8", "--duration", "1", "--output", output]);
    assert!(told.metric("samples").unwrap().values[0] > 20.0, "{told:?}");
    let own: f64 = told.functions.iter().map(|one| one.own).sum();
    assert!(own > 0.5 && own <= 1.000_001, "{own}");
    let kernels = told
        .functions
        .iter()
        .filter(|one| one.function.contains("carnot_kernels"));
    let kernels: f64 = kernels.map(|one| one.own).sum();
    assert!(
        kernels > 0.2,
        "kernels and their waiting: {kernels} of {told:?}"
    );
    assert!(!told.losses.is_empty());
    let read = |name: &str| fs::read(folder.path().join("flamegraphs").join(name)).unwrap();
    let stacks = String::from_utf8(read("cpu_stacks.txt")).unwrap();
    assert!(stacks.contains("carnot_llm::"), "{stacks}");
    assert!(read("cpu_profile.svg").starts_with(b"<?xml"));
    assert!(read("cpu_profile.pb.gz").starts_with(&[0x1f, 0x8b]));
    assert!(read("cpu_hotspots.txt").len() > 100);
}

#[test]
fn a_request_has_the_places_of_its_allocations() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().to_str().unwrap();
    let told = record(&[
        "memory",
        "-n",
        "8",
        "--requests",
        "2",
        "--profile",
        "--output",
        output,
    ]);
    let whole = told.metric("allocated_by_a_request").unwrap().values[0];
    let sum: f64 = told.allocations.iter().map(|site| site.bytes).sum();
    assert!(whole > 0.0 && (whole - sum).abs() < 1.0, "{whole} {sum}");
    let places = told.allocations.iter();
    assert!(
        places
            .clone()
            .any(|site| site.place.starts_with("carnot-llm/src/")),
        "{:?}",
        told.allocations
    );
    let sizes = told
        .series
        .iter()
        .find(|line| line.plot.starts_with("Allocations"))
        .unwrap();
    let count: f64 = sizes.points.iter().map(|[_, count]| count).sum();
    assert_eq!(
        count,
        told.metric("allocations_of_a_request").unwrap().values[0]
    );
    assert!(
        folder
            .path()
            .join("flamegraphs/memory_profile.svg")
            .exists()
    );
}

#[test]
fn a_profile_of_requests_is_kept_beside_their_record() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().to_str().unwrap();
    let arguments = [
        "inference",
        "-n",
        "8",
        "--iterations",
        "2",
        "--profile",
        "--output",
        output,
    ];
    let told = record(&arguments);
    assert!(!told.allocations.is_empty());
    let trace = fs::read_to_string(folder.path().join("inference.trace.json")).unwrap();
    assert!(!Trace::from_json(&trace).unwrap().spans.is_empty());
    assert!(
        folder
            .path()
            .join("flamegraphs/inference_profile.svg")
            .exists()
    );
    let nowhere = carnot(&["bench", "inference", "--profile"]);
    assert_eq!(nowhere.code, Some(2));
}
