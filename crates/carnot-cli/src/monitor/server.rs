//! A Carnot server, by the metrics that it tells: what it has at the moment, and what it did since it was asked before.

use std::time::{Duration, Instant};

use carnot_bench::Fetcher;
use carnot_bench::exposition::{Buckets, Exposition, Quantile};
use carnot_bench::load::Target;

/// How long a page of metrics may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where it is.
pub const METRICS: &str = "/metrics";

/// Asks a server again and again.
pub struct ServerWatch {
    url: String,
    fetcher: Fetcher,
    before: Option<(Instant, Exposition)>,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSample {
    /// Who was asked.
    pub url: String,
    /// What it told; or why it did not, in a line.
    pub told: Result<Server, String>,
}

/// A server over an interval. Rates and quantiles need two answers; `None` until there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Server {
    /// Requests that have a place, at the end.
    pub running: Option<f64>,
    /// Requests that wait for one, at the end.
    pub waiting: Option<f64>,
    /// Requests that ended, a second.
    pub requests_per_s: Option<f64>,
    /// Tokens that were generated, a second.
    pub tokens_per_s: Option<f64>,
    /// Tokens of prompts that were taken, a second, kept ones included.
    pub prompt_tokens_per_s: Option<f64>,
    /// Of the blocks of keys and values, the part that running sequences hold.
    pub kv_used: Option<f64>,
    /// The part that is kept for prompts to come.
    pub kv_cached: Option<f64>,
    /// Blocks in all.
    pub kv_blocks: Option<f64>,
    /// Of the tokens of prompts, the part that was kept; `None` while no prompt ended.
    pub prefix_hits: Option<f64>,
    /// From submission to the first token, in seconds.
    pub first_token: Latency,
    /// Between two tokens of a request, in seconds.
    pub inter_token: Latency,
    /// The floor of the steps' work over their time, where it is measured.
    pub efficiency: Option<f64>,
    /// What the rest went into, as shares of the same, the largest first.
    pub losses: Vec<(String, f64)>,
}

/// Quantiles of what was counted in an interval; `None` where nothing was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// The median.
    pub p50: Option<Quantile>,
    /// 99 in a hundred are shorter.
    pub p99: Option<Quantile>,
}

impl ServerWatch {
    /// Asks `target` once already, so that the next answer has one to be compared with.
    pub fn new(target: Target) -> anyhow::Result<Self> {
        let url = target.to_string();
        let fetcher = Fetcher::new(target, PATIENCE)?;
        let mut watch = Self {
            url,
            fetcher,
            before: None,
        };
        watch.sample();
        Ok(watch)
    }

    /// What the server did since it last answered.
    pub fn sample(&mut self) -> ServerSample {
        let told = exposition(&self.fetcher).map(|now| {
            let at = Instant::now();
            let before = self.before.as_ref();
            let server = Server::of(
                &now,
                before.map(|(then, exposition)| (exposition, (at - *then).as_secs_f64())),
            );
            self.before = Some((at, now));
            server
        });
        let url = self.url.clone();
        ServerSample { url, told }
    }
}

/// All metrics of a server that are Carnot's.
pub fn exposition(fetcher: &Fetcher) -> Result<Exposition, String> {
    let text = fetcher.text(METRICS).map_err(|error| error.to_string())?;
    let read =
        Exposition::parse(&text).map_err(|error| format!("the metrics cannot be read: {error}"))?;
    let is_ours = read.family("carnot_requests_running").is_some();
    is_ours
        .then_some(read)
        .ok_or_else(|| "expected metrics named carnot_*, as Carnot's server has, got none".into())
}

impl Server {
    /// Of what is told `now`, and what was told so many seconds `before`.
    pub fn of(now: &Exposition, before: Option<(&Exposition, f64)>) -> Self {
        let of_tokens = |name: &str, source: Option<&str>| {
            let (before, seconds) = before.filter(|(_, seconds)| *seconds > 0.0)?;
            let wanted = |of: &Exposition| {
                of.sum_where(name, |sample| {
                    source.is_none_or(|source| sample.label("source") == Some(source))
                })
            };
            let increase = increase(wanted(now)?, wanted(before).unwrap_or(0.0));
            Some((increase, increase / seconds))
        };
        let rate = |name: &str| Some(of_tokens(name, None)?.1);
        // What was computed again is told beside these; it is no part of a prompt.
        let prompts = ["computed", "cached"].map(|source| {
            of_tokens("carnot_prompt_tokens_total", Some(source)).unwrap_or((0.0, 0.0))
        });
        let [computed, cached] = prompts.map(|(tokens, _)| tokens);
        let latency = |name: &str| {
            let since = before.and_then(|(before, _)| {
                let earlier = before.buckets(name).unwrap_or_default();
                Some(now.buckets(name)?.since(&earlier))
            });
            Latency::of(&since.unwrap_or_default())
        };
        let blocks = now.by("carnot_kv_blocks", "state");
        let all: f64 = blocks.iter().map(|(_, count)| count).sum();
        let part = |state: &str| {
            let (_, count) = blocks.iter().find(|(of, _)| of == state)?;
            (all > 0.0).then(|| count / all)
        };
        let mut losses = now.by("carnot_loss_ratio", "loss");
        losses.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        Self {
            running: now.sum("carnot_requests_running"),
            waiting: now.sum("carnot_requests_waiting"),
            requests_per_s: rate("carnot_requests_total"),
            tokens_per_s: rate("carnot_generated_tokens_total"),
            prompt_tokens_per_s: before.map(|_| prompts[0].1 + prompts[1].1),
            kv_used: part("used"),
            kv_cached: part("cached"),
            kv_blocks: (all > 0.0).then_some(all),
            prefix_hits: (computed + cached > 0.0).then(|| cached / (computed + cached)),
            first_token: latency("carnot_time_to_first_token_seconds"),
            inter_token: latency("carnot_inter_token_latency_seconds"),
            efficiency: now.sum("carnot_efficiency_ratio"),
            losses,
        }
    }
}

impl Latency {
    fn of(buckets: &Buckets) -> Self {
        Self {
            p50: buckets.quantile(0.5),
            p99: buckets.quantile(0.99),
        }
    }
}

/// How far a counter rose; all of it where it is lower than before, since the server was started anew.
fn increase(now: f64, before: f64) -> f64 {
    if now < before { now } else { now - before }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(tokens: u64, cached: u64, slow: u64) -> Exposition {
        let text = format!(
            "# TYPE carnot_requests_running gauge
carnot_requests_running{{model=\"a\"}} 3
carnot_requests_running{{model=\"b\"}} 1
# TYPE carnot_generated_tokens_total counter
carnot_generated_tokens_total{{model=\"a\"}} {tokens}
# TYPE carnot_prompt_tokens_total counter
carnot_prompt_tokens_total{{model=\"a\",source=\"computed\"}} 100
carnot_prompt_tokens_total{{model=\"a\",source=\"cached\"}} {cached}
carnot_prompt_tokens_total{{model=\"a\",source=\"recomputed\"}} {tokens}
# TYPE carnot_kv_blocks gauge
carnot_kv_blocks{{model=\"a\",state=\"used\"}} 25
carnot_kv_blocks{{model=\"a\",state=\"cached\"}} 50
carnot_kv_blocks{{model=\"a\",state=\"free\"}} 25
# TYPE carnot_loss_ratio gauge
carnot_loss_ratio{{model=\"a\",loss=\"wait\"}} 0.1
carnot_loss_ratio{{model=\"a\",loss=\"kernel/matmul\"}} 0.3
# TYPE carnot_time_to_first_token_seconds histogram
carnot_time_to_first_token_seconds_bucket{{model=\"a\",le=\"0.1\"}} 1000
carnot_time_to_first_token_seconds_bucket{{model=\"a\",le=\"0.5\"}} {}
carnot_time_to_first_token_seconds_bucket{{model=\"a\",le=\"+Inf\"}} {}
",
            1000 + slow,
            1000 + slow
        );
        Exposition::parse(&text).unwrap()
    }

    #[test]
    fn rates_and_quantiles_are_of_the_interval_alone() {
        let (before, now) = (page(1000, 50, 0), page(1600, 80, 10));
        let server = Server::of(&now, Some((&before, 2.0)));
        assert_eq!(server.running, Some(4.0), "of both models");
        assert_eq!(server.waiting, None, "nobody says");
        assert_eq!(server.tokens_per_s, Some(300.0));
        assert_eq!(server.prompt_tokens_per_s, Some(15.0));
        assert_eq!(server.prefix_hits, Some(1.0), "30 tokens, all kept");
        assert_eq!((server.kv_used, server.kv_cached), (Some(0.25), Some(0.5)));
        let median = server.first_token.p50.and_then(Quantile::value).unwrap();
        assert!(median > 0.1, "{median}: the thousand before do not count");
        assert_eq!(server.losses[0].0, "kernel/matmul");
        assert_eq!(server.inter_token, Latency::default());
    }

    #[test]
    fn without_an_answer_before_there_are_no_rates() {
        let server = Server::of(&page(1000, 50, 0), None);
        assert_eq!((server.tokens_per_s, server.prefix_hits), (None, None));
        assert_eq!(server.prompt_tokens_per_s, None);
        assert_eq!(server.first_token, Latency::default());
        assert_eq!(server.running, Some(4.0));
    }

    #[test]
    fn a_server_that_was_started_anew_begins_at_0() {
        let server = Server::of(&page(10, 0, 0), Some((&page(1000, 50, 0), 2.0)));
        assert_eq!(server.tokens_per_s, Some(5.0));
    }
}
