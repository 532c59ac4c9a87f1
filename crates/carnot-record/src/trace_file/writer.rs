//! Writing a trace file, frame by frame.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::packed::{Before, pack};
use super::{ClockPoint, EventSite, MAGIC, Names, RawEvent, VERSION, checksum};
use crate::{Note, Session, Thread};

/// Events of one frame: some hundred kilobytes.
const EVENTS: usize = 32 * 1024;

/// Writes a trace file. Each call leaves whole frames in `out`; whoever wants them to outlive the process flushes that.
#[derive(Debug)]
pub struct TraceWriter<W> {
    out: W,
    sites: usize,
    threads: usize,
    content: Vec<u8>,
}

impl<W: Write> TraceWriter<W> {
    /// Begins a file.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        Ok(Self {
            out,
            sites: 0,
            threads: 0,
            content: Vec::new(),
        })
    }

    /// What the session says of itself from now on.
    pub fn session(&mut self, session: &Session) -> io::Result<()> {
        self.json(b'S', session)
    }

    /// All sites and threads that there are, in the order of their numbers; those that were written before are not written again.
    pub fn names(&mut self, sites: &[EventSite], threads: &[Thread]) -> io::Result<()> {
        let names = Names {
            sites: sites.get(self.sites..).unwrap_or_default().to_vec(),
            threads: threads.get(self.threads..).unwrap_or_default().to_vec(),
        };
        if names.sites.is_empty() && names.threads.is_empty() {
            return Ok(());
        }
        self.json(b'N', &names)?;
        (self.sites, self.threads) = (sites.len(), threads.len());
        Ok(())
    }

    /// A moment: one before the first events, and one after each lot of them.
    pub fn clock(&mut self, point: ClockPoint) -> io::Result<()> {
        let mut content = [0; 24];
        for (place, value) in content.chunks_exact_mut(8).zip([
            point.ticks,
            point.ns_per_tick.to_bits(),
            point.unix_ns,
        ]) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        self.frame(b'C', &content)
    }

    /// Events whose names were written before.
    pub fn events(&mut self, events: impl IntoIterator<Item = RawEvent>) -> io::Result<()> {
        let mut events = events.into_iter().peekable();
        let mut content = std::mem::take(&mut self.content);
        while events.peek().is_some() {
            content.clear();
            let mut before = Before::default();
            for event in events.by_ref().take(EVENTS) {
                pack(&event, &mut before, &mut content);
            }
            self.frame(b'E', &content)?;
        }
        self.content = content;
        Ok(())
    }

    /// Events that were lost since the last time, by the number of their site.
    pub fn lost(&mut self, by_site: &BTreeMap<u32, u64>) -> io::Result<()> {
        if by_site.is_empty() {
            return Ok(());
        }
        self.json(b'D', by_site)
    }

    /// Something that the author wanted noted; its time is in ticks.
    pub fn note(&mut self, note: &Note) -> io::Result<()> {
        self.json(b'J', note)
    }

    /// Hands on what was written so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn json(&mut self, kind: u8, value: &impl Serialize) -> io::Result<()> {
        self.frame(kind, &serde_json::to_vec(value)?)
    }

    fn frame(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.out.write_all(&[kind])?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&checksum(content).to_le_bytes())?;
        self.out.write_all(content)
    }
}
