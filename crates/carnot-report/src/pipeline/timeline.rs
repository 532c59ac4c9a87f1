//! The spans that a page can show: the longest of the part of the session that is looked at.

use std::io::{self, Read, Seek};

use carnot_record::trace_file::{EventKind, EventSite, Occurrence, SpanTimes, TraceReader};
use carnot_record::{SpanKind, Thread};
use serde::Serialize;

/// No more than this are kept, the longest; a page of so many is some megabytes.
const MOST: usize = 60_000;

/// Spans as columns of numbers, as the page's script draws them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Timeline {
    end_ns: u64,
    lanes: Vec<String>,
    sites: Vec<Named>,
    hidden: usize,
    hidden_below_ns: u64,
    lane: Vec<u32>,
    depth: Vec<u32>,
    site: Vec<u32>,
    start_ns: Vec<u64>,
    duration_ns: Vec<u64>,
    layer: Vec<Option<u32>>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Named {
    name: String,
    kind: SpanKind,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    thread: u32,
    site: u32,
    start_ns: u64,
    end_ns: u64,
    index: Option<u32>,
}

/// Collects the spans of a window.
#[derive(Debug)]
pub struct TimelineBuilder {
    from_ns: u64,
    to_ns: u64,
    shortest_ns: u64,
    kept: Vec<Kept>,
    hidden: usize,
}

impl TimelineBuilder {
    /// The longest of what lies between `from_ns` and `to_ns`.
    pub fn new(from_ns: u64, to_ns: u64) -> Self {
        Self {
            from_ns,
            to_ns,
            shortest_ns: 0,
            kept: Vec::new(),
            hidden: 0,
        }
    }

    /// The spans of a trace file that can be seen of a window; of all of it where none is given.
    pub fn read<R: Read + Seek>(
        file: &mut TraceReader<R>,
        window: Option<(u64, u64)>,
    ) -> io::Result<Timeline> {
        let (from_ns, to_ns) = window.unwrap_or((0, file.length_ns()));
        let mut builder = Self::new(from_ns, to_ns);
        file.for_each(|_, site, occurrence| {
            if let Occurrence::Span { times, index, .. } = occurrence {
                builder.take(times, site, index);
            }
        })?;
        Ok(builder.finish(file.sites(), file.threads()))
    }

    /// A span of site number `site`.
    pub fn take(&mut self, times: SpanTimes, site: u32, index: Option<u32>) {
        let SpanTimes {
            thread,
            start_ns,
            end_ns,
        } = times;
        if end_ns < self.from_ns || start_ns > self.to_ns {
            return;
        }
        if end_ns - start_ns < self.shortest_ns {
            self.hidden += 1;
            return;
        }
        self.kept.push(Kept {
            thread,
            site,
            start_ns,
            end_ns,
            index,
        });
        if self.kept.len() >= 2 * MOST {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        let length = |kept: &Kept| kept.end_ns - kept.start_ns;
        self.kept
            .select_nth_unstable_by_key(MOST, |kept| std::cmp::Reverse(length(kept)));
        self.shortest_ns = self.shortest_ns.max(length(&self.kept[MOST]) + 1);
        self.hidden += self.kept.len() - MOST;
        self.kept.truncate(MOST);
    }

    /// The columns. Lanes are threads by number that have something to show.
    pub fn finish(mut self, sites: &[EventSite], threads: &[Thread]) -> Timeline {
        if self.kept.len() > MOST {
            self.shorten();
        }
        self.kept
            .sort_by_key(|kept| (kept.thread, kept.start_ns, std::cmp::Reverse(kept.end_ns)));
        let mut timeline = Timeline {
            end_ns: self.kept.iter().map(|kept| kept.end_ns).max().unwrap_or(0),
            hidden: self.hidden,
            hidden_below_ns: self.shortest_ns,
            sites: sites
                .iter()
                .map(|site| Named {
                    name: site.name.clone(),
                    kind: match site.kind {
                        EventKind::Span(kind, _) => kind,
                        _ => SpanKind::Other,
                    },
                })
                .collect(),
            ..Timeline::default()
        };
        let mut open: Vec<u64> = Vec::new();
        let mut thread = None;
        for kept in &self.kept {
            if thread.replace(kept.thread) != Some(kept.thread) {
                let name = threads
                    .get(kept.thread as usize)
                    .map(|thread| thread.name.clone());
                timeline
                    .lanes
                    .push(name.unwrap_or_else(|| format!("thread {}", kept.thread)));
                open.clear();
            }
            while open
                .pop_if(|end| *end <= kept.start_ns || *end < kept.end_ns)
                .is_some()
            {}
            timeline.lane.push(timeline.lanes.len() as u32 - 1);
            timeline.depth.push(open.len() as u32);
            timeline.site.push(kept.site);
            timeline.start_ns.push(kept.start_ns);
            timeline.duration_ns.push(kept.end_ns - kept.start_ns);
            timeline.layer.push(kept.index);
            open.push(kept.end_ns);
        }
        timeline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_a_window_nest_on_their_lanes() {
        let mut builder = TimelineBuilder::new(0, 30_000);
        let span = |thread, start_ns, end_ns| SpanTimes {
            thread,
            start_ns,
            end_ns,
        };
        for times in [
            span(0, 10, 15),
            span(0, 100, 200),
            span(0, 120, 180),
            span(0, 200, 300),
            span(3, 0, 30_000),
            span(0, 31_000, 32_000),
        ] {
            builder.take(times, 0, None);
        }
        let found = builder.finish(&[], &[]);
        assert_eq!((found.hidden, found.lanes.len()), (0, 2));
        assert_eq!(
            (found.depth, found.lane),
            (vec![0, 0, 1, 0, 0], vec![0, 0, 0, 0, 1])
        );
    }

    #[test]
    fn a_million_spans_are_the_longest_sixty_thousand() {
        let mut builder = TimelineBuilder::new(0, 1000);
        for at in 0..300_000_u64 {
            builder.take(
                SpanTimes {
                    thread: 0,
                    start_ns: 0,
                    end_ns: at % 1000,
                },
                0,
                None,
            );
        }
        let found = builder.finish(&[], &[]);
        assert_eq!(found.start_ns.len() + found.hidden, 300_000);
        assert!(found.start_ns.len() <= MOST && found.duration_ns.iter().all(|ns| *ns > 700));
    }
}
