//! A reader of the protobuf wire format, written apart from the writer that it checks.

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(u64),
    Fixed(u64),
    Bytes(Vec<u8>),
}

/// The fields of a message in order.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(u64, Value)>);

impl Fields {
    pub fn read(bytes: &[u8]) -> Self {
        let mut rest = bytes;
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let key = varint(&mut rest);
            let value = match key & 7 {
                0 => Value::Number(varint(&mut rest)),
                1 => Value::Fixed(u64::from_le_bytes(
                    take(&mut rest, 8).try_into().expect("eight bytes"),
                )),
                2 => {
                    let length = varint(&mut rest) as usize;
                    Value::Bytes(take(&mut rest, length).to_vec())
                }
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, value));
        }
        Self(fields)
    }

    pub fn all(&self, field: u64) -> impl Iterator<Item = &Value> {
        self.0
            .iter()
            .filter(move |(number, _)| *number == field)
            .map(|(_, value)| value)
    }

    pub fn messages(&self, field: u64) -> Vec<Self> {
        let read = |value: &Value| match value {
            Value::Bytes(bytes) => Self::read(bytes),
            other => panic!("field {field} is {other:?}"),
        };
        self.all(field).map(read).collect()
    }

    pub fn message(&self, field: u64) -> Option<Self> {
        self.messages(field).into_iter().next()
    }

    pub fn number(&self, field: u64) -> Option<u64> {
        self.all(field).next().map(|value| match value {
            Value::Number(number) | Value::Fixed(number) => *number,
            Value::Bytes(_) => panic!("field {field} is not a number"),
        })
    }

    pub fn packed(&self, field: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        for value in self.all(field) {
            let Value::Bytes(bytes) = value else {
                panic!("field {field} is not packed")
            };
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                numbers.push(varint(&mut rest));
            }
        }
        numbers
    }

    pub fn texts(&self, field: u64) -> Vec<String> {
        let text = |value: &Value| match value {
            Value::Bytes(bytes) => String::from_utf8(bytes.clone()).expect("UTF-8"),
            other => panic!("field {field} is {other:?}"),
        };
        self.all(field).map(text).collect()
    }

    pub fn text(&self, field: u64) -> Option<String> {
        self.texts(field).into_iter().next()
    }
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let byte = take(rest, 1)[0];
        value |= u64::from(byte & 0x7f).wrapping_shl(shift);
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number of more than ten bytes");
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(count);
    *rest = left;
    taken
}
