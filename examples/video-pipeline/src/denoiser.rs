//! The denoiser: noise becomes the latent of a block in a few steps through a residual network.

use std::hint::black_box;

use carnot_probe::{Kind, SiteId, site, span};

use crate::convolution::{Convolution, Dice, Picture};

/// Positions of a row of a latent.
pub const SIDE: usize = 16;
/// Numbers of a position of a latent.
pub const CHANNELS: usize = 16;
const LAYERS: usize = 6;
/// The layer that the fault makes slow.
const SLOW: usize = 3;

pub struct Denoiser {
    layers: Vec<(SiteId, Convolution<CHANNELS, CHANNELS>)>,
    has_slow_layer: bool,
}

impl Denoiser {
    /// `has_slow_layer`: one layer does 30 % of its work twice, and says nothing of it.
    pub fn new(has_slow_layer: bool) -> Self {
        let mut dice = Dice(1);
        let layers = (0..LAYERS).map(|index| {
            let name = format!("denoiser.{index}");
            let layer = Convolution::new(&mut dice);
            (site(&name, Kind::Layer), layer)
        });
        Self {
            layers: layers.collect(),
            has_slow_layer,
        }
    }

    pub fn parameters(&self) -> u64 {
        self.layers
            .iter()
            .map(|(_, layer)| layer.parameters())
            .sum()
    }

    /// Takes the noise out of `latents`, the frames of a block, in `steps` steps; `condition` has a number for each channel.
    pub fn denoise(&self, latents: &mut [Picture], condition: &[f32], steps: u32) {
        for step in 0..steps {
            let _step = span!("denoising_step", Kind::Step).index(step);
            let mut clean = latents.to_vec();
            for latent in &mut clean {
                let by_channel = latent.values.iter_mut().zip(condition.iter().cycle());
                by_channel.for_each(|(value, shift)| *value += 0.1 * shift);
            }
            for index in 0..self.layers.len() {
                self.layer(index, &mut clean);
            }
            // What remains of the noise is taken out evenly by the steps that remain.
            let rate = 1.0 / (steps - step) as f32;
            for (latent, clean) in latents.iter_mut().zip(&clean) {
                let pairs = latent.values.iter_mut().zip(&clean.values);
                pairs.for_each(|(value, clean)| *value += rate * (clean - *value));
            }
        }
    }

    fn layer(&self, index: usize, latents: &mut [Picture]) {
        let (site, layer) = &self.layers[index];
        let frames = latents.len() as u64;
        let (flops, bytes) = (frames * layer.flops(SIDE), frames * layer.bytes(SIDE));
        let _layer = span(*site).layer(index as u32).work(flops, bytes, bytes);
        for latent in latents {
            let change = layer.apply(latent);
            if self.has_slow_layer && index == SLOW {
                black_box(layer.rows(latent, 0..(3 * SIDE).div_ceil(10)));
            }
            let pairs = latent.values.iter_mut().zip(&change.values);
            pairs.for_each(|(value, change)| *value += change / (1.0 + change.abs()));
            latent.normalize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_noise_gives_the_same_film_and_another_text_another() {
        let denoised = |condition: f32, has_slow_layer: bool| {
            let mut latents = vec![Picture::noise(SIDE, CHANNELS, &mut Dice(7))];
            Denoiser::new(has_slow_layer).denoise(&mut latents, &[condition; CHANNELS], 2);
            latents
        };
        assert_eq!(denoised(1.0, false), denoised(1.0, false));
        assert_eq!(denoised(1.0, false), denoised(1.0, true));
        assert_ne!(denoised(1.0, false), denoised(2.0, false));
        assert!(
            denoised(1.0, false)[0]
                .values
                .iter()
                .all(|value| value.is_finite())
        );
    }
}
