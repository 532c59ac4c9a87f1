//! A program with the counting allocator whose session samples: whose allocations the report names, and that no other program may ask for it.

use std::fs::File;
use std::hint::black_box;
use std::io::BufReader;

use carnot_analyze::pipeline::{View, read};
use carnot_record::Outcome;
use carnot_record::trace_file::TraceReader;
use carnot_sampling::heap::Counting;
use carnot_session::{Config, Identity, Session, report};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[inline(never)]
fn keeps(kept: &mut Vec<Vec<u8>>) {
    kept.push(black_box(vec![1; 100_000]));
}

#[inline(never)]
fn passes_by() {
    drop(black_box(vec![1_u8; 50_000]));
}

#[test]
fn who_allocates_is_in_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        output_dir: folder.path().to_owned(),
        sample_allocations: 16 * 1024,
        ..Config::default()
    };
    let mut kept = Vec::with_capacity(1000);
    let session = Session::start(&config, Identity::named("who"), None).unwrap();
    for _ in 0..1000 {
        keeps(&mut kept);
        passes_by();
    }
    let trace = session.end(Outcome::Completed).unwrap();
    drop(kept);

    let mut file = TraceReader::new(BufReader::new(File::open(&trace).unwrap())).unwrap();
    let found = read(&mut file, View::default()).unwrap().places;
    let of = |function: &str| {
        let ends = |name: &str| name.ends_with(function);
        let place = found.places.iter().find(|place| ends(&place.function));
        place.unwrap_or_else(|| panic!("{function} is not in {found:?}"))
    };
    let (keeps, passes) = (of("keeps"), of("passes_by"));
    assert_eq!(found.mean_bytes, 16 * 1024);
    assert!(keeps.place.contains("allocations.rs:"), "{}", keeps.place);
    assert_eq!(
        found.places[0].function, keeps.function,
        "who holds most at the peak stands first"
    );
    // 100,000 bytes are seen with a chance of 99.8 %, 50,000 with 95.3 %; six standard deviations.
    assert!(
        (keeps.allocated_bytes - 1e8).abs() < 2e6,
        "{}",
        keeps.allocated_bytes
    );
    assert!(
        (passes.allocated_bytes - 5e7).abs() < 3e6,
        "{}",
        passes.allocated_bytes
    );
    assert!((keeps.live_bytes - 1e8).abs() < 2e6 && passes.live_bytes < 1.0);
    assert!((keeps.at_peak_bytes - 1e8).abs() < 2e6);

    let reports = report(&trace, &config, None).unwrap();
    assert!(reports.text.contains("Who allocates"), "{}", reports.text);
    for file in &reports.files {
        let text = std::fs::read(file).unwrap();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("passes_by"), "{}", file.display());
    }
}
