//! The figures of other tools out of the same times, by their own definitions, whose names do not agree:
//!
//! | | start of the clock | `TTFT` | `ITL` | `TPOT` | quantiles |
//! |---|---|---|---|---|---|
//! | vLLM `bench serve` | sending | first piece | gaps between pieces, of all requests | (E2E − TTFT) / (tokens − 1) | numpy, linear |
//! | `AIPerf` | sending | first piece | (E2E − TTFT) / (tokens − 1), E2E to the last piece | – | numpy, linear |
//! | `GuideLLM` | sending | first piece | (last − first) / (tokens − 1) | (last − sending) / tokens | least value whose share is reached |
//! | `LLMPerf` | sending | first piece | sum of gaps, the first from sending, / tokens | – | pandas, linear |
//!
//! None of them counts from when a request was due. Failed requests are left out, as there.

use super::Raw;
use super::numpy::{deviation, mean, percentile, sum};

/// Whose figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// vLLM's `bench serve`.
    Vllm,
    /// NVIDIA's.
    AiPerf,
    /// The vLLM project's.
    GuideLlm,
    /// Anyscale's.
    LlmPerf,
}

/// The figures by their names there, in their order there. Milliseconds where the name ends in `_ms`.
pub fn view(requests: &[Raw], whose: View) -> Vec<(String, f64)> {
    let answered: Vec<&Raw> = requests
        .iter()
        .filter(|request| request.failure.is_none() && !request.pieces_ns.is_empty())
        .collect();
    match whose {
        View::Vllm => vllm(&answered),
        View::AiPerf => aiperf(&answered),
        View::GuideLlm => guidellm(&answered),
        View::LlmPerf => llmperf(&answered),
    }
}

fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e9
}

fn first(request: &Raw) -> f64 {
    seconds(request.sent_ns, request.pieces_ns[0])
}

fn last_ns(request: &Raw) -> u64 {
    *request.pieces_ns.last().unwrap_or(&request.sent_ns)
}

fn gaps(request: &Raw) -> impl Iterator<Item = f64> + '_ {
    let pairs = request.pieces_ns.windows(2);
    pairs.map(|pair| seconds(pair[0], pair[1]))
}

/// From the first sending to the last end.
fn duration(requests: &[&Raw]) -> f64 {
    let begin = requests.iter().map(|request| request.sent_ns).min();
    let end = requests.iter().map(|request| request.ended_ns).max();
    seconds(begin.unwrap_or(0), end.unwrap_or(0))
}

fn totals(requests: &[&Raw]) -> [f64; 2] {
    let of = |tokens: fn(&Raw) -> u64| requests.iter().map(|request| tokens(request)).sum::<u64>();
    [
        of(|request| request.prompt_tokens),
        of(|request| request.tokens),
    ]
    .map(|count| count as f64)
}

fn vllm(requests: &[&Raw]) -> Vec<(String, f64)> {
    let duration = duration(requests);
    let [input, output] = totals(requests);
    let whole = |request: &Raw| seconds(request.sent_ns, request.ended_ns);
    let each = requests.iter().filter(|request| request.tokens > 1);
    let each = each.map(|request| (whole(request) - first(request)) / (request.tokens - 1) as f64);
    let latencies: [(&str, Vec<f64>); 4] = [
        (
            "ttft",
            requests.iter().map(|request| first(request)).collect(),
        ),
        ("tpot", each.collect()),
        (
            "itl",
            requests.iter().flat_map(|request| gaps(request)).collect(),
        ),
        (
            "e2el",
            requests.iter().map(|request| whole(request)).collect(),
        ),
    ];
    let mut told = vec![
        ("completed".to_owned(), requests.len() as f64),
        ("duration".to_owned(), duration),
        ("total_input_tokens".to_owned(), input),
        ("total_output_tokens".to_owned(), output),
        (
            "request_throughput".to_owned(),
            requests.len() as f64 / duration,
        ),
        ("output_throughput".to_owned(), output / duration),
        (
            "total_token_throughput".to_owned(),
            (input + output) / duration,
        ),
    ];
    for (name, values) in latencies {
        let figures = [
            ("mean", mean(&values)),
            ("median", percentile_half(&values)),
            ("std", deviation(&values, 0)),
            ("p99", percentile(&values, 99.0)),
        ];
        told.extend(figures.map(|(figure, value)| (format!("{figure}_{name}_ms"), value * 1000.0)));
    }
    told
}

/// `numpy.median`: the mean of the two in the middle.
fn percentile_half(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    mean(&[sorted[last / 2], sorted[last - last / 2]])
}

fn aiperf(requests: &[&Raw]) -> Vec<(String, f64)> {
    // Its records are in nanoseconds, and so are its sums.
    let first = |request: &Raw| (request.pieces_ns[0] - request.sent_ns) as f64;
    let whole = |request: &Raw| (last_ns(request) - request.sent_ns) as f64;
    let between = requests.iter().filter(|request| request.tokens > 1);
    let between =
        between.map(|request| (whole(request) - first(request)) / (request.tokens - 1) as f64);
    let latencies: [(&str, Vec<f64>); 3] = [
        (
            "time_to_first_token",
            requests.iter().map(|request| first(request)).collect(),
        ),
        ("inter_token_latency", between.collect()),
        (
            "request_latency",
            requests.iter().map(|request| whole(request)).collect(),
        ),
    ];
    let begin = requests
        .iter()
        .map(|request| request.sent_ns)
        .min()
        .unwrap_or(0);
    let end = requests
        .iter()
        .map(|request| last_ns(request))
        .max()
        .unwrap_or(0);
    let duration = seconds(begin, end);
    let [_, output] = totals(requests);
    let mut told = Vec::new();
    for (name, values) in latencies {
        told.push((format!("{name}_avg_ms"), mean(&values) / 1e6));
        for percent in [1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0] {
            told.push((
                format!("{name}_p{percent}_ms"),
                percentile(&values, percent) / 1e6,
            ));
        }
        told.push((format!("{name}_std_ms"), deviation(&values, 0) / 1e6));
    }
    told.push((
        "request_throughput".to_owned(),
        requests.len() as f64 / duration,
    ));
    told.push(("output_token_throughput".to_owned(), output / duration));
    told
}

fn guidellm(requests: &[&Raw]) -> Vec<(String, f64)> {
    let many = || requests.iter().filter(|request| request.tokens > 1);
    let between = many().map(|request| {
        1000.0 * seconds(request.pieces_ns[0], last_ns(request)) / (request.tokens - 1) as f64
    });
    let each = requests.iter().map(|request| {
        1000.0 * seconds(request.sent_ns, last_ns(request)) / request.tokens.max(1) as f64
    });
    let latencies: [(&str, Vec<f64>); 4] = [
        (
            "time_to_first_token_ms",
            requests
                .iter()
                .map(|request| 1000.0 * first(request))
                .collect(),
        ),
        ("inter_token_latency_ms", between.collect()),
        ("time_per_output_token_ms", each.collect()),
        (
            "request_latency",
            requests
                .iter()
                .map(|request| seconds(request.sent_ns, request.ended_ns))
                .collect(),
        ),
    ];
    let mut told = Vec::new();
    for (name, values) in latencies {
        let of = Weighted::of(values);
        told.push((format!("{name}_mean"), of.mean()));
        for (label, share) in [("median", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)] {
            told.push((format!("{name}_{label}"), of.quantile(share)));
        }
    }
    told
}

/// Values that differ, with their shares.
struct Weighted {
    values: Vec<f64>,
    shares: Vec<f64>,
}

impl Weighted {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let total = values.len() as f64;
        let same = values.chunk_by(|a, b| a == b);
        let shares = same.map(|same| same.len() as f64 / total).collect();
        values.dedup();
        Self { values, shares }
    }

    fn mean(&self) -> f64 {
        let products = self
            .values
            .iter()
            .zip(&self.shares)
            .map(|(value, share)| value * share);
        sum(&products.collect::<Vec<f64>>())
    }

    /// The least value at which the shares, added up one after another, reach `share`.
    fn quantile(&self, share: f64) -> f64 {
        let mut reached = 0.0;
        let index = self.shares.iter().position(|of| {
            reached += of;
            reached >= share
        });
        let last = self.values.len().saturating_sub(1);
        self.values
            .get(index.unwrap_or(last))
            .copied()
            .unwrap_or(0.0)
    }
}

fn llmperf(requests: &[&Raw]) -> Vec<(String, f64)> {
    let whole = |request: &Raw| seconds(request.sent_ns, request.ended_ns);
    let between = requests.iter().map(|request| {
        let all = gaps(request).fold(first(request), |sum, gap| sum + gap);
        all / request.tokens.max(1) as f64
    });
    let rate = requests
        .iter()
        .map(|request| request.tokens as f64 / whole(request));
    let latencies: [(&str, Vec<f64>); 4] = [
        ("inter_token_latency_s", between.collect()),
        (
            "ttft_s",
            requests.iter().map(|request| first(request)).collect(),
        ),
        (
            "end_to_end_latency_s",
            requests.iter().map(|request| whole(request)).collect(),
        ),
        ("request_output_throughput_token_per_s", rate.collect()),
    ];
    let mut told = Vec::new();
    for (name, values) in latencies {
        for percent in [25.0, 50.0, 75.0, 90.0, 95.0, 99.0] {
            told.push((
                format!("{name}_quantiles_p{percent}"),
                percentile(&values, percent),
            ));
        }
        told.push((format!("{name}_mean"), mean(&values)));
    }
    told
}
