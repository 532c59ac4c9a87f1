//! The sections of the report, once for all forms that are text.

mod tables;

use carnot_analyze::pipeline::{
    Components, Iteration, Iterations, Part, PipelineAnalysis, Priority, Ranks, Spread,
};
use carnot_record::{Outcome, Session, SpanKind, Utc};

use crate::units;
use tables::{caches, layers, machine, memory, models, places, pools, rank_sections, streaming};

/// Which sections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Template {
    /// All there is something to say of.
    #[default]
    Full,
    /// The five of an interactive video pipeline: overall, components, prompts, chunks, blocks.
    Pipeline,
}

/// A report before it has a form.
pub(super) struct Document {
    pub title: String,
    pub facts: Vec<String>,
    pub sections: Vec<Section>,
}

/// A part of it.
#[derive(Default)]
pub(super) struct Section {
    pub title: String,
    /// Sentences before the table.
    pub lines: Vec<String>,
    pub table: Option<Table>,
    /// Sentences after it.
    pub after: Vec<String>,
}

/// Names on the left, figures on the right.
#[derive(Default)]
pub(super) struct Table {
    pub heads: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    /// How many columns stand to the left.
    pub left: usize,
    /// Whether the last column is words, which begin where it does.
    pub ends_in_words: bool,
}

/// So many rows stand whole; of more, the first five and the last five.
const WHOLE: usize = 10;
const ENDS: usize = 5;
/// Rows of tables that have no end of their own.
const MOST: usize = 20;

pub(super) fn document(
    of: &PipelineAnalysis,
    ranks: Option<&Ranks>,
    template: Template,
) -> Document {
    let five = five(of);
    let sections = match template {
        Template::Pipeline => five,
        Template::Full => [findings(of, ranks), losses(of)]
            .into_iter()
            .flatten()
            .chain(five)
            .chain([stages(of)])
            .chain(
                of.streaming
                    .iter()
                    .map(|stream| streaming(stream, &of.session.unit)),
            )
            .chain(
                [
                    layers(of),
                    models(of),
                    memory(of),
                    places(of),
                    pools(of),
                    caches(of),
                    machine(of),
                ]
                .into_iter()
                .flatten(),
            )
            .chain(ranks.into_iter().flat_map(rank_sections))
            .chain(doubts(of, ranks))
            .collect(),
    };
    let name = if of.session.id.is_empty() {
        "session"
    } else {
        &of.session.id
    };
    Document {
        title: format!("carnot pipeline profile · {name}"),
        facts: facts(of),
        sections,
    }
}

fn facts(of: &PipelineAnalysis) -> Vec<String> {
    let Session {
        unit,
        tags,
        rank,
        host,
        pid,
        started_unix_ns,
        outcome,
        ..
    } = &of.session;
    let rank = rank.map_or_else(String::new, |rank| {
        format!(" · rank {} of {}", rank.rank, rank.world_size)
    });
    let host = if host.is_empty() {
        String::new()
    } else {
        format!(" · {host}, process {pid}")
    };
    let outcome = match outcome {
        Some(Outcome::Completed) => String::new(),
        Some(Outcome::Failed(why)) => format!(" · failed: {why}"),
        None => " · did not end in order".to_owned(),
    };
    let begun = Utc::of(started_unix_ns / 1_000_000_000);
    let mut facts = vec![format!("{begun}{rank}{host}{outcome}")];
    let items = if of.items > 0 {
        format!(
            " · {} {unit}, {} {unit}/s",
            units::count(of.items),
            units::digits(of.items_per_s)
        )
    } else {
        String::new()
    };
    let events = units::count(of.events);
    facts.push(format!(
        "{} wall{items} · {events} events",
        units::duration(of.wall_ns as f64)
    ));
    if !tags.is_empty() {
        let tags: Vec<String> = tags
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        facts.push(tags.join(" · "));
    }
    facts
}

fn findings(of: &PipelineAnalysis, ranks: Option<&Ranks>) -> Option<Section> {
    let all = ranks
        .iter()
        .flat_map(|ranks| &ranks.findings)
        .chain(&of.findings);
    let rows: Vec<Vec<String>> = all
        .take(MOST)
        .map(|finding| {
            let priority = match finding.priority {
                Priority::High => "high",
                Priority::Medium => "medium",
                Priority::Low => "low",
            };
            vec![
                priority.to_owned(),
                finding.category.clone(),
                format!("{} → {}", finding.issue, finding.suggestion),
            ]
        })
        .collect();
    (!rows.is_empty()).then(|| Section {
        title: "What to look at".to_owned(),
        table: Some(Table {
            heads: vec!["priority", "where", "what, and what to do"],
            rows,
            left: 3,
            ..Table::default()
        }),
        ..Section::default()
    })
}

fn losses(of: &PipelineAnalysis) -> Option<Section> {
    let rows: Vec<Vec<String>> = of
        .losses
        .iter()
        .map(|loss| {
            vec![
                loss.name.clone(),
                units::duration(loss.ns as f64),
                units::percent(loss.share),
            ]
        })
        .collect();
    let floor = of.losses.iter().find(|loss| loss.name == "floor");
    let after = if floor.is_some_and(|floor| floor.ns == 0) && of.wall_ns > 0 {
        vec!["The floor is 0 because no span said how much work it is, or this machine's ceilings are not known (`carnot machine`).".to_owned()]
    } else {
        Vec::new()
    };
    (of.wall_ns > 0).then(|| Section {
        title: "Where the time went, from the floor up".to_owned(),
        lines: vec!["The main thread; all rows add up to the wall.".to_owned()],
        table: Some(Table {
            heads: vec!["loss", "time", "share"],
            rows,
            left: 1,
            ..Table::default()
        }),
        after,
    })
}

/// The five sections, each with a word where there is nothing to tell.
fn five(of: &PipelineAnalysis) -> Vec<Section> {
    let mut sections = vec![overall(of)];
    if of.components.is_empty() {
        sections.push(Section {
            title: "2. Components".to_owned(),
            lines: vec!["No stage has stages within it.".to_owned()],
            ..Section::default()
        });
    }
    sections.extend(of.components.iter().map(components));
    for (number, kind, name) in [
        (3, SpanKind::Prompt, "prompt"),
        (4, SpanKind::Chunk, "chunk"),
        (5, SpanKind::Block, "block"),
    ] {
        let mut those = of.iterations.iter().filter(|of| of.kind == kind).peekable();
        if those.peek().is_none() {
            sections.push(Section {
                title: format!("{number}. Per {name}"),
                lines: vec![format!("No {name}s were recorded.")],
                ..Section::default()
            });
        }
        sections.extend(those.map(|of| per(number, name, of)));
    }
    sections.extend(
        of.iterations
            .iter()
            .filter(|of| of.kind == SpanKind::Step)
            .map(steps),
    );
    sections
}

fn overall(of: &PipelineAnalysis) -> Section {
    let mut rows: Vec<Vec<String>> = of.overall.iter().map(part).collect();
    rows.push(vec![
        "total".to_owned(),
        units::duration(of.wall_ns as f64),
        units::percent(1.0),
    ]);
    let unit = &of.session.unit;
    let after = if of.items > 0 {
        vec![format!(
            "Throughput: {} {unit}/s ({} {unit} in {}).",
            units::digits(of.items_per_s),
            units::count(of.items),
            units::duration(of.wall_ns as f64)
        )]
    } else {
        Vec::new()
    };
    Section {
        title: "1. Overall performance".to_owned(),
        table: Some(Table {
            heads: vec!["stage", "time", "of total"],
            rows,
            left: 1,
            ..Table::default()
        }),
        after,
        ..Section::default()
    }
}

fn part(part: &Part) -> Vec<String> {
    vec![
        part.name.clone(),
        units::duration(part.ns as f64),
        units::percent(part.share),
    ]
}

fn components(of: &Components) -> Section {
    let rows = of.parts.iter().chain([&of.pure]).map(part).collect();
    Section {
        title: format!("2. Components within {}", of.stage),
        table: Some(Table {
            heads: vec!["component", "time", "of stage"],
            rows,
            left: 1,
            ..Table::default()
        }),
        ..Section::default()
    }
}

fn per(number: u32, name: &str, of: &Iterations) -> Section {
    let row = |iteration: &Iteration| {
        let components: Vec<String> = iteration
            .components
            .iter()
            .map(|(name, ns)| format!("{name} {}", units::duration(*ns as f64)))
            .collect();
        let share = of.within.as_ref().map_or_else(String::new, |(_, whole)| {
            units::percent(iteration.ns as f64 / (*whole).max(1) as f64)
        });
        vec![
            format!(
                "{name} {}",
                iteration
                    .index
                    .map_or_else(|| "–".to_owned(), |index| index.to_string())
            ),
            units::duration(iteration.ns as f64),
            share,
            components.join(", "),
        ]
    };
    let within = of
        .within
        .as_ref()
        .map_or_else(|| "no stage".to_owned(), |(stage, _)| stage.clone());
    let count = of.time.count;
    let all: u64 = of.time.total_ns;
    let share = of.within.as_ref().map(|(_, whole)| {
        format!(
            ", {} of it",
            units::percent(all as f64 / (*whole).max(1) as f64)
        )
    });
    Section {
        title: format!("{number}. Per {name}: {}", of.name),
        lines: vec![format!(
            "{count} {name}s, within {within}{}.",
            share.unwrap_or_default()
        )],
        table: Some(Table {
            heads: vec![name_of(name), "time", "of stage", "components"],
            rows: elided(&of.rows, of.left_out, row),
            left: 1,
            ends_in_words: true,
        }),
        after: vec![format!(
            "Average per {name}: {}; {}.",
            units::duration(of.time.mean_ns),
            spread(&of.time)
        )],
    }
}

fn name_of(name: &str) -> &'static str {
    match name {
        "prompt" => "prompt",
        "chunk" => "chunk",
        _ => "block",
    }
}

/// At most ten rows whole; else the first five, how many were left out, and the last five.
fn elided(
    rows: &[Iteration],
    left_out: u64,
    row: impl Fn(&Iteration) -> Vec<String>,
) -> Vec<Vec<String>> {
    if rows.len() <= WHOLE && left_out == 0 {
        return rows.iter().map(row).collect();
    }
    let omitted = rows.len() as u64 + left_out - 2 * ENDS as u64;
    let line = vec![
        format!("… {} more", units::count(omitted)),
        String::new(),
        String::new(),
        String::new(),
    ];
    let (first, last) = (rows[..ENDS].iter(), rows[rows.len() - ENDS..].iter());
    first
        .map(&row)
        .chain([line])
        .chain(last.map(&row))
        .collect()
}

fn steps(of: &Iterations) -> Section {
    Section {
        title: format!("Steps: {}", of.name),
        lines: vec![format!(
            "{} steps, {} each in the mean; {}.",
            units::count(of.time.count),
            units::duration(of.time.mean_ns),
            spread(&of.time)
        )],
        ..Section::default()
    }
}

fn spread(time: &Spread) -> String {
    let [min, p50, p99, max] =
        [time.min_ns, time.p50_ns, time.p99_ns, time.max_ns].map(|ns| units::duration(ns as f64));
    format!("from {min} to {max}, median {p50}, p99 {p99}")
}

fn stages(of: &PipelineAnalysis) -> Section {
    let unit = &of.session.unit;
    let row = |stage: &carnot_analyze::pipeline::Stage| {
        let rate = if stage.items > 0 {
            format!("{} {unit}/s", units::digits(stage.items_per_s))
        } else {
            String::new()
        };
        vec![
            stage.name.clone(),
            stage.kind.name().to_owned(),
            units::count(stage.time.count),
            units::duration(stage.time.total_ns as f64),
            units::duration(stage.self_ns as f64),
            units::percent(stage.self_share),
            units::duration(stage.time.p50_ns as f64),
            units::duration(stage.time.p99_ns as f64),
            rate,
        ]
    };
    let left_out = of.stages.len().saturating_sub(MOST);
    Section {
        title: "All spans by name".to_owned(),
        lines: Vec::new(),
        table: Some(Table {
            heads: vec![
                "name", "kind", "count", "total", "itself", "of wall", "p50", "p99", "rate",
            ],
            rows: of.stages.iter().take(MOST).map(row).collect(),
            left: 2,
            ..Table::default()
        }),
        after: if left_out > 0 {
            vec![format!("{left_out} names more.")]
        } else {
            Vec::new()
        },
    }
}

fn doubts(of: &PipelineAnalysis, ranks: Option<&Ranks>) -> Option<Section> {
    let mut lines: Vec<String> = of
        .warnings
        .iter()
        .chain(ranks.iter().flat_map(|ranks| &ranks.warnings))
        .cloned()
        .collect();
    for lost in &of.lost {
        lines.push(format!(
            "{} events of {} were lost: {} is too low",
            units::count(lost.events),
            lost.name,
            lost.section
        ));
    }
    (!lines.is_empty()).then(|| Section {
        title: "What makes the figures doubtful".to_owned(),
        lines,
        ..Section::default()
    })
}
