//! Against the `gguf` Python package (`tools/fixtures/blocks.py`), and the properties that hold for every type.

use std::path::PathBuf;

use super::*;

fn fixture(name: &str) -> Option<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/blocks");
    std::fs::read(folder.join(name)).ok()
}

fn floats(name: &str) -> Vec<f32> {
    let bytes = fixture(name).unwrap_or_else(|| panic!("no fixture {name}"));
    let mut values = vec![0.0; bytes.len() / 4];
    dequantize(BlockType::F32, &bytes, &mut values);
    values
}

fn round_trip(ty: BlockType, values: &[f32]) -> Vec<f32> {
    let mut bytes = vec![0; ty.row_bytes(values.len())];
    quantize(ty, values, &mut bytes);
    let mut decoded = vec![0.0; values.len()];
    dequantize(ty, &bytes, &mut decoded);
    decoded
}

/// The test signal of ggml's own quantisation tests.
fn cosine(count: usize) -> Vec<f32> {
    (0..count)
        .map(|index| 0.1 + 2.0 * (index as f32).cos())
        .collect()
}

#[test]
fn decodes_what_the_reference_package_decodes() {
    for ty in BlockType::ALL
        .into_iter()
        .filter(|&ty| ty != BlockType::F32)
    {
        let bytes = fixture(&format!("{ty}.random")).expect("a fixture for every type");
        let expected = floats(&format!("{ty}.dequantized.f32"));
        let mut decoded = vec![0.0; expected.len()];
        dequantize(ty, &bytes, &mut decoded);
        assert_eq!(decoded, expected, "{ty}");
    }
}

#[test]
fn encodes_what_the_reference_package_encodes() {
    let values = floats("values.f32");
    let mut compared = 0;
    for ty in BlockType::ALL {
        let Some(expected) = fixture(&format!("{ty}.quantized")) else {
            continue;
        };
        let mut bytes = vec![0; expected.len()];
        quantize(ty, &values, &mut bytes);
        for (block, (got, expected)) in bytes
            .chunks(ty.block_bytes())
            .zip(expected.chunks(ty.block_bytes()))
            .enumerate()
        {
            assert_eq!(got, expected, "{ty}, block {block}");
        }
        compared += 1;
    }
    assert_eq!(compared, 8);
}

#[test]
fn affine_parts_agree_with_decoding() {
    for ty in BlockType::ALL.into_iter().filter(|ty| ty.is_quantized()) {
        let bytes = fixture(&format!("{ty}.random")).expect("a fixture for every type");
        for block in bytes.chunks_exact(ty.block_bytes()) {
            let mut expected = vec![0.0; ty.block_len()];
            dequantize(ty, block, &mut expected);
            let mut codes = vec![0; ty.block_len()];
            let (mut scales, mut mins) = ([0.0; MAX_GROUPS], [0.0; MAX_GROUPS]);
            unpack_affine(ty, block, &mut codes, &mut scales, &mut mins);
            for (index, (&code, expected)) in codes.iter().zip(expected).enumerate() {
                let group = index / ty.group_len();
                let value = scales[group].mul_add(f32::from(code), -mins[group]);
                let slack = f32::EPSILON * expected.abs().max(mins[group].abs());
                assert!(
                    (value - expected).abs() <= slack,
                    "{ty}, value {index}: {value} for {expected}"
                );
            }
        }
    }
}

/// ggml's own limits: the root of the summed squared error over the count.
#[test]
fn a_round_trip_loses_no_more_than_ggml_allows() {
    let values = cosine(4096);
    for ty in BlockType::ALL {
        let decoded = round_trip(ty, &values);
        let squares: f32 = values
            .iter()
            .zip(&decoded)
            .map(|(a, b)| (a - b).powi(2))
            .sum();
        let limit = match ty {
            BlockType::Q2K => 0.0075,
            BlockType::Q3K => 0.004,
            BlockType::MXFP4 => 0.003,
            _ => 0.002,
        };
        let loss = squares.sqrt() / values.len() as f32;
        assert!(loss <= limit, "{ty}: {loss} > {limit}");
    }
}

#[test]
fn more_bits_lose_less() {
    let values = floats("values.f32");
    let loss = |ty| -> f32 {
        let decoded = round_trip(ty, &values);
        values
            .iter()
            .zip(&decoded)
            .map(|(a, b)| (a - b).powi(2))
            .sum()
    };
    let k_quants = [
        BlockType::Q2K,
        BlockType::Q3K,
        BlockType::Q4K,
        BlockType::Q5K,
        BlockType::Q6K,
        BlockType::F16,
    ];
    assert!(
        k_quants.map(loss).is_sorted_by(|a, b| a > b),
        "{:?}",
        k_quants.map(loss)
    );
}

#[test]
fn zeros_stay_zeros() {
    for ty in BlockType::ALL {
        assert!(
            round_trip(ty, &[0.0; 512])
                .iter()
                .all(|&value| value == 0.0),
            "{ty}"
        );
    }
}

/// What a damaged or adversarial tensor may hold must decode to something, not stop the program.
#[test]
fn any_bytes_decode_and_any_floats_encode() {
    let awkward = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MIN_POSITIVE / 8.0,
        f32::MAX,
        f32::MIN,
        -0.0,
        1.0,
    ];
    let values: Vec<f32> = (0..2048)
        .map(|index| awkward[index * 7 % 61 % awkward.len()])
        .collect();
    for ty in BlockType::ALL {
        round_trip(ty, &values);
        for fill in [0, 1, 0x7f, 0x80, 0xff] {
            dequantize(ty, &vec![fill; ty.row_bytes(512)], &mut [0.0; 512]);
        }
    }
}

#[test]
fn names_and_numbers_find_their_type() {
    for ty in BlockType::ALL {
        assert_eq!(BlockType::from_name(&ty.name().to_lowercase()), Some(ty));
        assert_eq!(BlockType::from_ggml(ty.ggml_id()), Some(ty));
    }
    assert_eq!(BlockType::from_name("IQ2_XS"), None);
    assert_eq!(BlockType::from_ggml(17), None);
}
