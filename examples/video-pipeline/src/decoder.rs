//! The decoder: a latent becomes a frame eight times as wide, in three convolutions each of which makes four positions of one.

use carnot_probe::{Kind, SiteId, site, span};

use crate::convolution::{Convolution, Dice, Picture};
use crate::denoiser::CHANNELS;

/// Pixels of a row of a frame, and rows.
pub const PIXELS: usize = 8 * crate::denoiser::SIDE;
const MIDDLE: usize = 12;
const HIGH: usize = 8;
/// Red, green and blue.
const COLOURS: usize = 3;

pub struct Decoder {
    low: Convolution<CHANNELS, { 4 * MIDDLE }>,
    middle: Convolution<MIDDLE, { 4 * HIGH }>,
    high: Convolution<HIGH, { 4 * COLOURS }>,
    sites: [SiteId; 3],
}

impl Decoder {
    pub fn new() -> Self {
        let mut dice = Dice(3);
        Self {
            low: Convolution::new(&mut dice),
            middle: Convolution::new(&mut dice),
            high: Convolution::new(&mut dice),
            sites: ["vae.low", "vae.middle", "vae.high"].map(|name| site(name, Kind::Layer)),
        }
    }

    pub fn parameters(&self) -> u64 {
        self.low.parameters() + self.middle.parameters() + self.high.parameters()
    }

    /// A frame of `PIXELS` by `PIXELS` pixels of red, green and blue.
    pub fn decode(&self, latent: &Picture) -> Vec<u8> {
        let [low, middle, high] = self.sites;
        let picture = layer(low, &self.low, latent);
        let picture = layer(middle, &self.middle, &picture);
        let picture = layer(high, &self.high, &picture);
        let pixel = |value: &f32| (255.0 / (1.0 + (-2.0 * value).exp())) as u8;
        picture.values.iter().map(pixel).collect()
    }
}

fn layer<const INPUTS: usize, const OUTPUTS: usize>(
    site: SiteId,
    layer: &Convolution<INPUTS, OUTPUTS>,
    picture: &Picture,
) -> Picture {
    let (flops, bytes) = (layer.flops(picture.side), layer.bytes(picture.side));
    let _layer = span(site).work(flops, bytes, bytes);
    let mut out = layer.apply(picture).spread_out();
    out.normalize();
    out
}
