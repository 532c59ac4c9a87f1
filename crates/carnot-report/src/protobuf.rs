//! The part of the protobuf wire format that Perfetto and pprof need: varints, fixed 64-bit numbers, strings, messages.
//!
//! Specification: <https://protobuf.dev/programming-guides/encoding/>. Fields of default value are written only where
//! the caller asks for them, as proto3 has it.

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;

impl Message {
    pub fn new() -> Self {
        Self::default()
    }

    /// An unsigned number, a boolean or an enumeration.
    pub fn number(mut self, field: u32, value: u64) -> Self {
        self.tag(field, VARINT);
        self.varint(value);
        self
    }

    /// A signed number (`int64`; not zigzag).
    pub fn signed(self, field: u32, value: i64) -> Self {
        self.number(field, value.cast_unsigned())
    }

    pub fn fixed64(mut self, field: u32, value: u64) -> Self {
        self.tag(field, FIXED64);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    pub fn double(self, field: u32, value: f64) -> Self {
        self.fixed64(field, value.to_bits())
    }

    pub fn text(self, field: u32, value: &str) -> Self {
        self.raw(field, value.as_bytes())
    }

    pub fn message(self, field: u32, value: &Self) -> Self {
        self.raw(field, &value.bytes)
    }

    /// A packed list of unsigned numbers.
    pub fn packed(self, field: u32, values: impl IntoIterator<Item = u64>) -> Self {
        let mut list = Self::new();
        values.into_iter().for_each(|value| list.varint(value));
        self.raw(field, &list.bytes)
    }

    pub fn append(&mut self, field: u32, value: &Self) {
        let message = std::mem::take(self);
        *self = message.message(field, value);
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn raw(mut self, field: u32, value: &[u8]) -> Self {
        self.tag(field, LENGTH);
        self.varint(value.len() as u64);
        self.bytes.extend(value);
        self
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    #[test]
    fn bytes_of_the_specification() {
        assert_eq!(
            Message::new().number(1, 150).into_bytes(),
            [0x08, 0x96, 0x01]
        );
        assert_eq!(
            Message::new().text(2, "testing").into_bytes(),
            b"\x12\x07testing"
        );
        assert_eq!(
            Message::new().packed(6, [3, 270, 86_942]).into_bytes(),
            b"\x32\x06\x03\x8e\x02\x9e\xa7\x05"
        );
        assert_eq!(
            Message::new().signed(1, -2).into_bytes(),
            b"\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"
        );
    }
}
