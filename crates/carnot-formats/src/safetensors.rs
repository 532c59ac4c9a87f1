//! Safetensors: a length, a JSON header, then the tensors' bytes without gaps. Reader and writer.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;

use carnot_kernels::blocks::BlockType;
use serde::{Deserialize, Serialize};

use crate::error::{Error, File};
use crate::gguf::tensor_bytes;

/// The format's own limit on the header.
const MOST_HEADER_BYTES: u64 = 100_000_000;

/// One tensor of a file.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorInfo {
    /// The name, as in the file.
    pub name: String,
    /// Row-major, outermost first.
    pub shape: Vec<usize>,
    /// F32, F16 or BF16.
    pub dtype: BlockType,
    /// Where in the file the data lie.
    pub data: Range<usize>,
}

#[derive(Deserialize, Serialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// A header's values: tensors, and under one name something else.
#[derive(Deserialize)]
#[serde(untagged)]
enum HeaderValue {
    Tensor(Entry),
    Metadata(serde::de::IgnoredAny),
}

/// Reads the header of the file `name`, whose bytes are `bytes`; tensors come in the order of their data.
pub fn read(name: &str, bytes: &[u8]) -> Result<Vec<TensorInfo>, Error> {
    let file = File(name);
    let (length, rest) = bytes
        .split_first_chunk()
        .ok_or_else(|| file.malformed("header length", "8 bytes", bytes.len()))?;
    let length = u64::from_le_bytes(*length);
    let most = (rest.len() as u64).min(MOST_HEADER_BYTES);
    if length > most {
        return Err(file.malformed("header length", format!("at most {most}"), length));
    }
    let (header, data) = rest.split_at(length as usize);
    let Header(entries) = serde_json::from_slice(header).map_err(|error| file.json(error))?;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        match value {
            HeaderValue::Metadata(_) if name == "__metadata__" => {}
            HeaderValue::Metadata(_) => {
                return Err(file.malformed(name, "a tensor", "something else"));
            }
            HeaderValue::Tensor(entry) => tensors.push(check(file, name, entry)?),
        }
    }
    place(file, tensors, 8 + length as usize, data.len())
}

/// The header as a list, so that a name that comes twice is seen.
struct Header(Vec<(String, HeaderValue)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Header;

            fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Header, A::Error> {
                let mut entries = Vec::new();
                let mut seen = std::collections::HashSet::new();
                while let Some((name, value)) = map.next_entry::<String, HeaderValue>()? {
                    if !seen.insert(name.clone()) {
                        return Err(serde::de::Error::custom(format!(
                            "tensor {name} comes twice"
                        )));
                    }
                    entries.push((name, value));
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// The tensor with its offsets still relative to the data.
fn check(file: File, name: String, entry: Entry) -> Result<TensorInfo, Error> {
    let dtype = match entry.dtype.as_str() {
        "F32" => BlockType::F32,
        "F16" => BlockType::F16,
        "BF16" => BlockType::BF16,
        _ => {
            return Err(Error::UnsupportedTensorType {
                file: file.0.to_owned(),
                tensor: name,
                found: entry.dtype,
            });
        }
    };
    let [begin, end] = entry.data_offsets;
    // A scalar has no dimensions, and one element.
    let shape = if entry.shape.is_empty() {
        vec![1]
    } else {
        entry.shape
    };
    match tensor_bytes(&shape, dtype) {
        Some(bytes) if end.checked_sub(begin) == Some(bytes) => Ok(TensorInfo {
            name,
            shape,
            dtype,
            data: begin..end,
        }),
        bytes => {
            let expected = bytes.map_or("a shape that fits in memory".to_owned(), |bytes| {
                format!("{bytes} bytes")
            });
            Err(file.malformed(
                format!("data_offsets of {name}"),
                expected,
                format!("{begin} to {end}"),
            ))
        }
    }
}

/// Tensors must cover the data without gap or overlap.
fn place(
    file: File,
    mut tensors: Vec<TensorInfo>,
    start: usize,
    available: usize,
) -> Result<Vec<TensorInfo>, Error> {
    tensors.sort_by_key(|tensor| (tensor.data.start, tensor.data.end));
    let mut reached = 0;
    for tensor in &mut tensors {
        if tensor.data.start != reached {
            return Err(file.malformed(
                format!("data_offsets of {}", tensor.name),
                format!("a start at {reached}"),
                tensor.data.start,
            ));
        }
        reached = tensor.data.end;
        if reached > available {
            return Err(file.malformed(
                format!("data_offsets of {}", tensor.name),
                format!("an end by {available}"),
                reached,
            ));
        }
        tensor.data = start + tensor.data.start..start + tensor.data.end;
    }
    if reached != available {
        return Err(file.malformed("data", format!("{reached} bytes"), available));
    }
    Ok(tensors)
}

/// A tensor to write.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor<'a> {
    /// The name.
    pub name: &'a str,
    /// Row-major, outermost first.
    pub shape: &'a [usize],
    /// F32, F16 or BF16.
    pub dtype: BlockType,
    /// Exactly the tensor's bytes.
    pub data: &'a [u8],
}

/// Writes one file.
///
/// # Panics
///
/// If a tensor is quantised: the format has no such types.
pub fn write(
    tensors: &[Tensor],
    metadata: &BTreeMap<String, String>,
    mut out: impl Write,
) -> io::Result<()> {
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), serde_json::json!(metadata));
    }
    let mut offset = 0;
    for tensor in tensors {
        assert!(
            !tensor.dtype.is_quantized(),
            "safetensors has no type {}",
            tensor.dtype
        );
        let data_offsets = [offset, offset + tensor.data.len()];
        let entry = Entry {
            dtype: tensor.dtype.name().to_owned(),
            shape: tensor.shape.to_vec(),
            data_offsets,
        };
        header.insert(tensor.name.to_owned(), serde_json::json!(entry));
        offset += tensor.data.len();
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    tensors
        .iter()
        .try_for_each(|tensor| out.write_all(tensor.data))?;
    out.flush()
}

/// The shards that an index file names, each once.
pub(crate) fn shards(file: File, index: &[u8]) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).map_err(|error| file.json(error))?;
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort_unstable();
    names.dedup();
    match names.iter().find(|name| !is_plain_name(name)) {
        Some(name) => Err(file.malformed("weight_map", "files beside the index", name)),
        None => Ok(names),
    }
}

/// A shard's name must not lead out of the model's directory.
fn is_plain_name(name: &str) -> bool {
    std::path::Path::new(name)
        .file_name()
        .is_some_and(|file| file == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 7);
        bytes
    }

    fn message(header: &str, data: usize) -> String {
        read("f", &file(header, data))
            .expect_err("the file is broken")
            .to_string()
    }

    #[test]
    fn what_is_written_is_read() {
        let a = Tensor {
            name: "a",
            shape: &[2, 3],
            dtype: BlockType::F16,
            data: &[1; 12],
        };
        let b = Tensor {
            name: "b",
            shape: &[1],
            dtype: BlockType::F32,
            data: &[2; 4],
        };
        let mut bytes = Vec::new();
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        write(&[a, b], &metadata, &mut bytes).unwrap();
        let read = read("f", &bytes).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(
            (read[0].name.as_str(), &read[0].shape[..], read[0].dtype),
            ("a", &[2, 3][..], BlockType::F16)
        );
        assert_eq!(bytes[read[0].data.clone()], [1; 12]);
        assert_eq!(bytes[read[1].data.clone()], [2; 4]);
    }

    #[test]
    fn damage_is_named() {
        let one = |offsets: &str| {
            format!(r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}}}"#)
        };
        assert!(read("f", &file(&one("[0,8]"), 8)).is_ok());
        assert_eq!(
            message(&one("[0,8]"), 7),
            "f: data_offsets of a: expected an end by 7, found 8"
        );
        assert_eq!(
            message(&one("[0,8]"), 9),
            "f: data: expected 8 bytes, found 9"
        );
        assert_eq!(
            message(&one("[4,12]"), 12),
            "f: data_offsets of a: expected a start at 0, found 4"
        );
        assert_eq!(
            message(&one("[0,4]"), 4),
            "f: data_offsets of a: expected 8 bytes, found 0 to 4"
        );
        assert_eq!(
            message(&one("[8,0]"), 8),
            "f: data_offsets of a: expected 8 bytes, found 8 to 0"
        );
        assert_eq!(
            message(&one("[0,8]").replace("F32", "I64"), 8),
            "f: tensor a is stored as I64, which is not supported"
        );
        assert!(
            message(&one("[0,8]").replace("[2]", "[4294967296,4294967296,2]"), 8)
                .contains("fits in memory")
        );
        assert!(message(r#"{"a":{"x":"y"}}"#, 0).contains("a: expected a tensor"));
        let twice = one("[0,8]").replace(
            "}}",
            r#"},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#,
        );
        assert!(message(&twice, 16).contains("tensor a comes twice"));
        assert!(read("f", &[1, 0, 0]).is_err());
        assert!(
            read("f", &[0xff; 64])
                .unwrap_err()
                .to_string()
                .contains("header length: expected at most 56")
        );
    }

    #[test]
    fn shards_stay_in_their_directory() {
        let index = |name: &str| format!(r#"{{"weight_map":{{"a":"{name}","b":"{name}"}}}}"#);
        assert_eq!(
            shards(File("i"), index("m-1.safetensors").as_bytes()).unwrap(),
            ["m-1.safetensors"]
        );
        for name in ["../m.safetensors", "/etc/m", "a/b", "", ".."] {
            assert!(shards(File("i"), index(name).as_bytes()).is_err(), "{name}");
        }
    }
}
