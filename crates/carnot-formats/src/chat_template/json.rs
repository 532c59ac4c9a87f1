//! `tojson` as transformers has it, which is Python's `json.dumps`: models were trained on its spaces.

use std::io;

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{Formatter, PrettyFormatter};

/// The filter. Of Python's arguments it takes `indent` and `separators`; nothing is ever escaped to ASCII.
#[expect(
    clippy::needless_pass_by_value,
    reason = "filters take their arguments so"
)]
pub(super) fn to_json(value: &Value, arguments: Kwargs) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let written = if let Some(indent) = arguments.get::<Option<usize>>("indent")? {
        let spaces = " ".repeat(indent);
        let pretty = PrettyFormatter::with_indent(spaces.as_bytes());
        value.serialize(&mut Serializer::with_formatter(&mut bytes, pretty))
    } else {
        let separators = arguments.get::<Option<Vec<String>>>("separators")?;
        let [item, key] = match separators.as_deref() {
            Some([item, key]) => [item.clone(), key.clone()],
            _ => [", ".to_owned(), ": ".to_owned()],
        };
        let separated = Separated { item, key };
        value.serialize(&mut Serializer::with_formatter(&mut bytes, separated))
    };
    let failed = |error: String| Error::new(ErrorKind::BadSerialization, error);
    written.map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

/// JSON on one line with chosen separators.
struct Separated {
    item: String,
    key: String,
}

impl Separated {
    fn before_item(
        &self,
        is_first: bool,
        writer: &mut (impl ?Sized + io::Write),
    ) -> io::Result<()> {
        if is_first {
            return Ok(());
        }
        writer.write_all(self.item.as_bytes())
    }
}

impl Formatter for Separated {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.before_item(first, writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.before_item(first, writer)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key.as_bytes())
    }
}
