//! Every instruction set against the scalar one, and the scalar one against plain arithmetic.

mod attention;
mod elementwise;
mod matmul;

use carnot_kernels::{Compute, InstructionSet};

/// The instruction sets of this processor, with one and with three workers.
fn machines() -> impl Iterator<Item = Compute> {
    InstructionSet::ALL
        .into_iter()
        .filter(|set| set.is_available())
        .flat_map(|set| [1, 3].map(|threads| Compute::with_instruction_set(threads, set)))
}

/// Reproducible numbers in -1..1 (splitmix64).
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) >> 40
    };
    (0..count)
        .map(|_| next() as f32 / (1_u32 << 23) as f32 - 1.0)
        .collect()
}
