//! What `--help` says, whole: a flag that appears, disappears or changes its default is seen here.

use crate::carnot;

fn help(arguments: &[&str]) -> String {
    carnot(&[arguments, &["--help"]].concat()).success()
}

#[test]
fn carnot_itself() {
    insta::assert_snapshot!(help(&[]));
}

#[test]
fn run() {
    insta::assert_snapshot!(help(&["run"]));
}

#[test]
fn serve() {
    insta::assert_snapshot!(help(&["serve"]));
}

#[test]
fn profile() {
    insta::assert_snapshot!(help(&["profile"]));
    insta::assert_snapshot!(help(&["profile", "report"]));
    insta::assert_snapshot!(help(&["profile", "open"]));
    insta::assert_snapshot!(help(&["profile", "merge"]));
    insta::assert_snapshot!(help(&["profile", "versus"]));
}

#[test]
fn machine() {
    insta::assert_snapshot!(help(&["machine"]));
}

#[test]
fn perplexity() {
    insta::assert_snapshot!(help(&["perplexity"]));
}

#[test]
fn synth() {
    insta::assert_snapshot!(help(&["synth"]));
}

#[test]
fn bench() {
    insta::assert_snapshot!(help(&["bench"]));
    insta::assert_snapshot!(help(&["bench", "serve"]));
    insta::assert_snapshot!(help(&["bench", "inference"]));
    insta::assert_snapshot!(help(&["bench", "concurrent"]));
    insta::assert_snapshot!(help(&["bench", "cache"]));
    insta::assert_snapshot!(help(&["bench", "memory"]));
    insta::assert_snapshot!(help(&["bench", "all"]));
    insta::assert_snapshot!(help(&["baseline"]));
}

#[test]
fn bench_stress() {
    insta::assert_snapshot!(help(&["bench", "stress"]));
}

#[test]
fn bench_memory_profile() {
    insta::assert_snapshot!(help(&["bench", "memory-profile"]));
}

#[test]
fn monitor() {
    insta::assert_snapshot!(help(&["monitor"]));
}

#[test]
fn metrics() {
    insta::assert_snapshot!(help(&["metrics", "export"]));
    insta::assert_snapshot!(help(&["metrics", "snapshot"]));
}

#[test]
fn compare() {
    insta::assert_snapshot!(help(&["compare"]));
}

#[test]
fn history() {
    insta::assert_snapshot!(help(&["history"]));
    insta::assert_snapshot!(help(&["history", "show"]));
}

#[test]
fn the_version_is_a_line() {
    let expected = concat!("carnot ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(carnot(&["--version"]).success(), expected);
}

#[test]
fn no_command_is_wrong_usage() {
    carnot(&[]).failure(2, &["Usage: carnot <COMMAND>"]);
    carnot(&["dance"]).failure(2, &["dance", "--help"]);
    carnot(&["run", "--no-such-flag"]).failure(2, &["--no-such-flag"]);
}
