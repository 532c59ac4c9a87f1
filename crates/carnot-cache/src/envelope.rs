//! How a value lies in files and in Redis: what was cut, damaged or is not ours is a miss.
//!
//! ```text
//! 0   4  "CRN1"
//! 4   4  CRC-32 of all that follows
//! 8   8  when it ends, in milliseconds since 1970; 0 for never
//! 16  32 its key
//! 48     the value
//! ```
//! Numbers are little-endian.

use std::time::{Duration, SystemTime};

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::Key;

const MAGIC: &[u8; 4] = b"CRN1";
/// Bytes before the value.
pub(crate) const HEADER: usize = 48;

/// A value and when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub value: Bytes,
    /// Since 1970; `None` for never.
    pub ends: Option<Duration>,
}

impl Entry {
    /// How long it is still good for: `None` for ever, nothing if it has ended.
    pub fn left(&self, now: Duration) -> Option<Duration> {
        self.ends.map(|ends| ends.saturating_sub(now))
    }

    pub fn has_ended(&self, now: Duration) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

/// Since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

pub(crate) fn seal(key: &Key, entry: &Entry) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEADER + entry.value.len());
    bytes.put_slice(MAGIC);
    bytes.put_u32_le(0);
    bytes.put_u64_le(
        entry
            .ends
            .map_or(0, |ends| (ends.as_millis() as u64).max(1)),
    );
    bytes.put_slice(key.bytes());
    bytes.put_slice(&entry.value);
    let sum = crc32fast::hash(&bytes[8..]);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes.freeze()
}

/// What `bytes` hold for `key`, if they are whole and its.
pub(crate) fn open(key: &Key, bytes: &Bytes) -> Option<Entry> {
    if bytes.len() < HEADER || &bytes[..4] != MAGIC || &bytes[16..HEADER] != key.bytes() {
        return None;
    }
    if bytes[4..8] != crc32fast::hash(&bytes[8..]).to_le_bytes() {
        return None;
    }
    let mut ends = [0; 8];
    ends.copy_from_slice(&bytes[8..16]);
    let ends = match u64::from_le_bytes(ends) {
        0 => None,
        ends => Some(Duration::from_millis(ends)),
    };
    let value = bytes.slice(HEADER..);
    Some(Entry { value, ends })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_opens() {
        let (key, other) = (Key::of("a", "m").finish(), Key::of("b", "m").finish());
        let entry = Entry {
            value: Bytes::from_static(b"four"),
            ends: Some(Duration::from_millis(1234)),
        };
        let sealed = seal(&key, &entry);
        assert_eq!(open(&key, &sealed), Some(entry));
        assert_eq!(open(&other, &sealed), None, "somebody else's");
        for length in 0..sealed.len() {
            assert_eq!(open(&key, &sealed.slice(..length)), None, "cut at {length}");
        }
        for at in 0..sealed.len() {
            let mut damaged = sealed.to_vec();
            damaged[at] ^= 0x10;
            assert_eq!(open(&key, &damaged.into()), None, "damaged at {at}");
        }
    }

    #[test]
    fn values_end() {
        let at = Duration::from_secs;
        let entry = |ends| Entry {
            value: Bytes::new(),
            ends,
        };
        assert!(!entry(None).has_ended(at(9)) && entry(None).left(at(9)).is_none());
        assert!(entry(Some(at(9))).has_ended(at(9)) && !entry(Some(at(9))).has_ended(at(8)));
        assert_eq!(entry(Some(at(9))).left(at(8)), Some(at(1)));
    }
}
