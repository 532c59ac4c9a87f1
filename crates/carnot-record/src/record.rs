//! The envelope that all records share: a schema name, a version, and a reader that looks at both before anything else.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::Error;

/// Versioned data with a JSON form.
pub trait Record: Serialize + DeserializeOwned {
    /// The value of the field `schema`.
    const SCHEMA: &'static str;
    /// The newest version that is known, and the one that is written.
    const VERSION: u32;
    /// Whether the JSON is indented for people; records that grow with a run are not.
    const INDENTED: bool = true;

    /// Checks what types cannot say, such as that indexes point at something.
    fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    /// The JSON text, ending in a line feed.
    fn to_json(&self) -> String {
        let text = if Self::INDENTED {
            serde_json::to_string_pretty(self)
        } else {
            serde_json::to_string(self)
        };
        let mut text = text.expect("records hold only strings, numbers and lists of them");
        text.push('\n');
        text
    }

    /// Reads a record of this schema and of any version up to [`Record::VERSION`].
    fn from_json(text: &str) -> Result<Self, Error> {
        let json = |source| Error::Json {
            schema: Self::SCHEMA,
            source,
        };
        let header: Header = serde_json::from_str(text).map_err(json)?;
        header.check::<Self>()?;
        let record: Self = serde_json::from_str(text).map_err(json)?;
        record.validate()?;
        Ok(record)
    }
}

/// The two fields that every version of every record has.
#[derive(Deserialize)]
struct Header {
    schema: String,
    version: u32,
}

impl Header {
    fn check<R: Record>(self) -> Result<(), Error> {
        if self.schema != R::SCHEMA {
            return Err(Error::WrongSchema {
                expected: R::SCHEMA,
                found: self.schema,
            });
        }
        if self.version > R::VERSION {
            return Err(Error::NewerVersion {
                schema: R::SCHEMA,
                found: self.version,
                newest: R::VERSION,
            });
        }
        Ok(())
    }
}
