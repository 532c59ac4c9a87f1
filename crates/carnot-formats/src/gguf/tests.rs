//! A small file, written and read back, then broken in every way that has a name.

use super::*;
use crate::error::Error;
use carnot_kernels::blocks::BlockType;

fn metadata() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.string("general.architecture", "llama");
    metadata.u32("count", 7);
    metadata.f32("half", 0.5);
    metadata.bool("yes", true);
    metadata.strings("words", &["", "two", "drei"]);
    metadata.i32s("numbers", &[-1, 2]);
    metadata.f32s("floats", &[0.25]);
    metadata
}

fn header(name: &str, shape: &[usize], dtype: BlockType) -> TensorHeader {
    TensorHeader {
        name: name.to_owned(),
        shape: shape.to_owned(),
        dtype,
    }
}

fn write(metadata: &Metadata, tensors: &[TensorHeader]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), metadata, tensors).unwrap();
    for (index, tensor) in tensors.iter().enumerate() {
        writer
            .write(&vec![index as u8 + 1; tensor.bytes()])
            .unwrap();
    }
    writer.finish().unwrap()
}

fn tensors() -> [TensorHeader; 2] {
    [
        header("a", &[3, 32], BlockType::Q4_0),
        header("b", &[5], BlockType::F32),
    ]
}

fn sample() -> Vec<u8> {
    write(&metadata(), &tensors())
}

/// Replaces the first occurrence of `from`.
fn patch(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let at = bytes
        .windows(from.len())
        .position(|window| window == from)
        .expect("the sample holds the pattern");
    bytes[at..at + to.len()].copy_from_slice(to);
}

fn message(bytes: &[u8]) -> String {
    Gguf::read("f.gguf", bytes)
        .expect_err("the file is broken")
        .to_string()
}

#[test]
fn what_is_written_is_read() {
    let bytes = sample();
    let gguf = Gguf::read("f.gguf", &bytes).unwrap();
    assert_eq!(gguf.version, 3);
    assert_eq!(gguf.str("general.architecture").unwrap(), "llama");
    assert_eq!(gguf.usize("count").unwrap(), 7);
    assert_eq!(gguf.optional_f32("half").unwrap(), Some(0.5));
    assert_eq!(gguf.optional_bool("yes").unwrap(), Some(true));
    let words = gguf.optional_array("words").unwrap().unwrap();
    assert_eq!(
        words.strings().unwrap().collect::<Vec<_>>(),
        ["", "two", "drei"]
    );
    let numbers = gguf.optional_array("numbers").unwrap().unwrap();
    assert_eq!(numbers.numbers().unwrap().collect::<Vec<_>>(), [-1.0, 2.0]);
    let [a, b] = &gguf.tensors[..] else {
        panic!("two tensors")
    };
    assert_eq!(
        (a.name, &a.shape[..], a.dtype),
        ("a", &[3, 32][..], BlockType::Q4_0)
    );
    assert_eq!(bytes[a.data.clone()], [1; 54]);
    assert_eq!(bytes[b.data.clone()], [2; 20]);
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = sample();
    let end = Gguf::read("f.gguf", &bytes).unwrap().tensors[1].data.end;
    for length in 0..end {
        assert!(
            matches!(
                Gguf::read("f.gguf", &bytes[..length]),
                Err(Error::Malformed { .. })
            ),
            "{length}"
        );
    }
}

#[test]
fn errors_say_where_and_what() {
    let broken = |from: &[u8], to: &[u8]| {
        let mut bytes = sample();
        patch(&mut bytes, from, to);
        message(&bytes)
    };
    assert_eq!(
        broken(b"GGUF", b"GGML"),
        "f.gguf: magic: expected GGUF, found \"GGML\""
    );
    assert_eq!(
        broken(&[3, 0, 0, 0, 2], &[1]),
        "f.gguf: GGUF version 1 is not supported (2 and 3 are)"
    );
    assert_eq!(
        broken(&[3, 0, 0, 0, 2], &[0, 0, 0, 3]),
        "f.gguf: byte order big-endian is not supported (little-endian is)"
    );
    assert_eq!(
        broken(b"count", &[0xff]),
        "f.gguf: metadata key 1: expected UTF-8, found a bad byte at 0"
    );
    assert_eq!(
        broken(b"count", b"words"),
        "f.gguf: words: expected one value, found the key a second time"
    );
    assert_eq!(
        broken(b"yes\x07\0\0\0\x01", b"yes\x07\0\0\0\x02"),
        "f.gguf: yes: expected a bool of 0 or 1, found 2"
    );
    assert_eq!(
        broken(b"yes\x07", b"yes\x0d"),
        "f.gguf: yes: expected a value type from 0 to 12, found 13"
    );
    let name = &[1, 0, 0, 0, 0, 0, 0, 0, b'b'];
    let twice = &[1, 0, 0, 0, 0, 0, 0, 0, b'a'];
    assert_eq!(
        broken(name, twice),
        "f.gguf: tensor a: expected one description, found a second one"
    );
}

#[test]
fn tensors_must_be_sound() {
    let broken = |at_from_end_of_a: usize, to: &[u8]| {
        let mut bytes = sample();
        // The description of `a` ends where the name of `b`, with its length, begins.
        let name = [1, 0, 0, 0, 0, 0, 0, 0, b'b'];
        let end = bytes.windows(9).position(|window| window == name).unwrap();
        bytes[end - at_from_end_of_a..][..to.len()].copy_from_slice(to);
        message(&bytes)
    };
    assert_eq!(
        broken(8, &[8]),
        "f.gguf: offset of tensor a: expected a multiple of 32, found 8"
    );
    assert!(
        broken(8, &[0, 0, 0, 0, 0, 0, 0, 0x80])
            .contains("offset of tensor a: expected 54 bytes within the file's")
    );
    assert!(
        broken(8, &[32]).contains("expected data of its own"),
        "{}",
        broken(8, &[32])
    );
    assert_eq!(
        broken(12, &[17]),
        "f.gguf: tensor a is stored as IQ2_XS, which is not supported"
    );
    assert_eq!(
        broken(12, &[99]),
        "f.gguf: tensor a is stored as ggml type 99, which is not supported"
    );
    assert_eq!(
        broken(28, &[31]),
        "f.gguf: shape of tensor a: expected rows of whole blocks of 32 and a size below 2^63, found [3, 31]"
    );
    assert!(broken(20, &[0xff; 8]).contains("shape of tensor a"));
    assert_eq!(
        broken(20, &[0]),
        "f.gguf: shape of tensor a: expected lengths above 0, found 0"
    );
    assert_eq!(
        broken(32, &[9]),
        "f.gguf: dimensions of tensor a: expected 1 to 4, found 9"
    );
}

#[test]
fn counts_beyond_the_file_are_refused_before_anything_is_reserved() {
    for at in [8, 16] {
        let mut bytes = sample();
        bytes[at..at + 8].fill(0x7f);
        assert!(message(&bytes).contains("for the file's size"));
    }
    let mut bytes = sample();
    patch(
        &mut bytes,
        b"words\x09\0\0\0\x08\0\0\0\x03\0\0\0\0",
        b"words\x09\0\0\0\x08\0\0\0\x03\0\0\0\x7f",
    );
    assert!(message(&bytes).contains("words: expected at most"));
}

#[test]
fn alignment_must_be_a_power_of_two() {
    for (alignment, sound) in [(0, false), (24, false), (64, true)] {
        let mut metadata = Metadata::new();
        metadata.u32("general.alignment", alignment);
        let bytes = write(&metadata, &[]);
        assert_eq!(Gguf::read("f", &bytes).is_ok(), sound, "{alignment}");
    }
}

#[test]
#[should_panic(expected = "every tensor that was announced was written")]
fn a_file_with_missing_data_is_not_finished() {
    Writer::new(Vec::new(), &metadata(), &tensors())
        .unwrap()
        .finish()
        .unwrap();
}
