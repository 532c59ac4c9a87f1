//! What other tools say of the same streams, to the last digit: expectations from `tools/fixtures/load_views.py`.

use carnot_bench::load::{View, read_raw, view};

const STREAMS: &str = include_str!("../fixtures/views/streams.jsonl");
const EXPECTED: &str = include_str!("../fixtures/views/expected.json");

#[test]
fn the_figures_of_other_tools_are_theirs_to_the_last_digit() {
    let requests = read_raw(STREAMS.as_bytes()).unwrap();
    let expected: serde_json::Value = serde_json::from_str(EXPECTED).unwrap();
    let tools = [
        ("vllm", View::Vllm),
        ("aiperf", View::AiPerf),
        ("guidellm", View::GuideLlm),
        ("llmperf", View::LlmPerf),
    ];
    for (tool, whose) in tools {
        let told = view(&requests, whose);
        let known = expected[tool].as_object().unwrap();
        let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, known.keys().collect::<Vec<_>>(), "{tool}");
        for (name, value) in told {
            let known = known[&name].as_f64().unwrap();
            assert_eq!(
                value.to_bits(),
                known.to_bits(),
                "{tool} {name}: {value}, {known} there"
            );
        }
    }
}
