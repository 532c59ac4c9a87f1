//! What a server says of itself while a load is on it, on the load's axis of time: its page of metrics, scraped by a thread of its own.
//!
//! Gauges are kept as they are, counters as their rates between two scrapes; histograms and summaries are left out. A scrape that fails is counted, and
//! is no failure of the load.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Target;
use crate::Fetcher;
use crate::exposition::{Exposition, Family, Kind};

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lines that are kept.
const MOST_LINES: usize = 24;
/// What is kept even where it did not change: the names of Carnot and vLLM.
const KNOWN: [&str; 8] = [
    "carnot_requests_running",
    "carnot_requests_waiting",
    "carnot_kv_used_ratio",
    "carnot_kv_blocks",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",
];
/// What every server that batches has, under the names of Carnot, vLLM, `SGLang` and llama.cpp.
const ROLES: [(Role, &[&str]); 3] = [
    (
        Role::Running,
        &[
            "carnot_requests_running",
            "vllm:num_requests_running",
            "sglang:num_running_reqs",
            "llamacpp:requests_processing",
        ],
    ),
    (
        Role::Waiting,
        &[
            "carnot_requests_waiting",
            "vllm:num_requests_waiting",
            "sglang:num_queue_reqs",
            "llamacpp:requests_deferred",
        ],
    ),
    (
        Role::CacheUsed,
        &[
            "carnot_kv_used_ratio",
            "vllm:kv_cache_usage_perc",
            "vllm:gpu_cache_usage_perc",
            "sglang:token_usage",
            "llamacpp:kv_cache_usage_ratio",
        ],
    ),
];

/// A page of metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsPage {
    target: Target,
    path: &'static str,
}

impl MetricsPage {
    /// `/metrics` of a server, opened by its key.
    pub fn of(server: &Target) -> Self {
        Self {
            target: server.clone(),
            path: "/metrics",
        }
    }

    /// Reads `http://HOST:PORT/PATH`; `/metrics` where there is no path.
    ///
    /// # Errors
    /// What was expected, if it is something else.
    pub fn parse(url: &str) -> Result<Self, String> {
        let target = Target::parse(url)?;
        let has_path = !target.base().is_empty();
        let path = if has_path { "" } else { "/metrics" };
        Ok(Self { target, path })
    }
}

/// Scrapes a page until it is ended.
pub struct MetricsWatch {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Scrapes>,
}

impl MetricsWatch {
    /// Scrapes at once, and then every so often.
    ///
    /// # Errors
    /// If the system has nothing to wait for connections with.
    pub fn start(page: &MetricsPage, every: Duration) -> io::Result<Self> {
        let fetcher = Fetcher::new(page.target.clone(), PATIENCE)?;
        let (stop, stopped) = mpsc::channel();
        let path = page.path;
        let thread = thread::spawn(move || scrape(&fetcher, path, every, &stopped));
        Ok(Self { stop, thread })
    }

    /// Scrapes once more, and tells what there was since the load began.
    pub fn end(self, begin: Instant) -> ServerMetrics {
        drop(self.stop);
        let scrapes = self.thread.join();
        let scrapes = scrapes.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        scrapes.since(begin)
    }
}

fn scrape(fetcher: &Fetcher, path: &str, every: Duration, stop: &Receiver<()>) -> Scrapes {
    let mut scrapes = Scrapes::default();
    let mut next = Instant::now();
    loop {
        scrapes.once(fetcher, path);
        next = (next + every).max(Instant::now());
        match stop.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => (),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    scrapes.once(fetcher, path);
    scrapes
}

/// What a server said of itself during a load. Times are seconds since the load began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerMetrics {
    /// What changed, and what is well known, the latter first.
    pub lines: Vec<MetricLine>,
    /// How many more changed.
    pub left_out: usize,
    /// Over all labels, by what they tell.
    pub roles: Vec<(Role, Vec<[f64; 2]>)>,
    /// Scrapes, those that failed among them.
    pub scrapes: usize,
    /// Those that failed.
    pub failed: usize,
    /// Why the first of them did.
    pub failure: Option<String>,
}

/// A gauge, or the rate of a counter, over time.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricLine {
    /// The name of the metric.
    pub metric: String,
    /// The labels that tell it from others of the name, as `name=value`; nothing where it is alone.
    pub labels: String,
    /// Whether it is a counter, whose rises a second these are, each at the end of its interval.
    pub is_rate: bool,
    /// Seconds since the load began, and the value.
    pub points: Vec<[f64; 2]>,
}

/// What every server that batches tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Requests that have a place.
    Running,
    /// Requests that wait for one.
    Waiting,
    /// Share of the room for keys and values that is used.
    CacheUsed,
}

/// Everything that was read.
#[derive(Default)]
struct Scrapes {
    series: Vec<Recorded>,
    /// Where each is, by its name and labels.
    places: HashMap<String, usize>,
    /// When the last one was that did not fail.
    last: Option<Instant>,
    asked: usize,
    failed: usize,
    failure: Option<String>,
}

/// A sample over time.
struct Recorded {
    metric: String,
    is_counter: bool,
    labels: Vec<(String, String)>,
    values: Vec<(Instant, f64)>,
}

impl Scrapes {
    fn once(&mut self, fetcher: &Fetcher, path: &str) {
        let asked = Instant::now();
        let told = fetcher.text(path).map_err(|error| error.to_string());
        // Nobody knows when between the two the server looked.
        let at = asked + asked.elapsed() / 2;
        let read = told.and_then(|text| {
            let read = Exposition::parse(&text);
            read.map_err(|error| format!("{}: {error}", fetcher.url(path)))
        });
        self.asked += 1;
        match read {
            Ok(exposition) => self.add(at, exposition),
            Err(failure) => {
                self.failed += 1;
                self.failure.get_or_insert(failure);
            }
        }
    }

    fn add(&mut self, at: Instant, exposition: Exposition) {
        for family in exposition.families {
            let Some(is_counter) = is_counter(&family) else {
                continue;
            };
            let is_told = |value: f64| value.is_finite();
            for sample in family.samples.into_iter().filter(|of| is_told(of.value)) {
                let key = format!("{} {:?}", family.name, sample.labels);
                let place = *self.places.entry(key).or_insert(self.series.len());
                if place == self.series.len() {
                    // A counter of which nothing was told had counted nothing.
                    let before = self.last.filter(|_| is_counter).map(|at| (at, 0.0));
                    self.series.push(Recorded {
                        metric: family.name.clone(),
                        is_counter,
                        labels: sample.labels,
                        values: before.into_iter().collect(),
                    });
                }
                self.series[place].values.push((at, sample.value));
            }
        }
        self.last = Some(at);
    }

    fn since(self, begin: Instant) -> ServerMetrics {
        let rank = |metric: &str| KNOWN.iter().position(|known| *known == metric);
        let mut lines: Vec<MetricLine> = Vec::new();
        for series in &self.series {
            let points = series.points(begin);
            let is_changing = series.is_changing(&points);
            if !points.is_empty() && (is_changing || rank(&series.metric).is_some()) {
                lines.push(MetricLine {
                    metric: series.metric.clone(),
                    labels: self.labels_of(series),
                    is_rate: series.is_counter,
                    points,
                });
            }
        }
        lines.sort_by_key(|line| rank(&line.metric).unwrap_or(KNOWN.len()));
        let left_out = lines.len().saturating_sub(MOST_LINES);
        lines.truncate(MOST_LINES);
        ServerMetrics {
            lines,
            left_out,
            roles: self.roles(begin),
            scrapes: self.asked,
            failed: self.failed,
            failure: self.failure,
        }
    }

    /// Those labels that are not the same in all samples of the name.
    fn labels_of(&self, series: &Recorded) -> String {
        let others = || self.series.iter().filter(|of| of.metric == series.metric);
        let tells = |label: &&(String, String)| others().any(|other| !other.labels.contains(label));
        let telling = series.labels.iter().filter(tells);
        let written = telling.map(|(name, value)| format!("{name}={value}"));
        written.collect::<Vec<String>>().join(" ")
    }

    /// Numbers of requests are summed over all labels; of shares it is the mean.
    fn roles(&self, begin: Instant) -> Vec<(Role, Vec<[f64; 2]>)> {
        let of = |(role, names): (Role, &[&str])| {
            let has = |name: &&&str| self.series.iter().any(|of| of.metric == **name);
            let name = names.iter().find(has)?;
            let mut at: BTreeMap<Instant, Vec<f64>> = BTreeMap::new();
            let series = self.series.iter().filter(|of| of.metric == *name);
            for (when, value) in series.flat_map(|series| &series.values) {
                at.entry(*when).or_default().push(*value);
            }
            let points = at.into_iter().filter_map(|(when, values)| {
                let sum: f64 = values.iter().sum();
                let all = match role {
                    Role::CacheUsed => sum / values.len() as f64,
                    Role::Running | Role::Waiting => sum,
                };
                Some([seconds_since(begin, when)?, all])
            });
            Some((role, points.collect()))
        };
        ROLES.into_iter().filter_map(of).collect()
    }
}

/// Whether it only rises; nothing of what is more than numbers.
fn is_counter(family: &Family) -> Option<bool> {
    match family.kind {
        Kind::Counter => Some(true),
        Kind::Gauge => Some(false),
        Kind::Untyped => Some(family.name.ends_with("_total")),
        Kind::Histogram | Kind::Summary => None,
    }
}

/// Nothing before the load.
fn seconds_since(begin: Instant, at: Instant) -> Option<f64> {
    let since = at.checked_duration_since(begin)?;
    Some(since.as_secs_f64())
}

impl Recorded {
    fn points(&self, begin: Instant) -> Vec<[f64; 2]> {
        if !self.is_counter {
            let gauge = |&(at, value): &(Instant, f64)| Some([seconds_since(begin, at)?, value]);
            return self.values.iter().filter_map(gauge).collect();
        }
        let pairs = self.values.windows(2).filter_map(|pair| {
            let [(then, before), (now, value)] = [pair[0], pair[1]];
            let seconds = (now - then).as_secs_f64();
            // A counter that fell was begun anew.
            let rise = if value < before {
                value
            } else {
                value - before
            };
            Some([seconds_since(begin, now)?, rise / seconds.max(1e-9)])
        });
        pairs.collect()
    }

    fn is_changing(&self, points: &[[f64; 2]]) -> bool {
        let usual = if self.is_counter {
            0.0
        } else {
            points.first().map_or(0.0, |point| point[1])
        };
        points.iter().any(|point| point[1] != usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(waiting: u32, tokens: u32) -> Exposition {
        let text = format!(
            "# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{model=\"a\",engine=\"0\"}} {waiting}
vllm:num_requests_waiting{{model=\"a\",engine=\"1\"}} 2
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{{engine=\"0\"}} 0.5
vllm:kv_cache_usage_perc{{engine=\"1\"}} 0.25
# TYPE tokens counter
tokens_total {tokens}
# TYPE never counter
never_total 7
# TYPE temperature gauge
temperature NaN
# TYPE wait histogram
wait_bucket{{le=\"+Inf\"}} {tokens}
wait_sum {tokens}
wait_count {tokens}
"
        );
        Exposition::parse(&text).unwrap()
    }

    fn scraped(pages: Vec<(u64, Exposition)>) -> ServerMetrics {
        let mut scrapes = Scrapes::default();
        let start = Instant::now();
        for (at, page) in pages {
            scrapes.add(start + Duration::from_secs(at), page);
        }
        scrapes.since(start + Duration::from_secs(10))
    }

    #[test]
    fn what_changed_and_what_is_known_is_kept_since_the_load_began() {
        let pages = vec![(9, page(0, 100)), (11, page(3, 140)), (13, page(1, 20))];
        let told = scraped(pages);
        let lines: Vec<(&str, &str, bool, &[[f64; 2]])> = told
            .lines
            .iter()
            .map(|of| (&*of.metric, &*of.labels, of.is_rate, &*of.points))
            .collect();
        let expected: [(&str, &str, bool, &[[f64; 2]]); 5] = [
            (
                "vllm:num_requests_waiting",
                "engine=0",
                false,
                &[[1.0, 3.0], [3.0, 1.0]],
            ),
            (
                "vllm:num_requests_waiting",
                "engine=1",
                false,
                &[[1.0, 2.0], [3.0, 2.0]],
            ),
            (
                "vllm:kv_cache_usage_perc",
                "engine=0",
                false,
                &[[1.0, 0.5], [3.0, 0.5]],
            ),
            (
                "vllm:kv_cache_usage_perc",
                "engine=1",
                false,
                &[[1.0, 0.25], [3.0, 0.25]],
            ),
            // 40 in two seconds; then it was begun anew, and had 20 in two.
            ("tokens_total", "", true, &[[1.0, 20.0], [3.0, 10.0]]),
        ];
        assert_eq!(lines, expected);
        let roles = [
            (Role::Waiting, vec![[1.0, 5.0], [3.0, 3.0]]),
            (Role::CacheUsed, vec![[1.0, 0.375], [3.0, 0.375]]),
        ];
        assert_eq!(told.roles, roles);
    }

    #[test]
    fn a_counter_that_appears_had_counted_nothing() {
        let page = |text| Exposition::parse(text).unwrap();
        let told = scraped(vec![(10, page("a 1\n")), (12, page("a 1\nb_total 6\n"))]);
        let [line] = &told.lines[..] else {
            panic!("expected one line, got {told:?}");
        };
        assert_eq!(line.points, [[2.0, 3.0]]);
    }

    #[test]
    fn more_than_is_kept_is_counted() {
        let page = |value: usize| {
            let metrics = (0..30).map(|index| format!("m{index} {}\n", value + index));
            Exposition::parse(&metrics.collect::<String>()).unwrap()
        };
        let told = scraped(vec![(10, page(0)), (11, page(1))]);
        assert_eq!((told.lines.len(), told.left_out), (MOST_LINES, 6));
        assert_eq!(scraped(vec![(10, page(0)), (11, page(0))]).lines, []);
    }

    #[test]
    fn a_page_is_that_of_the_server_or_another() {
        let told = |page: MetricsPage| format!("{}{}", page.target, page.path);
        let of = |url| MetricsPage::parse(url).map(told);
        assert_eq!(of("http://a:1/v1"), Ok("http://a:1/metrics".to_owned()));
        assert_eq!(of("http://a:1/x"), Ok("http://a:1/x".to_owned()));
        let server = Target::parse("http://a:1/base/v1").unwrap();
        assert_eq!(told(MetricsPage::of(&server)), "http://a:1/base/metrics");
        assert!(of("a:1").is_err());
    }
}
