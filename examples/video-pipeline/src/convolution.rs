//! Pictures of any number of channels, convolutions over them in plain loops, and the seeded noise that both are made of.

use std::ops::Range;

/// A square picture: the channels of a position lie together, positions row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Positions of a row, and rows.
    pub side: usize,
    /// Numbers of a position.
    pub channels: usize,
    /// `side * side * channels` numbers.
    pub values: Vec<f32>,
}

impl Picture {
    /// Noise.
    pub fn noise(side: usize, channels: usize, dice: &mut Dice) -> Self {
        let values = (0..side * side * channels).map(|_| dice.number()).collect();
        Self {
            side,
            channels,
            values,
        }
    }

    /// Its size in memory.
    pub fn bytes(&self) -> u64 {
        size_of_val(self.values.as_slice()) as u64
    }

    /// Twice as wide and high, of a quarter of the channels: those of a position become two by two positions (Shi and others,
    /// "Real-time single image and video super-resolution", 2016).
    pub fn spread_out(&self) -> Self {
        let (side, channels) = (2 * self.side, self.channels / 4);
        let places = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
        let values = places.flat_map(|(x, y)| {
            let from = (y / 2 * self.side + x / 2) * self.channels;
            let quarter = (y % 2 * 2 + x % 2) * channels;
            &self.values[from + quarter..][..channels]
        });
        Self {
            side,
            channels,
            values: values.copied().collect(),
        }
    }

    /// Scales all numbers so that the mean of their squares is 1.
    pub fn normalize(&mut self) {
        let squares: f32 = self.values.iter().map(|value| value * value).sum();
        let scale = (squares / self.values.len() as f32 + 1e-6).sqrt().recip();
        self.values.iter_mut().for_each(|value| *value *= scale);
    }
}

/// A convolution of 3 by 3 positions, from so many channels to so many.
#[derive(Debug)]
pub struct Convolution<const INPUTS: usize, const OUTPUTS: usize> {
    /// For each of the nine neighbours and each input the weights of all outputs.
    weights: Vec<[[f32; OUTPUTS]; INPUTS]>,
}

impl<const INPUTS: usize, const OUTPUTS: usize> Convolution<INPUTS, OUTPUTS> {
    /// With weights that neither shrink nor swell what goes through.
    pub fn new(dice: &mut Dice) -> Self {
        let scale = (3.0 / (9 * INPUTS) as f32).sqrt();
        let mut neighbour = || [(); INPUTS].map(|()| [(); OUTPUTS].map(|()| scale * dice.number()));
        Self {
            weights: (0..9).map(|_| neighbour()).collect(),
        }
    }

    /// Numbers it has.
    pub fn parameters(&self) -> u64 {
        self.weights.as_flattened().as_flattened().len() as u64
    }

    /// Multiplications and additions over a picture of this side.
    pub fn flops(&self, side: usize) -> u64 {
        2 * (side * side) as u64 * self.parameters()
    }

    /// Bytes that it must read and write over a picture of this side.
    pub fn bytes(&self, side: usize) -> u64 {
        let numbers = self.parameters() + (side * side * (INPUTS + OUTPUTS)) as u64;
        numbers * size_of::<f32>() as u64
    }

    /// The whole picture.
    pub fn apply(&self, picture: &Picture) -> Picture {
        Picture {
            side: picture.side,
            channels: OUTPUTS,
            values: self.rows(picture, 0..picture.side),
        }
    }

    /// Some rows of it. Positions outside of the picture count as 0.
    pub fn rows(&self, picture: &Picture, rows: Range<usize>) -> Vec<f32> {
        let places = rows.flat_map(|y| (0..picture.side).map(move |x| (x, y)));
        places.flat_map(|(x, y)| self.at(picture, x, y)).collect()
    }

    fn at(&self, picture: &Picture, x: usize, y: usize) -> [f32; OUTPUTS] {
        let side = picture.side;
        let mut sums = [0.0; OUTPUTS];
        for (neighbour, weights) in self.weights.iter().enumerate() {
            let (from_x, from_y) = (x + neighbour % 3, y + neighbour / 3);
            if !(1..=side).contains(&from_x) || !(1..=side).contains(&from_y) {
                continue;
            }
            let from = ((from_y - 1) * side + from_x - 1) * INPUTS;
            for (value, weights) in picture.values[from..from + INPUTS].iter().zip(weights) {
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += value * weight;
                }
            }
        }
        sums
    }
}

/// A seeded source of numbers (`SplitMix64`): the same seed gives the same film.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// Between -1 and 1.
    pub fn number(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_is_the_sum_over_neighbours() {
        let ones = Convolution::<1, 1> {
            weights: vec![[[1.0]]; 9],
        };
        let picture = Picture {
            side: 3,
            channels: 1,
            values: (1..=9_u8).map(f32::from).collect(),
        };
        // Worked by hand: the corner has four neighbours inside, the middle all nine.
        let found = ones.apply(&picture).values;
        assert_eq!(
            found,
            [12.0, 21.0, 16.0, 27.0, 45.0, 33.0, 24.0, 39.0, 28.0]
        );
        assert_eq!(ones.rows(&picture, 1..2), found[3..6]);
        assert_eq!(ones.flops(3), 2 * 9 * 9);
    }

    #[test]
    fn four_channels_become_four_positions() {
        let picture = Picture {
            side: 2,
            channels: 4,
            values: (0..16_u8).map(f32::from).collect(),
        };
        let values = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15_u8].map(f32::from);
        let found = picture.spread_out();
        assert_eq!((found.side, found.channels), (4, 1));
        assert_eq!(found.values, values);
    }
}
