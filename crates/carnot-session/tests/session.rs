//! A session from start to end, through the file. One test: the probe is one per process.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use carnot_probe::{
    CacheOutcome, Frame, Kind, cache, counter, drop_frames, frame, memory, site, span,
};
use carnot_record::trace_file::{EventSite, Occurrence, TraceReader};
use carnot_record::{Outcome, PipelineModel, Rank};
use carnot_session::{Config, Error, Identity, Session};

#[test]
fn what_a_pipeline_records_is_in_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config {
        output_dir: folder.path().to_owned(),
        display_interval: 0.05,
        profile_vae_decode: false,
        ..Config::default()
    };
    a_session_is_recorded(&config);
    one_that_is_dropped_reads_and_says_so(&config);
    sessions_of_the_same_second_have_files_of_their_own(&config);
    one_that_is_disowned_leaves_its_file_alone(&config);
    one_that_is_off_records_nothing(&config);
    a_folder_that_cannot_be_made_is_said(&config);
    one_whose_allocator_is_another_cannot_be_sampled(&config);
}

fn a_session_is_recorded(config: &Config) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&lines);
    let identity = Identity {
        unit: Some("frames".to_owned()),
        rank: Some(Rank {
            rank: 2,
            world_size: 4,
            local_rank: 0,
        }),
        ..Identity::named("a/b run")
    };
    let display = Box::new(move |line: &str| told.lock().expect("no panic").push(line.to_owned()));
    let session = Session::start(config, identity, Some(display)).expect("it starts");
    let second = Session::start(config, Identity::named("second"), None).map(|_| ());
    assert!(matches!(second, Err(Error::Open(open)) if open == "a/b run"));

    pipeline();
    session.tag("model", "tiny");
    session.model(PipelineModel {
        name: "unet".to_owned(),
        kind: "diffusion".to_owned(),
        parameters: 12,
    });
    session.note("switch", serde_json::json!({"prompt": 2}));
    session.flush();
    let status = session.status();
    assert_eq!(
        (
            status.stages["denoise"].0,
            status.frames,
            status.dropped_frames
        ),
        (1, 3, 2)
    );
    assert_eq!(status.counters["queue"], 4.0);
    let begun = Instant::now();
    while lines.lock().expect("no panic").is_empty() {
        assert!(begun.elapsed() < Duration::from_mins(1), "no line was told");
        std::thread::yield_now();
    }
    assert!(lines.lock().expect("no panic")[0].starts_with("carnot: a/b run · "));

    let path = session.end(Outcome::Completed).expect("it is written");
    let name = path
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    assert!(
        path.parent()
            .is_some_and(|folder| folder.ends_with("rank_2")),
        "{}",
        path.display()
    );
    assert!(name.starts_with("trace_a_b_run_20"), "{name}");
    span!("after", Kind::Stage).end();
    check(&path);
    reports_are_made_of_it(&path, config);
}

fn pipeline() {
    let denoise = span!("denoise", Kind::Stage).items(3);
    span!("block", Kind::Block).index(1).end();
    span!("vae_decode", Kind::Stage).end();
    denoise.end();
    counter(site("queue", Kind::Counter), 4.0);
    memory(site("bank", Kind::Memory), 64, 9);
    cache(site("frames", Kind::Cache), CacheOutcome::Miss, 5, 64);
    let video = site("video", Kind::Frame);
    frame(
        video,
        &Frame {
            index: 7,
            count: 3,
            encode_ns: 11,
            occupancy: Some(2),
            ..Frame::default()
        },
    );
    drop_frames(video, 2);
}

fn open(path: &Path) -> TraceReader<BufReader<File>> {
    let file = File::open(path).expect("the file is there");
    TraceReader::new(BufReader::new(file)).expect("it reads")
}

fn check(path: &Path) {
    let mut reader = open(path);
    let header = reader.session().clone();
    assert_eq!(
        (header.id.as_str(), header.unit.as_str()),
        ("a/b run", "frames")
    );
    assert_eq!(
        (header.tags["model"].as_str(), header.models[0].parameters),
        ("tiny", 12)
    );
    assert_eq!(header.outcome, Some(Outcome::Completed));
    assert!(header.cost.span_ns > 0.0);
    assert_eq!(reader.notes()[0].data["prompt"], 2);
    let mut seen = Vec::new();
    reader
        .for_each(|site, _, occurrence| {
            if let Occurrence::Span { times, .. } = occurrence {
                assert!(
                    times.end_ns <= 60_000_000_000,
                    "times begin with the session"
                );
            }
            // What samplers saw of the machine, such as `host/load_1`, has its own tests.
            if !site.name.contains('/') {
                seen.push((site.name.clone(), occurrence));
            }
        })
        .expect("it reads");
    let names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "block", "denoise", "queue", "bank", "frames", "video", "video"
        ],
        "decoding was not wanted"
    );
    assert!(matches!(seen[0].1, Occurrence::Span { index: Some(1), .. }));
    assert!(matches!(seen[1].1, Occurrence::Span { items: 3, .. }));
    assert!(matches!(
        seen[3].1,
        Occurrence::Memory {
            bytes: 64,
            id: Some(9),
            ..
        }
    ));
    assert!(matches!(seen[4].1, Occurrence::Cache { key: Some(5), .. }));
    assert!(matches!(
        seen[5].1,
        Occurrence::Frame {
            index: 7,
            count: 3,
            encode_ns: 11,
            occupancy: Some(2),
            prompt: None,
            ..
        }
    ));
    assert!(matches!(
        seen[6].1,
        Occurrence::DroppedFrames { count: 2, .. }
    ));
    assert!(reader.damage().is_empty());
}

fn reports_are_made_of_it(path: &Path, config: &Config) {
    let reports = carnot_session::report(path, config, Some(16.0)).expect("they are written");
    let kinds: Vec<_> = reports
        .files
        .iter()
        .filter_map(|file| file.extension())
        .collect();
    assert_eq!(kinds, ["html", "json", "carnot"]);
    assert!(reports.files[1].file_name().is_some_and(|name| {
        name.to_string_lossy()
            .starts_with("profiling_report_a_b_run_20")
    }));
    assert!(
        reports.text.contains("1. Overall performance"),
        "{}",
        reports.text
    );
    let json = std::fs::read_to_string(&reports.files[1]).expect("it is there");
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(json["streaming_analysis"]["total_dropped_frames"], 2);
    assert_eq!(json["model_analysis"]["total_parameters"], 12);
    assert_eq!(
        json["cache_analysis"]["frames"]["cache_performance"]["misses"],
        1
    );
    assert_eq!(json["stage_analysis"]["stages"]["denoise"]["call_count"], 1);
    let once = Config {
        save_raw_data: false,
        ..config.clone()
    };
    carnot_session::report(path, &once, None).expect("they are written again");
    assert!(!path.exists());
}

fn one_that_is_dropped_reads_and_says_so(config: &Config) {
    let without_models = Config {
        profile_model_parameters: false,
        ..config.clone()
    };
    let session = Session::start(&without_models, Identity::default(), None)
        .expect("the first one has ended");
    session.model(PipelineModel::default());
    span!("denoise", Kind::Stage).end();
    let path = session.path().to_owned();
    drop(session);
    let mut reader = open(&path);
    let mut count = 0;
    let of_the_pipeline = |site: &EventSite| usize::from(!site.name.contains('/'));
    reader
        .for_each(|site, _, _| count += of_the_pipeline(site))
        .expect("it reads");
    assert_eq!((count, reader.session().outcome.clone()), (1, None));
    assert!(reader.session().models.is_empty(), "no models were wanted");
}

fn sessions_of_the_same_second_have_files_of_their_own(config: &Config) {
    let run = || {
        let session = Session::start(config, Identity::named("again"), None).expect("it starts");
        let path = session.path().to_owned();
        assert_eq!(session.end(Outcome::Completed).expect("it ends"), path);
        path
    };
    let mut paths: Vec<_> = (0..5).map(|_| run()).collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 5);
}

fn one_that_is_disowned_leaves_its_file_alone(config: &Config) {
    let session = Session::start(config, Identity::named("parent"), None).expect("it starts");
    session.disown();
    assert!(!carnot_probe::is_enabled());
    let next = Session::start(config, Identity::named("child"), None).expect("none is open");
    next.end(Outcome::Completed).expect("it ends");
}

fn one_that_is_off_records_nothing(config: &Config) {
    let off = Config {
        enabled: false,
        ..config.clone()
    };
    let session = Session::start(&off, Identity::named("off"), None).expect("it starts");
    span!("denoise", Kind::Stage).end();
    session.tag("a", "b");
    session.flush();
    let path = session.end(Outcome::Completed).expect("it ends");
    assert!(!path.exists() && carnot_probe::drain().is_empty());
}

fn a_folder_that_cannot_be_made_is_said(config: &Config) {
    let file = config.output_dir.join("file");
    File::create(&file).expect("a file");
    let wrong = Config {
        output_dir: file.join("below"),
        ..config.clone()
    };
    let error = Session::start(&wrong, Identity::named("wrong"), None)
        .map(|_| ())
        .expect_err("no folder");
    assert!(
        error.to_string().starts_with("writing ") && error.to_string().contains("trace_wrong_"),
        "{error}"
    );
    Session::start(config, Identity::named("right"), None)
        .expect("a failed start leaves nothing open")
        .end(Outcome::Failed("ValueError".to_owned()))
        .expect("it ends");
}

fn one_whose_allocator_is_another_cannot_be_sampled(config: &Config) {
    let config = Config {
        output_dir: config.output_dir.join("sampled"),
        sample_allocations: 1 << 19,
        ..config.clone()
    };
    let error = Session::start(&config, Identity::named("other"), None).err();
    let told = error.expect("there is no sample").to_string();
    assert_eq!(
        told,
        "configuration: sample_allocations: expected carnot_sampling::heap::Counting to be the program's global allocator, found another"
    );
    assert!(!config.output_dir.exists(), "no file is left");
}
