//! Places in the code: a name and a kind, registered once, known by a number from then on.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the events of a site stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Part of a run's life: load, tokenize, prefill, decode.
    Phase,
    /// One forward pass with its sampling.
    Step,
    /// One layer of a model.
    Layer,
    /// One parallel operation in 8-bit integers.
    OperationInt8,
    /// One parallel operation in single floats.
    OperationF32,
    /// Waiting at the barrier that ends an operation.
    Wait,
    /// Work between operations: scheduling, sampling, detokenising.
    Engine,
    /// A stage of a pipeline that is not a language model's.
    Stage,
    /// All that is done for one prompt.
    Prompt,
    /// One chunk of what a pipeline makes: the blocks between two looks at its memory.
    Chunk,
    /// One block of frames or tokens, made together.
    Block,
    /// Any other span.
    Other,
    /// A number over time.
    Counter,
    /// A point in time.
    Instant,
    /// An allocation or a release; the name is the owner's.
    Memory,
    /// Memory taken or given back at a place in the code, of a sample or of all; the name is the function's.
    Allocation,
    /// A hit, a miss or an eviction; the name is the cache's.
    Cache,
    /// A frame of a stream.
    Frame,
    /// An arrow from one span to another.
    Flow,
}

impl Kind {
    /// Whether events of this kind are intervals.
    pub fn is_span(self) -> bool {
        !matches!(
            self,
            Self::Counter
                | Self::Instant
                | Self::Memory
                | Self::Allocation
                | Self::Cache
                | Self::Frame
                | Self::Flow
        )
    }
}

/// What is known of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteInfo {
    /// The name.
    pub name: String,
    /// What its events stand for.
    pub kind: Kind,
    /// The source file, or empty.
    pub file: &'static str,
    /// The line, or 0.
    pub line: u32,
}

/// The number of a registered site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SiteId(pub(crate) u32);

static SITES: Mutex<Vec<SiteInfo>> = Mutex::new(Vec::new());

fn sites() -> MutexGuard<'static, Vec<SiteInfo>> {
    SITES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers a site whose name is known only at run time; the same name and kind give the same site.
///
/// Takes a lock: do it once, not per event.
pub fn site(name: &str, kind: Kind) -> SiteId {
    register(name, kind, "", 0)
}

/// The same for a place in the code that others keep the name of; `file` may be empty and `line` 0.
///
/// Takes a lock: do it once, not per event.
pub fn site_at(name: &str, kind: Kind, file: &'static str, line: u32) -> SiteId {
    register(name, kind, file, line)
}

fn register(name: &str, kind: Kind, file: &'static str, line: u32) -> SiteId {
    let mut sites = sites();
    let same = |known: &SiteInfo| {
        known.name == name && known.kind == kind && known.file == file && known.line == line
    };
    let index = sites.iter().position(same).unwrap_or_else(|| {
        sites.push(SiteInfo {
            name: name.to_owned(),
            kind,
            file,
            line,
        });
        sites.len() - 1
    });
    SiteId(index as u32)
}

/// All sites, in the order of their numbers.
pub(crate) fn all() -> Vec<SiteInfo> {
    sites().clone()
}

/// What is known of one.
#[cfg(feature = "nvtx")]
pub(crate) fn info(site: SiteId) -> SiteInfo {
    sites()[site.0 as usize].clone()
}

/// A place in the code, as the macro [`span!`](crate::span!) plants it: registered when it is first passed while recording.
#[derive(Debug)]
pub struct CallSite {
    name: &'static str,
    kind: Kind,
    file: &'static str,
    line: u32,
    /// The site's number plus one; 0 until registered.
    id: AtomicU32,
}

impl CallSite {
    /// A place that is not registered yet.
    pub const fn new(name: &'static str, kind: Kind, file: &'static str, line: u32) -> Self {
        Self {
            name,
            kind,
            file,
            line,
            id: AtomicU32::new(0),
        }
    }

    /// The number of the site: one relaxed load after the first time.
    #[inline]
    pub fn id(&self) -> SiteId {
        match self.id.load(Ordering::Relaxed) {
            0 => self.register(),
            id => SiteId(id - 1),
        }
    }

    #[cold]
    fn register(&self) -> SiteId {
        let id = register(self.name, self.kind, self.file, self.line);
        self.id.store(id.0 + 1, Ordering::Relaxed);
        id
    }
}
