//! Stacks of this process as reports and records want them: functions by name, without what is below `main` and inside the allocator.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use carnot_engine::TextRequest;
use carnot_llm::LlmEngine;
use carnot_record::{AllocationSite, FunctionShare};
use carnot_report::stack_profile::{Function, Stack, StackProfile, Weight};
use carnot_sampling::cpu::Samples;
use carnot_sampling::heap::{self, Heap};
use carnot_sampling::symbols::{Frame, Names};

use crate::generation::generate;

/// Places that a record keeps.
const MOST: usize = 40;
/// Functions that the file of hotspots has.
const HOTSPOTS: usize = 60;
/// Its folder, beside the records.
const FOLDER: &str = "flamegraphs";

/// The allocations of a request, of which nothing else is recorded meanwhile.
pub fn allocations(engine: &mut LlmEngine, request: &TextRequest) -> anyhow::Result<Heap> {
    carnot_probe::disable();
    heap::track();
    let generated = generate(engine, request.clone(), |_| Ok(()));
    let heap = heap::stop();
    carnot_probe::enable();
    generated?;
    Ok(heap)
}

/// Where processor time went.
pub fn of_processor(samples: &Samples, title: String) -> StackProfile {
    let addresses = samples.stacks.iter().flat_map(|stack| &stack.addresses);
    let names = Names::of(addresses);
    let mut profile = StackProfile {
        title,
        weight: Weight::ProcessorTime,
        wall_ns: samples.wall_ns,
        ..StackProfile::default()
    };
    let mut functions = Functions::default();
    profile.stacks = samples
        .stacks
        .iter()
        .map(|stack| Stack {
            thread: samples.threads[stack.thread as usize].clone(),
            functions: functions.indices(&calls(&names, &stack.addresses)),
            weight: stack.cpu_ns,
            count: stack.count,
        })
        .collect();
    profile.functions = functions.all;
    profile
}

/// Where memory came from.
pub fn of_allocations(heap: &Heap, title: String) -> StackProfile {
    let names = names(heap);
    let mut profile = StackProfile {
        title,
        weight: Weight::Allocations,
        ..StackProfile::default()
    };
    let mut functions = Functions::default();
    profile.stacks = heap
        .sites
        .iter()
        .map(|site| Stack {
            thread: "allocations".to_owned(),
            functions: functions.indices(&without_allocator(calls(&names, &site.addresses))),
            weight: site.bytes,
            count: site.allocations,
        })
        .collect();
    profile.functions = functions.all;
    profile
}

/// Who allocated: places in the code, the one with the most bytes first.
pub fn sites(heap: &Heap) -> Vec<AllocationSite> {
    let names = names(heap);
    let mut sites: HashMap<(String, String), [f64; 3]> = HashMap::new();
    for site in &heap.sites {
        let calls = without_allocator(calls(&names, &site.addresses));
        let innermost = calls.iter().rfind(|frame| is_ours(frame)).or(calls.last());
        let place = innermost.map_or_else(Default::default, |frame| {
            (frame.function.clone(), place(frame))
        });
        let sums = sites.entry(place).or_default();
        let more = [site.allocations, site.bytes, site.live_bytes];
        for (sum, more) in sums.iter_mut().zip(more) {
            *sum += more as f64;
        }
    }
    let mut sites: Vec<AllocationSite> = sites
        .into_iter()
        .map(
            |((function, place), [allocations, bytes, kept_bytes])| AllocationSite {
                function,
                place,
                allocations,
                bytes,
                kept_bytes,
            },
        )
        .collect();
    sites.sort_by(|a, b| {
        b.bytes
            .total_cmp(&a.bytes)
            .then_with(|| a.place.cmp(&b.place))
    });
    sites
}

/// The functions that a record keeps.
pub fn shares(profile: &StackProfile) -> Vec<FunctionShare> {
    let whole = profile.whole().max(1) as f64;
    let shares = profile.shares().into_iter().take(MOST);
    shares
        .map(|share| FunctionShare {
            function: share.function.name.clone(),
            file: share.function.file.clone(),
            own: share.own as f64 / whole,
            total: share.total as f64 / whole,
        })
        .collect()
}

/// Writes the flame graph, the pprof profile, the collapsed stacks and the hotspots to `flamegraphs` in a folder.
pub fn write(profile: &StackProfile, folder: &Path, suite: &str) -> anyhow::Result<()> {
    let folder = folder.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let file = |ending: &str, bytes: &[u8]| {
        let path = folder.join(format!("{suite}_{ending}"));
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))
    };
    file("profile.svg", profile.flamegraph().as_bytes())?;
    file("profile.pb.gz", &profile.pprof())?;
    file("stacks.txt", profile.collapsed().as_bytes())?;
    file("hotspots.txt", profile.hotspots(HOTSPOTS).as_bytes())
}

fn names(heap: &Heap) -> Names {
    Names::of(heap.sites.iter().flat_map(|site| &site.addresses))
}

/// The calls of a stack, the outermost first: from the first of ours on, if there is one. What of a library was inlined into ours is ours: who reads
/// `wrapping_add` learns nothing.
fn calls<'a>(names: &'a Names, addresses: &[u64]) -> Vec<&'a Frame> {
    let inward = addresses.iter().rev();
    let calls: Vec<&Frame> = inward
        .flat_map(|&address| names.frames(address).iter().rev())
        .filter(|frame| !frame.is_inlined || is_ours(frame))
        .collect();
    let first = calls.iter().position(|frame| is_ours(frame)).unwrap_or(0);
    calls[first..].to_vec()
}

/// Without the calls in which an allocation was noted.
fn without_allocator(mut calls: Vec<&Frame>) -> Vec<&Frame> {
    let is_allocator = |frame: &&Frame| {
        let begins = [
            "carnot_sampling::",
            "backtrace::",
            "__rust_",
            "__rustc::__rust_",
        ];
        begins.iter().any(|begin| frame.function.starts_with(begin))
    };
    if let Some(first) = calls.iter().position(is_allocator) {
        calls.truncate(first);
    }
    calls
}

fn is_ours(frame: &Frame) -> bool {
    let name = frame.function.trim_start_matches('<');
    name.starts_with("carnot") && !name.starts_with("carnot_sampling")
}

fn place(frame: &Frame) -> String {
    match frame {
        Frame { file, line: 0, .. } => file.clone(),
        Frame { file, line, .. } => format!("{file}:{line}"),
    }
}

/// Functions by index, each once.
#[derive(Default)]
struct Functions {
    all: Vec<Function>,
    known: HashMap<Function, u32>,
}

impl Functions {
    fn indices(&mut self, calls: &[&Frame]) -> Vec<u32> {
        calls.iter().map(|frame| self.index(frame)).collect()
    }

    fn index(&mut self, frame: &Frame) -> u32 {
        let function = Function {
            name: frame.function.clone(),
            file: frame.file.clone(),
        };
        if let Some(&index) = self.known.get(&function) {
            return index;
        }
        let index = self.all.len() as u32;
        self.all.push(function.clone());
        self.known.insert(function, index);
        index
    }
}
