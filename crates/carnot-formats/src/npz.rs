//! `.npz` files, in which `NumPy` keeps arrays by name: a ZIP archive of `.npy` files, stored or deflated.
//!
//! ```text
//! archive   [entry][entry]…[directory][end of directory]      APPNOTE 6.3.10 of PKWARE; what says where entries are is the directory
//! entry     local header, then the bytes of a .npy file
//! .npy      magic, version, a Python dictionary as text, then numbers    numpy.lib.format, versions 1 to 3
//! ```
//!
//! Read whole and within bounds: nothing is unpacked beyond what the caller allows, whatever an archive says of itself. Archives of more
//! than 4 GiB (ZIP64) and arrays of strings, objects and structures are refused.

use std::io::Read;

use flate2::Crc;
use flate2::read::DeflateDecoder;

use crate::Error;

/// An array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// Its name: that of its file in the archive without `.npy`.
    pub name: String,
    /// `NumPy`'s name of the type of its numbers, such as `f4` or `i8`, without the order of bytes.
    pub data_type: String,
    /// Its size along each axis.
    pub shape: Vec<usize>,
    /// Its numbers, row by row, little-endian.
    pub bytes: Vec<u8>,
}

/// Reads all arrays of an archive. `file` is its name in errors; together they may have `most_bytes`.
///
/// # Errors
/// [`Error::Malformed`] where the bytes are no such archive, an entry's sum is wrong, or there is too much of it; [`Error::Unsupported`]
/// for what such files may have and this reader has not.
pub fn read(file: &str, bytes: &[u8], most_bytes: u64) -> Result<Vec<Array>, Error> {
    let archive = Archive { file, bytes };
    let mut left = most_bytes;
    let mut arrays = Vec::new();
    for entry in archive.entries()? {
        if entry.unpacked > left {
            let expected = format!("at most {most_bytes} bytes in all");
            return Err(archive.malformed(&entry.name, expected, "more"));
        }
        left -= entry.unpacked;
        let content = archive.unpack(&entry)?;
        arrays.push(archive.array(&entry.name, &content)?);
    }
    Ok(arrays)
}

const DIRECTORY_END: [u8; 4] = *b"PK\x05\x06";
const DIRECTORY_ENTRY: [u8; 4] = *b"PK\x01\x02";
const LOCAL_HEADER: [u8; 4] = *b"PK\x03\x04";
/// The end of the directory without its comment, and the longest comment.
const END_BYTES: usize = 22;
const MOST_COMMENT: usize = 65_535;
/// Stands where ZIP64 has a number elsewhere.
const ELSEWHERE: u64 = 0xffff_ffff;

struct Archive<'a> {
    file: &'a str,
    bytes: &'a [u8],
}

struct Entry {
    name: String,
    method: u64,
    sum: u32,
    packed: u64,
    unpacked: u64,
    header: u64,
}

impl Archive<'_> {
    fn malformed(
        &self,
        field: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Error {
        Error::Malformed {
            file: self.file.to_owned(),
            field: field.to_owned(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// `size` bytes at `at`.
    fn part(&self, field: &str, at: u64, size: u64) -> Result<&[u8], Error> {
        let end = at
            .checked_add(size)
            .and_then(|end| usize::try_from(end).ok());
        let part = end.and_then(|end| self.bytes.get(usize::try_from(at).ok()?..end));
        part.ok_or_else(|| {
            let expected = format!("{size} bytes at {at}");
            self.malformed(field, expected, format!("a file of {}", self.bytes.len()))
        })
    }

    fn entries(&self) -> Result<Vec<Entry>, Error> {
        let first = self.bytes.len().saturating_sub(END_BYTES + MOST_COMMENT);
        let tail = &self.bytes[first..];
        let mut windows = tail.windows(4);
        let Some(end) = windows.rposition(|window| window == DIRECTORY_END) else {
            return Err(self.malformed("end of directory", "a ZIP archive", "none"));
        };
        let end = self.part("end of directory", (first + end) as u64, END_BYTES as u64)?;
        let (count, mut at) = (number(end, 10, 2), number(end, 16, 4));
        let mut entries = Vec::new();
        for index in 0..count {
            let field = format!("directory entry {index}");
            let head = self.part(&field, at, 46)?;
            if head[..4] != DIRECTORY_ENTRY {
                return Err(self.malformed(
                    &field,
                    "its signature",
                    format!("{:02x?}", &head[..4]),
                ));
            }
            let [name, extra, comment] = [28, 30, 32].map(|at| number(head, at, 2));
            let entry = Entry {
                name: String::from_utf8_lossy(self.part(&field, at + 46, name)?).into_owned(),
                method: number(head, 10, 2),
                sum: number(head, 16, 4) as u32,
                packed: number(head, 20, 4),
                unpacked: number(head, 24, 4),
                header: number(head, 42, 4),
            };
            let is_elsewhere = [entry.packed, entry.unpacked, entry.header].contains(&ELSEWHERE);
            if is_elsewhere {
                return Err(self.unsupported("an entry of", "4 GiB or more", "less"));
            }
            at += 46 + name + extra + comment;
            entries.push(entry);
        }
        Ok(entries)
    }

    fn unsupported(&self, what: &'static str, found: &str, supported: &'static str) -> Error {
        Error::Unsupported {
            file: self.file.to_owned(),
            what,
            found: found.to_owned(),
            supported,
        }
    }

    fn unpack(&self, entry: &Entry) -> Result<Vec<u8>, Error> {
        let head = self.part(&entry.name, entry.header, 30)?;
        if head[..4] != LOCAL_HEADER {
            let found = format!("{:02x?}", &head[..4]);
            return Err(self.malformed(&entry.name, "the signature of a header", found));
        }
        let begin = entry.header + 30 + number(head, 26, 2) + number(head, 28, 2);
        let packed = self.part(&entry.name, begin, entry.packed)?;
        let content = match entry.method {
            0 => packed.to_vec(),
            8 => {
                let mut content = Vec::new();
                // One byte more than was said shows that there are more.
                let mut reader = DeflateDecoder::new(packed).take(entry.unpacked + 1);
                reader.read_to_end(&mut content).map_err(|error| {
                    self.malformed(&entry.name, "deflated bytes", error.to_string())
                })?;
                content
            }
            other => {
                return Err(self.unsupported(
                    "compression",
                    &other.to_string(),
                    "stored and deflated entries",
                ));
            }
        };
        let mut sum = Crc::new();
        sum.update(&content);
        if content.len() as u64 != entry.unpacked || sum.sum() != entry.sum {
            let expected = format!("{} bytes of sum {:08x}", entry.unpacked, entry.sum);
            let found = format!("{} of {:08x}", content.len(), sum.sum());
            return Err(self.malformed(&entry.name, expected, found));
        }
        Ok(content)
    }

    fn array(&self, entry: &str, content: &[u8]) -> Result<Array, Error> {
        let malformed = |expected: &str, found: &str| self.malformed(entry, expected, found);
        let cut = || {
            malformed(
                "an array in NumPy's form",
                "something else, or a part of one",
            )
        };
        let rest = content.strip_prefix(b"\x93NUMPY").ok_or_else(cut)?;
        let wide = match rest.first() {
            Some(1) => 2,
            Some(2 | 3) => 4,
            _ => return Err(malformed("version 1, 2 or 3 of NumPy's form", "another")),
        };
        let rest = rest.get(2..).ok_or_else(cut)?;
        let length = number(rest.get(..wide).ok_or_else(cut)?, 0, wide) as usize;
        let (head, numbers) = rest[wide..].split_at_checked(length).ok_or_else(cut)?;
        let head = String::from_utf8_lossy(head);
        let Some((descr, is_by_columns, shape)) = dictionary(&head) else {
            let found = head.chars().take(80).collect::<String>();
            return Err(malformed("descr, fortran_order and shape", &found));
        };
        if is_by_columns {
            return Err(self.unsupported("the order of", entry, "arrays that lie row by row"));
        }
        let data_type = descr.strip_prefix(['<', '|', '=']);
        let size = data_type.and_then(size_of);
        let (Some(data_type), Some(size)) = (data_type, size) else {
            return Err(self.unsupported("type", descr, "numbers and truth values, little-endian"));
        };
        let all = shape
            .iter()
            .try_fold(size, |all, one| all.checked_mul(*one));
        if all != Some(numbers.len()) {
            let expected = format!("{shape:?} of {size} bytes each");
            return Err(malformed(&expected, &format!("{} bytes", numbers.len())));
        }
        Ok(Array {
            name: entry.strip_suffix(".npy").unwrap_or(entry).to_owned(),
            data_type: data_type.to_owned(),
            shape,
            bytes: numbers.to_vec(),
        })
    }
}

/// A little-endian number of `size` bytes.
fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    let bytes = bytes[at..at + size].iter().rev();
    bytes.fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// Bytes of a number of a type.
fn size_of(data_type: &str) -> Option<usize> {
    match data_type {
        "b1" | "i1" | "u1" => Some(1),
        "f2" | "i2" | "u2" => Some(2),
        "f4" | "i4" | "u4" => Some(4),
        "f8" | "i8" | "u8" => Some(8),
        _ => None,
    }
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`
fn dictionary(text: &str) -> Option<(&str, bool, Vec<usize>)> {
    let behind = |key: &str| {
        let at = text.find(&format!("'{key}':"))? + key.len() + 3;
        Some(text[at..].trim_start())
    };
    let descr = behind("descr")?.strip_prefix('\'')?.split_once('\'')?.0;
    let order = behind("fortran_order")?;
    let is_by_columns = order.starts_with("True");
    (is_by_columns || order.starts_with("False")).then_some(())?;
    let shape = behind("shape")?.strip_prefix('(')?.split_once(')')?.0;
    let sizes = shape
        .split(',')
        .map(str::trim)
        .filter(|one| !one.is_empty());
    let sizes = sizes.map(|size| size.parse().ok()).collect::<Option<_>>()?;
    Some((descr, is_by_columns, sizes))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    use super::*;

    fn npy(descr: &str, order: &str, shape: &str, numbers: &[u8]) -> Vec<u8> {
        let head =
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((head.len() as u16).to_le_bytes());
        bytes.extend(head.as_bytes());
        bytes.extend(numbers);
        bytes
    }

    fn deflated(content: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    /// An archive of these entries: name, method, content.
    fn archive(entries: &[(&str, u16, &[u8])]) -> Vec<u8> {
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for (name, method, content) in entries {
            let packed = if *method == 8 {
                deflated(content)
            } else {
                content.to_vec()
            };
            let mut sum = Crc::new();
            sum.update(content);
            let mut common = method.to_le_bytes().to_vec();
            common.extend([0; 4]);
            common.extend(sum.sum().to_le_bytes());
            common.extend((packed.len() as u32).to_le_bytes());
            common.extend((content.len() as u32).to_le_bytes());
            common.extend((name.len() as u16).to_le_bytes());
            common.extend([0; 2]);
            directory.extend(b"PK\x01\x02\x14\x00\x14\x00\x00\x00");
            directory.extend(&common);
            directory.extend([0; 10]);
            directory.extend((bytes.len() as u32).to_le_bytes());
            directory.extend(name.as_bytes());
            bytes.extend(b"PK\x03\x04\x14\x00\x00\x00");
            bytes.extend(&common);
            bytes.extend(name.as_bytes());
            bytes.extend(packed);
        }
        let at = bytes.len() as u32;
        bytes.extend(&directory);
        bytes.extend(b"PK\x05\x06\x00\x00\x00\x00");
        bytes.extend([(entries.len() as u16).to_le_bytes(); 2].concat());
        bytes.extend((directory.len() as u32).to_le_bytes());
        bytes.extend(at.to_le_bytes());
        bytes.extend([0; 2]);
        bytes
    }

    fn good() -> Vec<u8> {
        let numbers: Vec<u8> = [1.0_f32, 2.0, 3.0].map(f32::to_le_bytes).concat();
        let floats = npy("<f4", "False", "(3, 1)", &numbers);
        let scalar = npy("<i8", "False", "()", &7_i64.to_le_bytes());
        archive(&[("x:0.npy", 8, &floats), ("n.npy", 0, &scalar)])
    }

    #[test]
    fn arrays_are_read_stored_and_deflated() {
        let arrays = read("a.npz", &good(), 1000).expect("it is one");
        let told: Vec<_> = arrays
            .iter()
            .map(|one| (one.name.as_str(), one.data_type.as_str(), &one.shape[..]))
            .collect();
        assert_eq!(told, [("x:0", "f4", &[3, 1][..]), ("n", "i8", &[])]);
        assert_eq!(arrays[0].bytes[4..8], 2.0_f32.to_le_bytes());
        assert_eq!(arrays[1].bytes, 7_i64.to_le_bytes());
    }

    #[track_caller]
    fn refused(bytes: &[u8], mentions: &[&str]) {
        let error = read("a.npz", bytes, 1000).expect_err("it is wrong");
        let error = error.to_string();
        for word in mentions {
            assert!(error.contains(word), "`{word}` in: {error}");
        }
    }

    #[test]
    fn what_is_no_such_archive_is_refused_with_what_was_found() {
        refused(b"", &["a.npz", "a ZIP archive"]);
        refused(&archive(&[("x.npy", 0, b"text")]), &["x.npy", "NumPy"]);
        let object = npy("|O", "False", "(1,)", &[0; 8]);
        refused(&archive(&[("x.npy", 0, &object)]), &["|O"]);
        let columns = npy("<f4", "True", "(1,)", &[0; 4]);
        refused(&archive(&[("x.npy", 0, &columns)]), &["row by row"]);
        let short = npy("<f4", "False", "(2,)", &[0; 4]);
        refused(&archive(&[("x.npy", 0, &short)]), &["[2]", "4 bytes"]);
        let large = npy("<u1", "False", "(2000,)", &[0; 2000]);
        refused(&archive(&[("x.npy", 8, &large)]), &["at most 1000"]);
        let huge = npy("<f4", "False", "(99999999999, 99999999999)", &[]);
        refused(&archive(&[("x.npy", 0, &huge)]), &["99999999999"]);
        refused(&archive(&[("x.npy", 12, b"")]), &["compression 12"]);
    }

    #[test]
    fn damaged_archives_are_read_or_refused() {
        let bytes = good();
        for at in 0..bytes.len() {
            for flip in [0x01, 0x55, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                if let Ok(arrays) = read("a.npz", &damaged, 1000) {
                    assert!(arrays.iter().all(|array| array.bytes.len() <= 1000));
                }
            }
            assert!(read("a.npz", &bytes[..at], 1000).is_err());
        }
    }
}
