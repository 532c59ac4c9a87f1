//! The memory bank: features of earlier frames, which the next block is drawn towards. It keeps those that were asked for last.

use carnot_probe::{CacheOutcome, Kind, SiteId, cache, memory, site};

use crate::convolution::{Convolution, Dice, Picture};
use crate::denoiser::{CHANNELS, SIDE};

/// Frames of a block.
pub const FRAMES: usize = 3;
/// Frames that a block asks for: the first block of its prompt, and the two blocks before it.
pub const ASKED_FOR: usize = 3 * FRAMES;
/// How far a block is drawn to what the bank has.
const PULL: f32 = 0.2;

/// A frame's features under the number of the frame, counted from 1 over the whole session.
struct Entry {
    frame: u64,
    features: Picture,
}

pub struct MemoryBank {
    projection: Convolution<CHANNELS, CHANNELS>,
    capacity: usize,
    /// The one that was asked for longest ago first.
    entries: Vec<Entry>,
    cache: SiteId,
    memory: SiteId,
}

impl MemoryBank {
    /// Room for `capacity` frames.
    pub fn new(capacity: usize) -> Self {
        Self {
            projection: Convolution::new(&mut Dice(2)),
            capacity,
            entries: Vec::new(),
            cache: site("memory_bank", Kind::Cache),
            memory: site("memory_bank", Kind::Memory),
        }
    }

    /// Draws the noise of a block towards the frames of `history`, each with its number; what is not there is computed again.
    pub fn recall<'a>(
        &mut self,
        history: impl IntoIterator<Item = (u64, &'a Picture)>,
        latents: &mut [Picture],
    ) {
        let mut sum = vec![0.0; SIDE * SIDE * CHANNELS];
        let mut total = 0.0;
        for (frame, latent) in history {
            let features = self.features(frame, latent);
            let likeness = likeness(&features.values, &latents[0].values);
            let pairs = sum.iter_mut().zip(&features.values);
            pairs.for_each(|(sum, value)| *sum += likeness * value);
            total += likeness;
        }
        for latent in latents {
            let pairs = latent.values.iter_mut().zip(&sum);
            pairs.for_each(|(value, sum)| *value += PULL * sum / total);
            latent.normalize();
        }
    }

    /// The features of a frame.
    fn features(&mut self, frame: u64, latent: &Picture) -> &Picture {
        if let Some(at) = self.entries.iter().position(|entry| entry.frame == frame) {
            let entry = self.entries.remove(at);
            cache(self.cache, CacheOutcome::Hit, frame, entry.features.bytes());
            self.entries.push(entry);
        } else {
            if self.entries.len() == self.capacity {
                let Entry { frame, features } = self.entries.remove(0);
                let bytes = features.bytes();
                drop(features);
                cache(self.cache, CacheOutcome::Evict, frame, bytes);
                memory(self.memory, -bytes.cast_signed(), frame);
            }
            let features = self.projection.apply(latent);
            let bytes = features.bytes();
            cache(self.cache, CacheOutcome::Miss, frame, bytes);
            memory(self.memory, bytes.cast_signed(), frame);
            self.entries.push(Entry { frame, features });
        }
        let last = self.entries.last();
        &last.expect("one was pushed above").features
    }
}

/// How much two pictures point the same way, as a weight above 0.
fn likeness(one: &[f32], other: &[f32]) -> f32 {
    let dot: f32 = one.iter().zip(other).map(|(a, b)| a * b).sum();
    (dot / one.len() as f32).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_last_is_kept() {
        let mut bank = MemoryBank::new(2);
        let latents: Vec<Picture> = (0..3)
            .map(|seed| Picture::noise(SIDE, CHANNELS, &mut Dice(seed)))
            .collect();
        for frame in [1, 2, 1, 3] {
            let features = bank.features(frame, &latents[frame as usize - 1]).clone();
            let expected = bank.projection.apply(&latents[frame as usize - 1]);
            assert_eq!(features, expected);
        }
        let kept: Vec<u64> = bank.entries.iter().map(|entry| entry.frame).collect();
        assert_eq!(kept, [1, 3]);
    }
}
