//! The hash of all that a result depends on, and of whose it is.

use std::fmt;

use ring::digest::{Context, SHA256};

/// Names a result: a SHA-256 of everything that was told, so that results collide as rarely as hashes do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 32]);

impl Key {
    /// Begins a key: whose the result is, and the content hash and version of what computes it. Tenants never see each other's results.
    pub fn of(tenant: &str, model: &str) -> KeyBuilder {
        KeyBuilder(Context::new(&SHA256))
            .with("tenant", tenant.as_bytes())
            .with("model", model.as_bytes())
    }

    /// The hash.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its first eight bytes, for samples of keys and for the probe.
    pub fn short(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(first)
    }

    /// The key that `hexadecimal` writes.
    pub(crate) fn parse(hexadecimal: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if hexadecimal.len() != 64 || !hexadecimal.is_ascii() {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hexadecimal[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that is being made. The order in which parts are told counts.
pub struct KeyBuilder(Context);

impl KeyBuilder {
    /// One part more. Names and values go in with their lengths, so that no two lists of parts run together.
    #[must_use]
    pub fn with(mut self, name: &str, value: &[u8]) -> Self {
        for part in [name.as_bytes(), value] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// The key.
    pub fn finish(self) -> Key {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.finish().as_ref());
        Key(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts_and_none_run_together() {
        let keys = [
            Key::of("a", "m").finish(),
            Key::of("b", "m").finish(),
            Key::of("a", "n").finish(),
            Key::of("am", "").finish(),
            Key::of("a", "m").with("x", b"1").finish(),
            Key::of("a", "m").with("x", b"2").finish(),
            Key::of("a", "m").with("x1", b"").finish(),
            Key::of("a", "m").with("x", b"1").with("y", b"").finish(),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[index + 1..].contains(key), "{index}");
        }
        assert_eq!(keys[4], Key::of("a", "m").with("x", b"1").finish());
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let key = Key::of("a", "m").finish();
        assert_eq!(Key::parse(&key.to_string()), Some(key));
        assert_eq!(Key::parse(&key.to_string()[1..]), None);
        assert_eq!(Key::parse(&"é".repeat(32)), None);
    }
}
