//! Cosines and sines of positions, for the rotary embedding: computed when a position is first reached, and kept.
//!
//! Sines are computed on one thread while the others wait, for every row of every step. Kept, a position takes four bytes for each
//! dimension of a head, once for all layers.

/// The angles of positions from 0 on.
#[derive(Debug)]
pub(crate) struct Angles {
    /// Per position, of each pair of dimensions.
    frequencies: Vec<f32>,
    /// Of each position reached so far, pair by pair.
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Angles {
    pub fn new(frequencies: Vec<f32>) -> Self {
        Self {
            frequencies,
            cos: Vec::new(),
            sin: Vec::new(),
        }
    }

    /// Pairs of dimensions.
    pub fn pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// Appends the cosines and sines of `position` to `cos` and `sin`.
    pub fn append(&mut self, position: usize, cos: &mut Vec<f32>, sin: &mut Vec<f32>) {
        let pairs = self.pairs();
        let reached = self.cos.len() / pairs.max(1);
        for position in reached..=position {
            for frequency in &self.frequencies {
                let (s, c) = (position as f32 * frequency).sin_cos();
                self.cos.push(c);
                self.sin.push(s);
            }
        }
        let own = position * pairs..(position + 1) * pairs;
        cos.extend_from_slice(&self.cos[own.clone()]);
        sin.extend_from_slice(&self.sin[own]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_in_any_order() {
        let mut angles = Angles::new(vec![1.0, 0.1, 0.01]);
        for position in [5, 0, 7, 5] {
            let (mut cos, mut sin) = (vec![9.0], vec![9.0]);
            angles.append(position, &mut cos, &mut sin);
            let of = |frequency: f32| (position as f32 * frequency).sin_cos();
            let expected = [1.0, 0.1, 0.01].map(of);
            assert_eq!(cos[1..], expected.map(|(_, cos)| cos));
            assert_eq!(sin[1..], expected.map(|(sin, _)| sin));
        }
    }
}
