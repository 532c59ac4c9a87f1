//! The pipeline itself: prompts in, frames out, and a span around everything that takes time.
//!
//! ```text
//! initialization
//! prompt
//!   diffusion          llm_agent, before the prompt's first chunk
//!     chunk            memory_bank, from the prompt's third chunk on
//!       block          denoising_step × steps, each of layers
//!   vae_decoding
//!   encoding           frames go to the queue of the delivery
//!   barrier            where there are other ranks
//! ```

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::Context;
use carnot_probe::{Kind, SiteId, memory, site, span};
use carnot_record::{PipelineModel, Rank};
use carnot_session::Session;

use crate::agent::{Agent, condition};
use crate::barrier::Barrier;
use crate::convolution::{Dice, Picture};
use crate::decoder::{Decoder, PIXELS};
use crate::delivery::{Delivery, Encoded, Sink};
use crate::denoiser::{CHANNELS, Denoiser, SIDE};
use crate::memory_bank::{ASKED_FOR, FRAMES, MemoryBank};
use crate::options::{Fault, Options};
use crate::png;
use crate::viewer::Viewer;

const PROMPTS: [&str; 4] = [
    "a lighthouse in a storm",
    "the same lighthouse at dawn, the sea calm",
    "a fishing boat that leaves the harbour",
    "gulls over the boat, the town far behind",
];
/// The first two chunks of a prompt have nothing to remember.
const FIRST_THAT_REMEMBERS: u32 = 2;
/// What the leak keeps of each block, in bytes.
const KEPT: usize = 1024;

/// Frames of the current prompt: their numbers, counted from 1 over the session, and their latents.
type History = Vec<(u64, Picture)>;

struct Pipeline<'a> {
    options: &'a Options,
    steps: u32,
    agent: Agent,
    denoiser: Denoiser,
    bank: MemoryBank,
    decoder: Decoder,
    delivery: Delivery,
    barrier: Option<Barrier>,
    dice: Dice,
    frames: u32,
    /// The fault: what is kept of each block and never asked for.
    kept: Vec<Vec<u8>>,
    kept_site: SiteId,
}

/// Runs all prompts. `rank` is which of how many processes this is.
pub fn run(options: &Options, rank: Option<Rank>, session: &Session) -> anyhow::Result<()> {
    let mut pipeline = {
        let _initialization = span!("initialization", Kind::Stage);
        Pipeline::new(options, rank)?
    };
    session.model(pipeline.agent.model());
    for (name, parameters) in [
        ("denoiser", pipeline.denoiser.parameters()),
        ("vae", pipeline.decoder.parameters()),
    ] {
        session.model(PipelineModel {
            name: name.to_owned(),
            kind: "convolutional".to_owned(),
            parameters,
        });
    }
    for index in 0..options.prompts {
        pipeline.prompt(index)?;
    }
    let _flushing = span!("flushing", Kind::Stage);
    pipeline.delivery.finish()
}

impl<'a> Pipeline<'a> {
    fn new(options: &'a Options, rank: Option<Rank>) -> anyhow::Result<Self> {
        let has = |fault: Fault| options.fault == Some(fault);
        let is_last = rank.is_some_and(|rank| rank.rank + 1 == rank.world_size);
        let number = rank.map_or(0, |rank| rank.rank);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let barrier = match rank {
            Some(rank) if rank.world_size > 1 => Some(Barrier::join(rank, port()?)?),
            _ => None,
        };
        let sink = if let Some(port) = options.view {
            let viewer = Viewer::open(port)?;
            writeln!(io::stderr(), "the film is at http://{}", viewer.address)?;
            Sink::Viewer(viewer)
        } else {
            Sink::Folder(options.output.join(format!("frames_{number}")))
        };
        Ok(Self {
            options,
            steps: if has(Fault::SlowRank) && is_last {
                3 * options.steps
            } else {
                options.steps
            },
            // Ranks share this machine; each takes one core.
            agent: Agent::load(if rank.is_some() { 1 } else { cores })?,
            denoiser: Denoiser::new(has(Fault::SlowLayer)),
            bank: MemoryBank::new(ASKED_FOR - usize::from(has(Fault::Thrash))),
            decoder: Decoder::new(),
            delivery: Delivery::start(sink, has(Fault::Drops).then_some(20))?,
            barrier,
            // Each rank makes a film of its own.
            dice: Dice(1000 + u64::from(number)),
            frames: 0,
            kept: Vec::new(),
            kept_site: site("kept_of_blocks", Kind::Memory),
        })
    }

    fn prompt(&mut self, index: u32) -> anyhow::Result<()> {
        // The outermost span that counts is what counts: the tokens that the agent tells of are no frames.
        let frames = self.options.blocks * FRAMES as u32;
        let _prompt = span!("prompt", Kind::Prompt).index(index).items(frames);
        let text = PROMPTS[index as usize % PROMPTS.len()];
        let mut history = History::new();
        let mut steering = Vec::new();
        for chunk in 0..self.options.blocks {
            let begun = Instant::now();
            let diffusion = span!("diffusion", Kind::Stage);
            if chunk == 0 {
                let _agent = span!("llm_agent", Kind::Stage);
                steering = condition(&self.agent.scene(text)?, CHANNELS);
            }
            let latents = self.chunk(chunk, &steering, &history);
            diffusion.end();
            let generate = begun.elapsed() / FRAMES as u32;
            self.show(index, &latents, generate)?;
            remember(&mut history, latents, self.frames);
            if let Some(barrier) = &mut self.barrier {
                barrier.wait();
            }
            writeln!(io::stderr(), "prompt {index} block {chunk}")?;
        }
        Ok(())
    }

    /// The latents of the next block.
    fn chunk(&mut self, index: u32, steering: &[f32], history: &History) -> Vec<Picture> {
        let _chunk = span!("chunk", Kind::Chunk).index(index);
        let noise = (0..FRAMES).map(|_| Picture::noise(SIDE, CHANNELS, &mut self.dice));
        let mut latents: Vec<Picture> = noise.collect();
        if index >= FIRST_THAT_REMEMBERS && !self.options.without_memory_bank {
            let _memory_bank = span!("memory_bank", Kind::Stage);
            let first = history.iter().take(FRAMES);
            let latest = history[history.len() - 2 * FRAMES..].iter();
            let asked_for = first.chain(latest).map(|(frame, latent)| (*frame, latent));
            self.bank.recall(asked_for, &mut latents);
        }
        let _block = span!("block", Kind::Block)
            .index(index)
            .items(FRAMES as u32);
        self.denoiser.denoise(&mut latents, steering, self.steps);
        if self.options.fault == Some(Fault::Leak) {
            let numbers = latents[0]
                .values
                .iter()
                .flat_map(|value| value.to_le_bytes());
            self.kept.push(numbers.take(KEPT).collect());
            memory(self.kept_site, KEPT as i64, self.kept.len() as u64);
        }
        latents
    }

    /// Decodes, encodes and delivers the frames of a block; `generate` is what the latent of one took.
    fn show(&mut self, prompt: u32, latents: &[Picture], generate: Duration) -> anyhow::Result<()> {
        let mut decoded = Vec::new();
        {
            let _decoding = span!("vae_decoding", Kind::Stage);
            for latent in latents {
                let begun = Instant::now();
                let pixels = self.decoder.decode(latent);
                decoded.push((pixels, generate + begun.elapsed()));
            }
        }
        let _encoding = span!("encoding", Kind::Stage);
        for (pixels, generate) in decoded {
            let begun = Instant::now();
            let file = png::encode(&pixels, PIXELS)?;
            self.delivery.offer(Encoded {
                index: self.frames,
                prompt,
                generate,
                encode: begun.elapsed(),
                file,
            });
            self.frames += 1;
        }
        Ok(())
    }
}

/// Adds the latents of a block to what the next ones may ask for; `frames` is how many there were with them. What nobody asks for
/// any more is forgotten.
fn remember(history: &mut History, latents: Vec<Picture>, frames: u32) {
    let first = u64::from(frames) - latents.len() as u64 + 1;
    history.extend((first..).zip(latents));
    if history.len() > ASKED_FOR {
        history.drain(FRAMES..history.len() - 2 * FRAMES);
    }
}

/// Where rank 0 listens.
fn port() -> anyhow::Result<u16> {
    let name = "MASTER_PORT";
    let text = std::env::var(name).with_context(|| {
        format!("environment variable {name}: expected the port of rank 0, found none")
    })?;
    text.parse()
        .with_context(|| format!("environment variable {name}: expected a port, got {text:?}"))
}
