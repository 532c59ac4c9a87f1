//! From what a pipeline recorded to its report, event by event: memory grows with the names and not with the events.
//!
//! ```text
//! nesting       which span lies in which ─▶ stages       totals, the tree, the sections, iterations
//! streaming     deliveries                  computation  layers, their floors, the slow one
//! allocations   memory by owner; places: who allocates   caches             caches       hits, reuse distances, the size advised
//! counters      values over time            findings     what to look at first
//! ranks         several processes of one run, side by side
//! ```

mod allocations;
mod caches;
mod computation;
mod counters;
mod findings;
mod histogram;
mod losses;
mod nesting;
mod places;
mod ranks;
mod series;
mod stages;
mod streaming;

pub use allocations::{Growth, MemoryAnalysis, OwnerMemory, Pool};
pub use caches::CacheAnalysis;
pub use computation::LayerTime;
pub use counters::CounterTime;
pub use findings::{Finding, Priority};
pub use histogram::Spread;
pub use losses::PipelineLoss;
pub use places::{Place, Places, stands_for};
pub use ranks::{RankRow, Ranks, StageOfRanks, ranks};
pub use series::{Curve, CurvePoint};
pub use stages::{Components, Iteration, Iterations, Part, Stage, StageNode};
pub use streaming::{Occupancy, Playback, PromptLatency, Streaming};

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Seek};

use carnot_record::trace_file::{EventKind, EventSite, Occurrence, TraceReader};
use carnot_record::{Arithmetic, MachineProfile, Note, Session, Span, SpanKind, Thread};
use serde::Serialize;

use crate::Floor;
use histogram::Histogram;
use nesting::{Ended, Group, Nesting};
use stages::{Names, Row, Rows, is_stage};

/// What was learnt from a session.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PipelineAnalysis {
    /// Whose it is.
    pub session: Session,
    /// From the first span to the last.
    pub wall_ns: u64,
    /// What came of it, in the unit of the session, each item counted once.
    pub items: u64,
    /// `items` over the wall.
    pub items_per_s: f64,
    /// Topmost stages of the main thread, and what lies outside of them; they add up to the wall.
    pub overall: Vec<Part>,
    /// Of each topmost stage with stages within, these and the rest.
    pub components: Vec<Components>,
    /// Prompts, chunks, blocks and steps.
    pub iterations: Vec<Iterations>,
    /// The wall from its floor up.
    pub losses: Vec<PipelineLoss>,
    /// All names, the longest own time first.
    pub stages: Vec<Stage>,
    /// What ran in what, on the main thread.
    pub tree: Vec<StageNode>,
    /// What other threads did meanwhile.
    pub other_threads: Vec<(String, Vec<StageNode>)>,
    /// Streams.
    pub streaming: Vec<Streaming>,
    /// Layers of models, the longest first.
    pub layers: Vec<LayerTime>,
    /// Memory by owner.
    pub memory: MemoryAnalysis,
    /// Who allocates, where that was sampled.
    pub places: Places,
    /// Caches.
    pub caches: Vec<CacheAnalysis>,
    /// Values over time, those of the machine among them.
    pub counters: Vec<CounterTime>,
    /// What the author noted.
    pub notes: Vec<Note>,
    /// What to look at, what matters most first.
    pub findings: Vec<Finding>,
    /// Events that were lost, by name.
    pub lost: Vec<Lost>,
    /// Events that were read.
    pub events: u64,
    /// What makes the figures doubtful.
    pub warnings: Vec<String>,
}

/// Events of a name that were lost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lost {
    /// The name.
    pub name: String,
    /// The section that they would have been in.
    pub section: String,
    /// How many.
    pub events: u64,
}

/// How to look at a session.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// How fast frames are shown; stalls need it.
    pub playback_fps: Option<f64>,
    /// Points of a curve, and rows of a table, at most.
    pub most_points: usize,
    /// What the machine allows, in place of what the session knows.
    pub machine: Option<MachineProfile>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            playback_fps: None,
            most_points: 1000,
            machine: None,
        }
    }
}

/// What else there is to know of a session than its events.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The session.
    pub session: Session,
    /// Its threads, by number.
    pub threads: Vec<Thread>,
    /// Where events come from, by number.
    pub sites: Vec<EventSite>,
    /// Events that were lost, by the number of their site.
    pub lost: BTreeMap<u32, u64>,
    /// What the author noted.
    pub notes: Vec<Note>,
    /// What is not as it was written.
    pub damage: Vec<String>,
}

/// Takes the events of a session in; [`finish`](Self::finish) tells what they come to.
#[derive(Debug)]
pub struct Collector {
    view: View,
    groups: HashMap<(String, SpanKind), Group>,
    names: Vec<(String, SpanKind)>,
    times: Vec<Histogram>,
    rows: BTreeMap<Group, Rows>,
    /// The group of each site, once it was seen.
    of_site: Vec<Option<Group>>,
    nesting: Nesting,
    layers: computation::Layers,
    streams: BTreeMap<String, streaming::Stream>,
    prompts: BTreeMap<u32, u64>,
    memory: allocations::Memory,
    places: places::Sample,
    iterations: u64,
    caches: BTreeMap<String, caches::Cache>,
    counters: counters::Counters,
    first_ns: u64,
    last_ns: u64,
    events: u64,
    threads: u32,
}

impl Collector {
    /// Nothing yet.
    pub fn new(view: View) -> Self {
        Self {
            memory: allocations::Memory::new(view.most_points),
            places: places::Sample::default(),
            threads: view.machine.as_ref().map_or(1, |machine| machine.threads),
            view,
            groups: HashMap::new(),
            names: Vec::new(),
            times: Vec::new(),
            rows: BTreeMap::new(),
            of_site: Vec::new(),
            nesting: Nesting::default(),
            layers: computation::Layers::default(),
            streams: BTreeMap::new(),
            prompts: BTreeMap::new(),
            iterations: 0,
            caches: BTreeMap::new(),
            counters: counters::Counters::default(),
            first_ns: u64::MAX,
            last_ns: 0,
            events: 0,
        }
    }

    /// An event of `site`, whose number is `number`. Spans of a thread must come by their ends.
    pub fn take(&mut self, site: &EventSite, number: u32, occurrence: Occurrence) {
        self.events += 1;
        let name = site.name.as_str();
        let most = self.view.most_points;
        match occurrence {
            Occurrence::Span {
                times,
                index,
                items,
                flops,
                bytes,
                working_set_bytes,
                ..
            } => {
                let group = self.group(site, number);
                let floor_ns = self.floor(site, flops, bytes, working_set_bytes);
                let ended = Ended {
                    group,
                    start_ns: times.start_ns,
                    end_ns: times.end_ns,
                    items: items.into(),
                    flops,
                    bytes,
                    floor_ns,
                };
                self.take_span(times.thread, &ended, index);
            }
            Occurrence::Counter { time_ns, value } => {
                self.counters.take(name, time_ns, value, most);
            }
            Occurrence::Memory { time_ns, bytes, id } => {
                self.memory.take(name, number, time_ns, bytes, id);
            }
            Occurrence::Allocation {
                time_ns,
                bytes,
                count,
                mean_bytes,
                ..
            } => self
                .places
                .take(site, number, time_ns, bytes, count, mean_bytes),
            Occurrence::Cache {
                outcome,
                key,
                bytes,
                ..
            } => {
                entry(&mut self.caches, name, caches::Cache::default).take(outcome, key, bytes);
            }
            Occurrence::Frame {
                time_ns,
                count,
                generate_ns,
                encode_ns,
                send_ns,
                bytes,
                occupancy,
                prompt,
                ..
            } => {
                let fps = self.view.playback_fps;
                let delivery = streaming::Delivery {
                    time_ns,
                    count: count.into(),
                    generate_ns,
                    encode_ns,
                    send_ns,
                    bytes,
                    occupancy,
                    prompt,
                };
                entry(&mut self.streams, name, || {
                    streaming::Stream::new(fps, most)
                })
                .deliver(&delivery);
            }
            Occurrence::DroppedFrames { count, .. } => {
                let fps = self.view.playback_fps;
                entry(&mut self.streams, name, || {
                    streaming::Stream::new(fps, most)
                })
                .dropped += u64::from(count);
            }
            Occurrence::Instant { .. } | Occurrence::Flow { .. } => {}
        }
    }

    fn take_span(&mut self, thread: u32, span: &Ended, index: Option<u32>) {
        let kind = self.names[span.group as usize].1;
        let ns = span.end_ns - span.start_ns;
        self.first_ns = self.first_ns.min(span.start_ns);
        self.last_ns = self.last_ns.max(span.end_ns);
        self.times[span.group as usize].add(ns);
        let within = self.nesting.end(thread, span);
        match kind {
            SpanKind::Layer => {
                self.layers
                    .add(span.group, index, ns, span.flops, span.bytes, span.floor_ns);
            }
            SpanKind::Prompt | SpanKind::Chunk | SpanKind::Block | SpanKind::Step => {
                let components = within.map(|children| Names(&self.names).components(children));
                let row = Row {
                    index,
                    start_ns: span.start_ns,
                    ns,
                    items: span.items,
                    components: components.unwrap_or_default(),
                };
                self.rows
                    .entry(span.group)
                    .or_default()
                    .add(row, self.view.most_points);
            }
            _ => {}
        }
        match (kind, index) {
            (SpanKind::Prompt, Some(index)) => {
                _ = self.prompts.entry(index).or_insert(span.start_ns);
            }
            (SpanKind::Block, _) => {
                self.iterations += 1;
                self.memory.iteration();
            }
            _ => {}
        }
    }

    fn group(&mut self, site: &EventSite, number: u32) -> Group {
        let at = number as usize;
        if self.of_site.len() <= at {
            self.of_site.resize(at + 1, None);
        }
        if let Some(group) = self.of_site[at] {
            return group;
        }
        let kind = match site.kind {
            EventKind::Span(kind, _) => kind,
            _ => SpanKind::Other,
        };
        let next = self.names.len() as Group;
        let group = *self.groups.entry((site.name.clone(), kind)).or_insert(next);
        if group == next {
            self.names.push((site.name.clone(), kind));
            self.times.push(Histogram::default());
        }
        self.of_site[at] = Some(group);
        group
    }

    fn floor(&self, site: &EventSite, flops: u64, bytes: u64, working_set_bytes: u64) -> u64 {
        let (Some(machine), EventKind::Span(_, arithmetic)) = (&self.view.machine, site.kind)
        else {
            return 0;
        };
        if flops == 0 && bytes == 0 {
            return 0;
        }
        let arithmetic = match arithmetic {
            Arithmetic::None if flops > 0 => Arithmetic::F32,
            other => other,
        };
        // Without a word on the working set it is what is moved: what fits a cache may come from there.
        let working_set_bytes = if working_set_bytes == 0 {
            bytes
        } else {
            working_set_bytes
        };
        let span = Span {
            flops,
            bytes,
            working_set_bytes,
            arithmetic,
            ..Span::default()
        };
        Floor::of(&span, machine, self.threads).ns()
    }

    /// What it all comes to.
    pub fn finish(self, about: About) -> PipelineAnalysis {
        let Self {
            names,
            times,
            rows,
            nesting,
            prompts,
            ..
        } = self;
        let (mut threads, torn) = nesting.finish();
        let total = |children: &nesting::Children| {
            children.iter().map(|(_, node)| node.total_ns).sum::<u64>()
        };
        let main = threads
            .iter()
            .max_by_key(|(thread, children)| (total(children), std::cmp::Reverse(**thread)));
        let main = main.map(|(thread, _)| *thread).unwrap_or_default();
        let roots = threads.remove(&main).unwrap_or_default();
        let wall_ns = self.last_ns.saturating_sub(self.first_ns);
        let known = Names(&names);
        let thread_name = |thread: u32| {
            about
                .threads
                .get(thread as usize)
                .map_or_else(|| format!("thread {thread}"), |of| of.name.clone())
        };
        let mut others: Vec<(u32, nesting::Children)> = threads.into_iter().collect();
        others.sort_by_key(|(thread, children)| (std::cmp::Reverse(total(children)), *thread));
        let unit = about.session.unit.as_str();
        let of_others = others.iter().map(|(_, of)| known.items(of, unit));
        let items = known.items(&roots, unit).max(of_others.max().unwrap_or(0));
        let streaming: Vec<Streaming> = self
            .streams
            .into_iter()
            .map(|(name, stream)| stream.finish(&name, &prompts))
            .collect();
        let items = if items == 0 {
            streaming.iter().map(|of| of.frames).sum()
        } else {
            items
        };
        let mut memory = self.memory.finish(self.iterations);
        memory.pools = allocations::pools(|name| self.counters.last(name), &self.counters.names());
        let resident = self.counters.resident();
        memory.growth.extend(
            resident.filter_map(|(name, values)| sampled_growth(name, values, self.iterations)),
        );
        let mut analysis = PipelineAnalysis {
            wall_ns,
            items,
            items_per_s: crate::statistics::ratio(items as f64 * 1e9, wall_ns as f64),
            overall: known.overall(&roots, wall_ns),
            components: known.all_components(&roots),
            iterations: stages::iterations(rows, &times, &known, &roots),
            losses: losses::losses(&known, &roots, wall_ns, &about.session),
            stages: stages::rows(
                &known,
                &times,
                std::iter::once(&roots).chain(others.iter().map(|(_, of)| of)),
                wall_ns,
            ),
            tree: known.tree(&roots, wall_ns),
            other_threads: others
                .iter()
                .map(|(thread, of)| (thread_name(*thread), known.tree(of, wall_ns)))
                .collect(),
            streaming,
            layers: self.layers.finish(|group| names[group as usize].0.clone()),
            memory,
            places: self.places.finish(),
            caches: self
                .caches
                .into_iter()
                .map(|(name, cache)| cache.finish(&name))
                .collect(),
            counters: self.counters.finish(),
            notes: about.notes,
            findings: Vec::new(),
            lost: lost(&about.lost, &about.sites),
            events: self.events,
            warnings: about.damage,
            session: about.session,
        };
        if torn > 0 {
            analysis.warnings.push(format!(
                "{torn} spans began among so many others that what lies within them is not known; their own time is too long"
            ));
        }
        if analysis.session.outcome.is_none() {
            analysis.warnings.push(
                "the session did not end in order; this is what it had recorded until then"
                    .to_owned(),
            );
        }
        analysis.findings = findings::findings(&analysis);
        analysis
    }
}

/// Goes through all events of a trace file, a frame in memory at a time.
///
/// The machine is `view`'s, or else the one that the session knew.
pub fn read<R: Read + Seek>(
    file: &mut TraceReader<R>,
    mut view: View,
) -> io::Result<PipelineAnalysis> {
    view.machine = view.machine.or_else(|| file.session().machine.clone());
    let mut collector = Collector::new(view);
    file.for_each(|site, number, occurrence| collector.take(site, number, occurrence))?;
    Ok(collector.finish(About {
        session: file.session().clone(),
        threads: file.threads().to_vec(),
        sites: file.sites().to_vec(),
        lost: file.lost().clone(),
        notes: file.notes(),
        damage: file.damage().to_vec(),
    }))
}

/// Growth of what is sampled; of few samples nothing is said, however many iterations there were between them.
fn sampled_growth(name: &str, samples: &[f64], iterations: u64) -> Option<Growth> {
    const LEAST_SAMPLES: usize = 24;
    let enough = samples.len() >= LEAST_SAMPLES && iterations > 0;
    enough.then(|| allocations::growth_of(name, samples, iterations))?
}

fn entry<'a, T>(
    map: &'a mut BTreeMap<String, T>,
    name: &str,
    new: impl FnOnce() -> T,
) -> &'a mut T {
    // Names are few and known after the first time: no string is made for those.
    if !map.contains_key(name) {
        map.insert(name.to_owned(), new());
    }
    map.get_mut(name).expect("it is there now")
}

fn lost(by_site: &BTreeMap<u32, u64>, sites: &[EventSite]) -> Vec<Lost> {
    let told = by_site.iter().map(|(site, events)| {
        let known = sites.get(*site as usize);
        Lost {
            name: known.map_or_else(|| "unknown".to_owned(), |site| site.name.clone()),
            section: known.map_or("stages", |site| section(site.kind)).to_owned(),
            events: *events,
        }
    });
    told.collect()
}

/// The section of the report that events of a kind are told in.
fn section(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Span(SpanKind::Layer, _) => "layers",
        EventKind::Span(kind, _) if is_stage(kind) => "stages",
        EventKind::Span(..) => "stages, iterations",
        EventKind::Counter => "counters",
        EventKind::Instant | EventKind::Flow => "timeline",
        EventKind::Memory | EventKind::Allocation => "memory",
        EventKind::Cache => "caches",
        EventKind::Frame => "streaming",
    }
}
