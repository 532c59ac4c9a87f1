//! A pprof profile (`profile.proto`, compressed): where the time went, by path, with layer and phase as labels.
//!
//! `go tool pprof -tagfocus layer=3` or `-tagroot phase` then cut it as one likes. Every name is a location without an
//! address, so that no tool tries to look it up.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write as _,
};

use carnot_analyze::{Analysis, SpanTree};
use carnot_record::{SpanKind, Trace};
use flate2::{Compression, GzBuilder};

use crate::{protobuf::Message, stacks::shown};

/// The trace as bytes of a `.pb.gz` file.
pub fn render(analysis: &Analysis, trace: &Trace) -> Vec<u8> {
    compressed(profile(analysis, trace))
}

/// The message as the file that tools open.
pub(crate) fn compressed(profile: Message) -> Vec<u8> {
    let profile = profile.into_bytes();
    let mut file = GzBuilder::new().write(Vec::new(), Compression::default());
    file.write_all(&profile)
        .and_then(|()| file.finish())
        .expect("memory takes all that is written")
}

fn profile(analysis: &Analysis, trace: &Trace) -> Message {
    let mut names = Names::new();
    let mut profile = Message::new();
    for (kind, unit) in [("spans", "count"), ("time", "nanoseconds")] {
        profile.append(1, &names.value_type(kind, unit));
    }
    for (key, value) in samples(analysis, trace) {
        profile.append(2, &sample(analysis, &mut names, &key, value));
    }
    let comment = "carnot profile: each span's own time, by path";
    let functions = functions(analysis, trace);
    let functions = functions.iter().map(|(name, file)| (&**name, &**file));
    finished(
        profile,
        names,
        functions,
        ("time", "nanoseconds"),
        trace.duration_ns,
        comment,
    )
}

/// What follows the samples: for each function its one location, what is shown by default, and the names.
pub(crate) fn finished<'a>(
    mut profile: Message,
    mut names: Names,
    functions: impl Iterator<Item = (&'a str, &'a str)>,
    (kind, unit): (&str, &str),
    duration_ns: u64,
    comment: &str,
) -> Message {
    for (id, (name, file)) in (1..).zip(functions) {
        let line = Message::new().number(1, id);
        profile.append(4, &Message::new().number(1, id).message(4, &line));
        let (name, file) = (names.index(shown(name)), names.index(file));
        let function = Message::new().number(1, id).number(2, name).number(3, name);
        profile.append(5, &function.number(4, file));
    }
    let period = names.value_type(kind, unit);
    let by_default = names.index(kind);
    let comment = names.index(comment);
    let mut profile = profile
        .number(10, duration_ns)
        .message(11, &period)
        .number(12, 1)
        .number(13, comment)
        .number(14, by_default);
    for name in &names.table {
        profile = profile.text(6, name);
    }
    profile
}

/// What samples have in common: the node of the call tree, the layer, the phase.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    node: u32,
    layer: Option<u32>,
    phase: &'a str,
}

/// How many spans, and their own time.
fn samples<'a>(analysis: &Analysis, trace: &'a Trace) -> BTreeMap<Key<'a>, (u64, u64)> {
    let tree = SpanTree::new(trace);
    let mut phases: Vec<&str> = vec![""; trace.spans.len()];
    let mut samples: BTreeMap<Key, (u64, u64)> = BTreeMap::new();
    for &index in tree.in_order() {
        let span = &trace.spans[index as usize];
        let site = trace.site(span);
        phases[index as usize] = match tree.parent(index) {
            _ if site.kind == SpanKind::Phase => &site.name,
            Some(parent) => phases[parent as usize],
            None => "",
        };
        let Some(node) = analysis.call_tree.node_of_span[index as usize] else {
            continue;
        };
        let key = Key {
            node,
            layer: span.layer,
            phase: phases[index as usize],
        };
        let sample = samples.entry(key).or_default();
        sample.0 += 1;
        sample.1 += tree.self_ns(index);
    }
    samples
}

fn sample(analysis: &Analysis, names: &mut Names, key: &Key, (count, ns): (u64, u64)) -> Message {
    let mut sample = Message::new()
        .packed(1, leaf_first(analysis, key.node))
        .packed(2, [count, ns]);
    if !key.phase.is_empty() {
        let (label, phase) = (names.index("phase"), names.index(key.phase));
        sample.append(3, &Message::new().number(1, label).number(2, phase));
    }
    if let Some(layer) = key.layer {
        let (label, layer) = (names.index("layer"), names.index(&layer.to_string()));
        sample.append(3, &Message::new().number(1, label).number(2, layer));
    }
    sample
}

/// Location ids from the leaf up; a node's location is its index plus one.
fn leaf_first(analysis: &Analysis, node: u32) -> Vec<u64> {
    let above = |node: &u32| analysis.call_tree.nodes[*node as usize].parent;
    std::iter::successors(Some(node), above)
        .map(|node| u64::from(node) + 1)
        .collect()
}

/// A function's name and file for each node of the call tree.
fn functions(analysis: &Analysis, trace: &Trace) -> Vec<(String, String)> {
    let files: HashMap<&str, &str> = trace
        .sites
        .iter()
        .map(|site| (site.name.as_str(), site.file.as_str()))
        .collect();
    let nodes = analysis.call_tree.nodes.iter();
    let file = |name: &str| files.get(name).copied().unwrap_or_default().to_owned();
    nodes
        .map(|node| (node.name.clone(), file(&node.name)))
        .collect()
}

/// The string table; index 0 is the empty string.
pub(crate) struct Names {
    pub table: Vec<String>,
    known: HashMap<String, u64>,
}

impl Names {
    pub fn new() -> Self {
        let mut names = Self {
            table: Vec::new(),
            known: HashMap::new(),
        };
        names.index("");
        names
    }

    pub fn index(&mut self, name: &str) -> u64 {
        if let Some(index) = self.known.get(name) {
            return *index;
        }
        let index = self.table.len() as u64;
        self.table.push(name.to_owned());
        self.known.insert(name.to_owned(), index);
        index
    }

    pub fn value_type(&mut self, kind: &str, unit: &str) -> Message {
        Message::new()
            .number(1, self.index(kind))
            .number(2, self.index(unit))
    }
}
