//! Frames as PNG (ISO/IEC 15948): a header, the pixels deflated, an end, each with its check sum.

use std::io::{self, Write};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Eight bits a channel, red, green and blue, no interlacing.
const FORMAT: [u8; 5] = [8, 2, 0, 0, 0];
/// Each byte less that of the pixel to the left: smooth pictures become small numbers.
const FILTER_SUB: u8 = 1;

/// `pixels` are rows of red, green and blue, of `side` pixels each.
pub fn encode(pixels: &[u8], side: usize) -> io::Result<Vec<u8>> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in pixels.chunks_exact(3 * side) {
        let left = [0; 3].iter().chain(row);
        let row: Vec<u8> = row
            .iter()
            .zip(left)
            .map(|(a, b)| a.wrapping_sub(*b))
            .collect();
        rows.write_all(&[FILTER_SUB])?;
        rows.write_all(&row)?;
    }
    let size = (side as u32).to_be_bytes();
    let mut out = SIGNATURE.to_vec();
    chunk(&mut out, *b"IHDR", &[&size, &size, &FORMAT[..]].concat());
    chunk(&mut out, *b"IDAT", &rows.finish()?);
    chunk(&mut out, *b"IEND", &[]);
    Ok(out)
}

fn chunk(out: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
    let mut sum = Crc::new();
    sum.update(&name);
    sum.update(data);
    out.extend((data.len() as u32).to_be_bytes());
    out.extend(name);
    out.extend(data);
    out.extend(sum.sum().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_pixels_come_back() {
        let pixels: Vec<u8> = (0..4 * 4 * 3).map(|at| (at * 37 % 251) as u8).collect();
        let file = encode(&pixels, 4).unwrap();
        assert_eq!(file[..8], *SIGNATURE);
        // An empty IEND has the check sum that every PNG file ends in.
        assert_eq!(file[file.len() - 4..], [0xae, 0x42, 0x60, 0x82]);
        let length = u32::from_be_bytes(file[33..37].try_into().unwrap()) as usize;
        let mut rows = Vec::new();
        let mut inflated = flate2::read::ZlibDecoder::new(&file[41..41 + length]);
        inflated.read_to_end(&mut rows).unwrap();
        let mut found = Vec::new();
        for row in rows.chunks_exact(1 + 4 * 3) {
            let begin = found.len();
            for (at, value) in row[1..].iter().enumerate() {
                let left = if at < 3 { 0 } else { found[begin + at - 3] };
                found.push(value.wrapping_add(left));
            }
        }
        assert_eq!(found, pixels);
    }
}
