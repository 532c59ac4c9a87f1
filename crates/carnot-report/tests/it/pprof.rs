//! The pprof profile, decoded and checked as `go tool pprof` checks it, and opened with it where it is installed.

use std::{collections::HashSet, fs, io::Read as _, process::Command};

use carnot_report::pprof;
use flate2::read::GzDecoder;

use crate::{fixture, hostile, protobuf::Fields};

fn decode(file: &[u8]) -> Fields {
    let mut bytes = Vec::new();
    GzDecoder::new(file)
        .read_to_end(&mut bytes)
        .expect("it is compressed");
    Fields::read(&bytes)
}

/// The rules of `Profile.CheckValid`.
pub fn check_valid(profile: &Fields) {
    let strings = profile.texts(6);
    assert_eq!(strings[0], "");
    assert_eq!(
        strings.iter().collect::<HashSet<_>>().len(),
        strings.len(),
        "no string twice"
    );
    let functions: HashSet<u64> = profile
        .messages(5)
        .iter()
        .map(|function| function.number(1).unwrap())
        .collect();
    let locations: Vec<Fields> = profile.messages(4);
    let ids: HashSet<u64> = locations
        .iter()
        .map(|location| location.number(1).unwrap())
        .collect();
    assert!(ids.len() == locations.len() && !ids.contains(&0) && !functions.contains(&0));
    for location in &locations {
        let lines = location.messages(4);
        assert!(
            !lines.is_empty()
                && lines
                    .iter()
                    .all(|l| functions.contains(&l.number(1).unwrap()))
        );
    }
    let types = profile.messages(1).len();
    for sample in profile.messages(2) {
        assert_eq!(sample.packed(2).len(), types);
        assert!(
            sample
                .packed(1)
                .iter()
                .all(|location| ids.contains(location))
        );
        for label in sample.messages(3) {
            assert!((label.number(1).unwrap() as usize) < strings.len());
        }
    }
}

#[test]
fn the_profile_is_valid_and_complete() {
    let (analysis, trace) = (fixture::analysis(), fixture::trace());
    let profile = decode(&pprof::render(&analysis, &trace));
    check_valid(&profile);
    let samples = profile.messages(2);
    let sum = |value: usize| {
        samples
            .iter()
            .map(|sample| sample.packed(2)[value])
            .sum::<u64>()
    };
    assert_eq!(sum(0), trace.spans.len() as u64);
    let own: u64 = analysis
        .call_tree
        .nodes
        .iter()
        .map(|node| node.self_ns)
        .sum();
    assert_eq!(sum(1), own);
}

#[test]
fn layers_and_phases_are_labels() {
    let profile = decode(&pprof::render(&fixture::analysis(), &fixture::trace()));
    let strings = profile.texts(6);
    let text = |index: Option<u64>| strings[index.unwrap() as usize].as_str();
    let mut labels = HashSet::new();
    for label in profile
        .messages(2)
        .iter()
        .flat_map(|sample| sample.messages(3))
    {
        labels.insert((
            text(label.number(1)).to_owned(),
            text(label.number(2)).to_owned(),
        ));
    }
    for (key, value) in [
        ("phase", "prefill"),
        ("phase", "decode"),
        ("layer", "0"),
        ("layer", "5"),
    ] {
        assert!(
            labels.contains(&(key.into(), value.into())),
            "{key}={value}: {labels:?}"
        );
    }
}

#[test]
fn hostile_names_leave_the_profile_valid() {
    let (analysis, trace) = hostile::profile();
    check_valid(&decode(&pprof::render(&analysis, &trace)));
}

#[test]
fn go_opens_it() {
    if Command::new("go").arg("version").output().is_err() {
        eprintln!("skipped: go is not installed (Debian package golang-go)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profile.pb.gz");
    let top = |analysis: &_, trace: &_| {
        fs::write(&file, pprof::render(analysis, trace)).unwrap();
        let command = Command::new("go")
            .args(["tool", "pprof", "-top", "-unit=ns"])
            .arg(&file)
            .output();
        let output = command.unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let analysis = fixture::analysis();
    let text = top(&analysis, &fixture::trace());
    let load = analysis
        .call_tree
        .nodes
        .iter()
        .find(|node| node.name == "load")
        .unwrap();
    let line = text
        .lines()
        .find(|line| line.trim_end().ends_with(" load"))
        .expect("load is listed");
    assert!(
        line.trim_start()
            .starts_with(&format!("{}ns", load.self_ns)),
        "{line}"
    );
    let (analysis, trace) = hostile::profile();
    top(&analysis, &trace);
}
