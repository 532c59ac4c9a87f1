//! From the probe's words to those of a trace file.

use carnot_probe::Kind;
use carnot_record::trace_file::{EventKind, EventSite, RawEvent};
use carnot_record::{Arithmetic, SpanKind};

/// A site as the file has it.
pub fn site(info: &carnot_probe::SiteInfo) -> EventSite {
    EventSite {
        name: info.name.clone(),
        kind: kind(info.kind),
        file: info.file.to_owned(),
        line: info.line,
    }
}

fn kind(kind: Kind) -> EventKind {
    let span = |kind| EventKind::Span(kind, Arithmetic::None);
    match kind {
        Kind::Phase => span(SpanKind::Phase),
        Kind::Step => span(SpanKind::Step),
        Kind::Layer => EventKind::Span(SpanKind::Layer, Arithmetic::F32),
        Kind::OperationInt8 => EventKind::Span(SpanKind::Operation, Arithmetic::Int8),
        Kind::OperationF32 => EventKind::Span(SpanKind::Operation, Arithmetic::F32),
        Kind::Wait => span(SpanKind::Wait),
        Kind::Engine => span(SpanKind::Engine),
        Kind::Stage => span(SpanKind::Stage),
        Kind::Prompt => span(SpanKind::Prompt),
        Kind::Chunk => span(SpanKind::Chunk),
        Kind::Block => span(SpanKind::Block),
        Kind::Counter => EventKind::Counter,
        Kind::Instant => EventKind::Instant,
        Kind::Memory => EventKind::Memory,
        Kind::Allocation => EventKind::Allocation,
        Kind::Cache => EventKind::Cache,
        Kind::Frame => EventKind::Frame,
        Kind::Flow => EventKind::Flow,
        _ => span(SpanKind::Other),
    }
}

/// An event as the file has it.
pub fn event(event: &carnot_probe::RawEvent) -> RawEvent {
    RawEvent {
        site: event.site,
        track: event.track,
        start: event.start,
        end: event.end,
        layer: event.layer,
        tokens: event.tokens,
        flops: event.flops,
        bytes: event.bytes,
        working_set_bytes: event.working_set_bytes,
        sequence_and_request: event.sequence_and_request,
    }
}
