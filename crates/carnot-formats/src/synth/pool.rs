//! Random quantised blocks, made once per type and size of weights.

use carnot_kernels::blocks::{BlockType, quantize};

/// Values in a pool: enough that rows drawn from it at random offsets are different.
const POOL_VALUES: usize = if cfg!(test) { 1 << 18 } else { 1 << 22 };

/// The longest row that a pool can serve, in values.
const LONGEST_ROW: usize = 1 << 16;

/// A stream of encoded blocks.
pub(super) struct Pool {
    bytes: Vec<u8>,
    block_bytes: usize,
}

impl Pool {
    /// Encodes normal values of standard deviation `deviation`, on all processors.
    pub fn new(dtype: BlockType, deviation: f32, seed: u64) -> Self {
        const PIECE: usize = 1 << 16;
        let mut bytes = vec![0; dtype.row_bytes(POOL_VALUES + LONGEST_ROW)];
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut pieces: Vec<(u64, &mut [u8])> = (0..)
            .zip(bytes.chunks_mut(dtype.row_bytes(PIECE)))
            .collect();
        let share = pieces.len().div_ceil(threads);
        std::thread::scope(|scope| {
            for pieces in pieces.chunks_mut(share) {
                scope.spawn(move || {
                    for (index, piece) in pieces {
                        // Seeded by the piece, not by the thread: the pool is the same on any machine.
                        let mut random = Random::new(seed.wrapping_add(*index << 32));
                        let values: Vec<f32> =
                            (0..PIECE).map(|_| deviation * random.normal()).collect();
                        quantize(dtype, &values, piece);
                    }
                });
            }
        });
        Self {
            bytes,
            block_bytes: dtype.block_bytes(),
        }
    }

    /// Appends one row of `row_bytes` from a random place.
    pub fn append(&self, random: &mut Random, row_bytes: usize, out: &mut Vec<u8>) {
        let places = (self.bytes.len() - row_bytes) / self.block_bytes;
        let at = (random.next() % places as u64) as usize * self.block_bytes;
        out.extend_from_slice(&self.bytes[at..at + row_bytes]);
    }
}

/// Sebastiano Vigna's splitmix64: one addition and three mixing steps, and any seed is a good one.
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Nearly normal, of mean 0 and deviation 1: the sum of four uniform numbers.
    pub fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u32 = (0..4)
            .map(|part| (bits >> (16 * part)) as u32 & 0xffff)
            .sum();
        let uniform_sum = sum as f32 / 65_536.0 - 2.0;
        uniform_sum * 3_f32.sqrt()
    }
}
