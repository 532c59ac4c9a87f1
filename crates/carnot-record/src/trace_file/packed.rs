//! Events in few bytes: what is the same as before, or not there, takes none.
//!
//! ```text
//! flags   which of the fields below differ from their default
//! site    varint                         track   varint, if another than that of the event before
//! start   zigzag varint, from the end of the event before       end   varint, from start (spans) or as it is
//! layer, tokens, flops, bytes, working_set_bytes, sequence_and_request    varints
//! ```

/// An event as the probe records it. What its fields hold depends on the kind of its site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEvent {
    /// Index of the site.
    pub site: u32,
    /// The thread's number.
    pub track: u32,
    /// Begin, in ticks.
    pub start: u64,
    /// End, in ticks, of a span; else as `probe` fills it.
    pub end: u64,
    /// Layer, index, occupancy; `u32::MAX` for none.
    pub layer: u32,
    /// Tokens, items, the number of a frame, the outcome of a look-up.
    pub tokens: u32,
    /// Operations, or an identity.
    pub flops: u64,
    /// Bytes, or the bits of a value.
    pub bytes: u64,
    /// The memory gone through, or the time of sending.
    pub working_set_bytes: u64,
    /// Sequence in the upper half, request in the lower; all ones for neither.
    pub sequence_and_request: u64,
}

impl Default for RawEvent {
    fn default() -> Self {
        Self {
            site: 0,
            track: 0,
            start: 0,
            end: 0,
            layer: u32::MAX,
            tokens: 0,
            flops: 0,
            bytes: 0,
            working_set_bytes: 0,
            sequence_and_request: u64::MAX,
        }
    }
}

const TRACK: u8 = 1;
/// `end` counts from `start`.
const LENGTH: u8 = 2;
const LAYER: u8 = 4;
const TOKENS: u8 = 8;
/// Operations, bytes and working set.
const WORK: u8 = 16;
const SEQUENCE: u8 = 32;
/// `end` stands as it is.
const END: u8 = 64;

/// The event before, as far as the next one leans on it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    track: u32,
    end: u64,
}

impl Before {
    fn next(event: &RawEvent) -> Self {
        Self {
            track: event.track,
            end: if event.end >= event.start {
                event.end
            } else {
                event.start
            },
        }
    }
}

/// Appends `event` to `out`.
pub(super) fn pack(event: &RawEvent, before: &mut Before, out: &mut Vec<u8>) {
    let flag = |is_there: bool, flag: u8| if is_there { flag } else { 0 };
    let has_work = event.flops | event.bytes | event.working_set_bytes != 0;
    let flags = flag(event.track != before.track, TRACK)
        | flag(event.end >= event.start, LENGTH)
        | flag(event.end < event.start && event.end != 0, END)
        | flag(event.layer != u32::MAX, LAYER)
        | flag(event.tokens != 0, TOKENS)
        | flag(has_work, WORK)
        | flag(event.sequence_and_request != u64::MAX, SEQUENCE);
    out.push(flags);
    put(event.site.into(), out);
    if flags & TRACK != 0 {
        put(event.track.into(), out);
    }
    put(
        zigzag(event.start.wrapping_sub(before.end).cast_signed()),
        out,
    );
    if flags & LENGTH != 0 {
        put(event.end - event.start, out);
    } else if flags & END != 0 {
        put(event.end, out);
    }
    if flags & LAYER != 0 {
        put(event.layer.into(), out);
    }
    if flags & TOKENS != 0 {
        put(event.tokens.into(), out);
    }
    if flags & WORK != 0 {
        [event.flops, event.bytes, event.working_set_bytes]
            .into_iter()
            .for_each(|value| put(value, out));
    }
    if flags & SEQUENCE != 0 {
        // Without a request the lower half is all ones, which would take five bytes more.
        put(
            event
                .sequence_and_request
                .rotate_left(32)
                .wrapping_add(1 << 32),
            out,
        );
    }
    *before = Before::next(event);
}

/// The next event of `content`, which is moved past it; `None` where nothing whole is left.
pub(super) fn unpack(content: &mut &[u8], before: &mut Before) -> Option<RawEvent> {
    let (&flags, rest) = content.split_first()?;
    *content = rest;
    let small = |content: &mut &[u8]| take(content).and_then(|value| u32::try_from(value).ok());
    let mut event = RawEvent {
        site: small(content)?,
        track: before.track,
        ..RawEvent::default()
    };
    if flags & TRACK != 0 {
        event.track = small(content)?;
    }
    let apart = unzigzag(take(content)?);
    event.start = before.end.wrapping_add(apart.cast_unsigned());
    if flags & LENGTH != 0 {
        event.end = event.start.wrapping_add(take(content)?);
    } else if flags & END != 0 {
        event.end = take(content)?;
    }
    if flags & LAYER != 0 {
        event.layer = small(content)?;
    }
    if flags & TOKENS != 0 {
        event.tokens = small(content)?;
    }
    if flags & WORK != 0 {
        event.flops = take(content)?;
        event.bytes = take(content)?;
        event.working_set_bytes = take(content)?;
    }
    if flags & SEQUENCE != 0 {
        event.sequence_and_request = take(content)?.wrapping_sub(1 << 32).rotate_right(32);
    }
    *before = Before::next(&event);
    Some(event)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Seven bits a byte, the lowest first; all but the last have the eighth set.
#[inline]
fn put(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
fn take(content: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, &byte) in content.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *content = &content[index + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_as_they_were() {
        let events = [
            RawEvent {
                start: 1000,
                end: 1500,
                ..RawEvent::default()
            },
            RawEvent {
                site: 300,
                track: 2,
                start: 900,
                end: 1600,
                layer: 3,
                tokens: 7,
                ..RawEvent::default()
            },
            // A frame, whose end is a length; a counter, whose bytes are bits of a number; a request without a sequence.
            RawEvent {
                track: 2,
                start: 2000,
                end: 12,
                sequence_and_request: 1 << 32 | 5,
                ..RawEvent::default()
            },
            RawEvent {
                track: 2,
                start: 2001,
                bytes: (-1.5_f64).to_bits(),
                ..RawEvent::default()
            },
            RawEvent {
                start: u64::MAX,
                end: u64::MAX,
                flops: u64::MAX,
                sequence_and_request: 0xffff_ffff_0000_0009,
                ..RawEvent::default()
            },
            RawEvent {
                start: 0,
                end: u64::MAX,
                sequence_and_request: 0,
                ..RawEvent::default()
            },
        ];
        let (mut out, mut before) = (Vec::new(), Before::default());
        events
            .iter()
            .for_each(|event| pack(event, &mut before, &mut out));
        let (mut content, mut before) = (out.as_slice(), Before::default());
        for event in events {
            assert_eq!(unpack(&mut content, &mut before), Some(event));
        }
        assert!(content.is_empty());
    }

    #[test]
    fn a_span_beside_the_one_before_takes_four_bytes() {
        let mut out = Vec::new();
        let mut before = Before {
            track: 0,
            end: 1_000_000,
        };
        let event = RawEvent {
            site: 5,
            start: 1_000_050,
            end: 1_000_150,
            ..RawEvent::default()
        };
        pack(&event, &mut before, &mut out);
        assert_eq!(out.len(), 4);
    }

    #[test]
    fn what_is_cut_is_nothing() {
        let mut out = Vec::new();
        let event = RawEvent {
            start: 1 << 40,
            end: 1 << 41,
            flops: 1 << 50,
            ..RawEvent::default()
        };
        pack(&event, &mut Before::default(), &mut out);
        for length in 0..out.len() {
            assert_eq!(
                unpack(&mut &out[..length], &mut Before::default()),
                None,
                "{length}"
            );
        }
    }
}
