//! What the clients saw, as the record that comparisons and reports read.

use carnot_bench::load::{
    Arrivals, Ask, Raw, Search, each, first, gaps, lag, tensor_shapes, whole,
};
use carnot_record::{BenchRecord, Better, Metric, Series};

use super::{Level, has_objectives, results, server, text};
use crate::cli::ServeLoadArguments;
use crate::commands::bench::results::Beginning;

/// Of one level, its metrics; of several, those of each by its rate or clients, and the curves over them.
pub fn of(
    levels: &[Level],
    search: Option<&Search>,
    arguments: &ServeLoadArguments,
    beginning: &Beginning,
) -> BenchRecord {
    let mut record = beginning.record();
    record.url = Some(arguments.url.to_string());
    conditions(&mut record, levels, arguments);
    if let Some(held) = search.and_then(Search::held) {
        record.metrics.push(Metric::repeated(
            "highest_rate",
            "requests/s",
            Better::Higher,
            vec![held],
        ));
    }
    match levels {
        [level] => {
            record.metrics.extend(metrics(level, arguments, ""));
            record.summary = summary(level);
            record.series.extend(over_time(level));
            let lines = level.server.as_ref().map(server::series);
            record.series.extend(lines.unwrap_or_default());
        }
        levels => {
            for level in levels {
                let suffix = format!("_at_{}", size(level));
                record.metrics.extend(metrics(level, arguments, &suffix));
            }
            record.series.extend(curves(levels));
        }
    }
    for metrics in levels.iter().filter_map(|level| level.server.as_ref()) {
        let warnings = server::warnings(metrics);
        let is_new = |warning: &String| !record.warnings.contains(warning);
        let new: Vec<String> = warnings.into_iter().filter(is_new).collect();
        record.warnings.extend(new);
    }
    let void = levels.iter().find_map(|level| level.figures.void);
    record.void = void.map(|void| void.to_string());
    for level in levels
        .iter()
        .filter(|level| level.is_saturated() && search.is_none())
    {
        let arrivals = text::arrivals(&level.load, level.turns());
        record.warnings.push(format!("{arrivals}: waiting grew to the end: the server cannot hold it, and its latencies depend on the duration"));
    }
    record
}

fn conditions(record: &mut BenchRecord, levels: &[Level], arguments: &ServeLoadArguments) {
    let requests = &arguments.requests;
    let arrivals: Vec<String> = levels
        .iter()
        .map(|level| text::arrivals(&level.load, level.turns()))
        .collect();
    let arrivals = if arguments.arrivals.search {
        "searched".to_owned()
    } else {
        arrivals.join("; ")
    };
    let of_tensors = levels.iter().any(Level::is_of_tensors);
    let mut told = vec![("arrivals", arrivals)];
    if of_tensors {
        told.push(("protocol", "oip".to_owned()));
        let first = levels.iter().find_map(|level| level.load.asks.first());
        told.extend(first.map(|ask| ("shapes", shapes(ask).join(" "))));
    } else {
        told.push(("chat", arguments.chat.to_string()));
    }
    match (&arguments.arrivals.replay, &requests.dataset) {
        (Some(path), _) | (None, Some(path)) => told.push(("requests", path.display().to_string())),
        (None, None) if of_tensors => (),
        (None, None) => told.extend([
            ("prompt-words", requests.prompt_words.to_string()),
            ("shared-words", requests.shared_words.to_string()),
            ("spread", requests.spread.to_string()),
        ]),
    }
    if !of_tensors {
        told.push(("tokens", requests.tokens.to_string()));
    }
    let turns = levels.iter().map(Level::turns).max().unwrap_or(1);
    if turns > 1 {
        told.push(("turns", turns.to_string()));
        told.push(("think", requests.think.as_secs_f64().to_string()));
    }
    told.extend(arguments.model.clone().map(|model| ("model", model)));
    let told = told
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    record.conditions.extend(told);
}

/// Of the tensors of a request, as the flag takes them.
fn shapes(ask: &Ask) -> Vec<String> {
    let shapes = tensor_shapes(&ask.prompt);
    shapes.iter().map(ToString::to_string).collect()
}

/// Requests a second, or clients.
fn size(level: &Level) -> f64 {
    match level.load.arrivals {
        Arrivals::Closed { clients } => clients as f64,
        Arrivals::Constant { rate } | Arrivals::Random { rate, .. } => rate,
        Arrivals::Ramp { to, .. } => to,
        Arrivals::Recorded(_) => {
            level.figures.asked as f64 / level.load.duration.as_secs_f64().max(1e-9)
        }
    }
}

fn metrics(level: &Level, arguments: &ServeLoadArguments, suffix: &str) -> Vec<Metric> {
    let figures = &level.figures;
    let answered: Vec<&Raw> = level
        .requests
        .iter()
        .filter(|request| request.failure.is_none())
        .collect();
    let of = |value: fn(&Raw) -> Option<f64>| {
        answered
            .iter()
            .filter_map(|request| value(request))
            .collect()
    };
    let a_second = |count: f64| vec![count / figures.wall.max(1e-9)];
    let asked = figures.asked.max(1) as f64;
    let latencies = [
        ("time_to_first_token", of(first)),
        ("end_to_end", of(|request| Some(whole(request)))),
        ("time_per_output_token", of(each)),
        (
            "inter_piece",
            answered.iter().flat_map(|request| gaps(request)).collect(),
        ),
        (
            "service_time_to_first_token",
            of(|request| Some(first(request)? - lag(request))),
        ),
        (
            "service_end_to_end",
            of(|request| Some(whole(request) - lag(request))),
        ),
        ("client_lag", level.requests.iter().map(lag).collect()),
        ("probe", level.probes.clone()),
    ];
    let mut metrics: Vec<Metric> = latencies
        .into_iter()
        .map(|(name, values)| Metric::latencies(&format!("{name}{suffix}"), values))
        .collect();
    metrics.extend(by_turn(level, suffix));
    let answered = a_second(figures.answered as f64);
    let mut rates = if level.is_of_tensors() {
        vec![
            ("inferences", "inferences/s", answered),
            ("rows", "rows/s", a_second(figures.rows as f64)),
        ]
    } else {
        let [output, prompt] = [figures.tokens, figures.prompt_tokens];
        vec![
            ("requests", "requests/s", answered),
            ("output_tokens", "tokens/s", a_second(output as f64)),
            ("prompt_tokens", "tokens/s", a_second(prompt as f64)),
        ]
    };
    let share = figures.answered as f64 / asked;
    rates.push(("answered", "share", vec![share]));
    let rate = |(name, unit, values): (&str, &str, _)| {
        Metric::repeated(&format!("{name}{suffix}"), unit, Better::Higher, values)
    };
    metrics.extend(rates.into_iter().map(rate));
    if has_objectives(arguments) {
        metrics.push(rate(("good", "share", vec![figures.good as f64 / asked])));
        metrics.push(rate((
            "goodput",
            "requests/s",
            a_second(figures.good as f64),
        )));
    }
    metrics.retain(|metric| !metric.values.is_empty());
    metrics
}

/// The time to the first token of each turn of conversations: a cache of prefixes is for those after the first.
fn by_turn(level: &Level, suffix: &str) -> Vec<Metric> {
    let turns = level.turns();
    let metric = |turn| {
        let name = format!("time_to_first_token{suffix}/turn {turn}");
        Metric::latencies(&name, level.of_turn(turn).filter_map(first).collect())
    };
    if turns > 1 {
        (1..=turns).map(metric).collect()
    } else {
        Vec::new()
    }
}

fn summary(level: &Level) -> std::collections::BTreeMap<String, f64> {
    let figures = &level.figures;
    let ends = level
        .requests
        .iter()
        .filter(|request| request.failure.is_none());
    let mut summary = results::latency_summary(&Metric::latencies("", ends.map(whole).collect()));
    let failed = (figures.asked - figures.answered) as f64;
    let told = [
        (
            "throughput_rps",
            figures.answered as f64 / figures.wall.max(1e-9),
        ),
        ("error_rate", failed / figures.asked.max(1) as f64),
        ("successful_requests", figures.answered as f64),
        ("failed_requests", failed),
        ("total_duration_sec", figures.wall),
    ];
    summary.extend(told.map(|(name, value)| (name.to_owned(), value)));
    summary
}

/// Latencies over when requests were due, how many were under way, and how many tokens came.
fn over_time(level: &Level) -> Vec<Series> {
    let at = |ns: u64| ns as f64 / 1e9;
    let line = |plot: &str, y: &str, points| Series {
        plot: plot.to_owned(),
        name: plot.to_lowercase(),
        x: server::SINCE.to_owned(),
        y: y.to_owned(),
        points,
    };
    let waits = |of: fn(&Raw) -> Option<f64>| {
        let points = level.requests.iter();
        let points = points.filter_map(|request| Some([at(request.due_ns), of(request)?]));
        points.collect()
    };
    let mut changes: Vec<(u64, f64)> = level
        .requests
        .iter()
        .flat_map(|request| [(request.sent_ns, 1.0), (request.ended_ns, -1.0)])
        .collect();
    changes.sort_by_key(|(when, _)| *when);
    let mut under_way = 0.0;
    let counted = changes.into_iter().map(|(when, change)| {
        under_way += change;
        [at(when), under_way]
    });
    let under_way = line("Requests under way", "requests, ", counted.collect());
    if level.is_of_tensors() {
        let ends = waits(|request| request.failure.is_none().then(|| whole(request)));
        let ends = line("Time to the end", "time to the end, s", ends);
        return vec![ends, under_way];
    }
    let firsts = line(
        "Time to first token",
        "time to first token, s",
        waits(first),
    );
    let tokens = line(
        "Tokens received",
        "tokens a second, tokens/s",
        tokens_a_second(level),
    );
    vec![firsts, under_way, tokens]
}

/// Tokens that came in each second, at its end: a piece has its part of those of its answer.
fn tokens_a_second(level: &Level) -> Vec<[f64; 2]> {
    let mut seconds = vec![0.0; level.figures.wall.ceil() as usize];
    for request in &level.requests {
        let each = request.tokens as f64 / request.pieces_ns.len().max(1) as f64;
        for at in &request.pieces_ns {
            if let Some(second) = seconds.get_mut((at / 1_000_000_000) as usize) {
                *second += each;
            }
        }
    }
    // The last is over before it is a whole second.
    let wall = level.figures.wall;
    let begins = (0..).map(f64::from).zip(seconds);
    let rate = |(begin, tokens): (f64, f64)| {
        let end = wall.min(begin + 1.0);
        [end, tokens / (end - begin).max(1e-9)]
    };
    begins.map(rate).collect()
}

/// Throughput and latency over the load.
fn curves(levels: &[Level]) -> Vec<Series> {
    let is_closed = matches!(
        levels.first().map(|level| &level.load.arrivals),
        Some(Arrivals::Closed { .. })
    );
    let x = if is_closed {
        "clients, "
    } else {
        "requests a second asked, "
    };
    let mut sorted: Vec<&Level> = levels.iter().collect();
    sorted.sort_by(|a, b| size(a).total_cmp(&size(b)));
    let line = |plot: &str, name: &str, y: &str, value: &dyn Fn(&Level) -> Option<f64>| Series {
        plot: plot.to_owned(),
        name: name.to_owned(),
        x: x.to_owned(),
        y: y.to_owned(),
        points: sorted
            .iter()
            .filter_map(|level| Some([size(level), value(level)?]))
            .collect(),
    };
    let of_tensors = levels.iter().any(Level::is_of_tensors);
    let wait = if of_tensors {
        "Time to the end"
    } else {
        "Time to first token"
    };
    let begin = |level: &Level| {
        let figures = &level.figures;
        if of_tensors {
            figures.whole
        } else {
            figures.first
        }
    };
    let of_client = [
        line("Throughput", "answered", "requests a second, ", &|level| {
            Some(level.figures.answered as f64 / level.figures.wall.max(1e-9))
        }),
        line("Throughput", "good", "requests a second, ", &|level| {
            Some(level.figures.good as f64 / level.figures.wall.max(1e-9))
        }),
        line(wait, "median", "from when it was due, s", &|level| {
            Some(begin(level)?.p50)
        }),
        line(wait, "p99", "from when it was due, s", &|level| {
            Some(begin(level)?.p99)
        }),
    ];
    let of_server = server::over_loads(&sorted, size, x);
    of_client.into_iter().chain(of_server).collect()
}
