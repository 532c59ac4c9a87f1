//! `carnot run`: text on standard output, one line of timing on standard error.

use std::io::Read;
use std::process::Stdio;

use crate::{carnot, carnot_reading, command, models, text};

const PROMPT: &str = "def read_lines(path):\n";

#[test]
fn the_text_goes_to_standard_output_and_the_timing_to_standard_error() {
    let outcome = carnot(&["run", "-p", PROMPT, "-n", "12", "--threads", "1"]);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    for part in [
        "prefill ",
        " decode 11 tokens",
        "tok/s",
        "length",
        "1 thread",
    ] {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
    let text = outcome.success();
    assert!(
        text.len() > 1 && text.ends_with('\n') && !text.contains("tok/s"),
        "{text}"
    );
}

#[test]
fn every_way_to_name_the_model_and_the_prompt_gives_the_same_text() {
    let expected = carnot(&["run", "-p", PROMPT, "-n", "16"]).success();
    let gguf = models().join("embedded-q8_0.gguf");
    let named = carnot(&["run", text(&gguf), "-p", PROMPT, "-n", "16"]);
    assert_eq!(named.success(), expected);
    for arguments in [&["run", "-n", "16"][..], &["run", "-n", "16", "-p", "-"]] {
        let read = carnot_reading(arguments, PROMPT.as_bytes());
        assert_eq!(read.success(), expected, "{arguments:?}");
    }
    let chunks = carnot(&[
        "run",
        "-p",
        PROMPT,
        "-n",
        "16",
        "--instruction-set",
        "scalar",
    ]);
    assert_eq!(chunks.success(), expected);
}

#[test]
fn a_directory_of_safetensors_runs() {
    let model = models().join("embedded");
    let text = carnot(&["run", text(&model), "-p", PROMPT, "-n", "8"]).success();
    assert!(text.len() > 1, "{text}");
}

#[test]
fn a_chat_is_its_template_rendered() {
    let chat = carnot(&["run", "--chat", "hello", "-n", "12"]).success();
    let prompt = "# user: hello\n# assistant: ";
    assert_eq!(chat, carnot(&["run", "-p", prompt, "-n", "12"]).success());
    let other = carnot(&["run", "--chat", "hello", "--system", "be brief", "-n", "12"]).success();
    assert_ne!(chat, other, "the system message is part of the prompt");
}

#[test]
fn a_seed_is_a_text() {
    let of = |seed| {
        let sampling = ["--temperature", "1", "--top-p", "0.9", "--seed", seed];
        carnot(&[&["run", "-p", PROMPT, "-n", "16"][..], &sampling].concat()).success()
    };
    assert_eq!(of("3"), of("3"));
    assert_ne!(of("3"), of("4"));
}

#[test]
fn a_stop_text_ends_the_output() {
    let whole = carnot(&["run", "-p", PROMPT, "-n", "24"]).success();
    let stop = &whole[whole.len() / 2..whole.len() / 2 + 4];
    let outcome = carnot(&["run", "-p", PROMPT, "-n", "24", "--stop", stop]);
    assert!(outcome.stderr.contains(" stop "), "{}", outcome.stderr);
    let expected = &whole[..whole.find(stop).unwrap()];
    assert_eq!(outcome.success(), format!("{expected}\n"));
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = command(&["run", "-p", PROMPT, "-n", "900", "--ignore-eos"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut begin = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut begin).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    assert_eq!(stderr, "", "it ends quietly");
}

#[test]
fn wrong_usage_is_said_before_anything_runs() {
    carnot(&["run", "-p", "x", "--chat", "y"]).failure(2, &["--prompt", "--chat"]);
    carnot(&["run", "-p", "x", "--system", "y"]).failure(2, &["--prompt", "--system"]);
    carnot(&["run", "--system", "y"]).failure(2, &["--chat"]);
    carnot(&["run", "-p", "x", "--threads", "0"]).failure(2, &["--threads", "1..=1024"]);
    carnot(&["run", "-p", "x", "--context", "0"]).failure(2, &["--context", "from 1"]);
    carnot(&["run", "-p", "x", "--tokens", "many"]).failure(2, &["--tokens", "many"]);
    carnot(&["run", "-p", "x", "--instruction-set", "neon"]).failure(2, &["neon", "avx2"]);
    carnot(&["run", "-p", "x", "--top-p", "2"]).failure(2, &["top_p", "above 0, at most 1", "2"]);
    carnot(&["run", "-p", "x", "--temperature", "-1"]).failure(2, &["temperature", "-1"]);
}
