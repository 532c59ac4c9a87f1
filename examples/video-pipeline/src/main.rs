//! A streaming video pipeline, small and real, that is profiled by Carnot.
//!
//! ```text
//! options       what is asked for, and which rank of how many this is
//! pipeline      prompts ─▶ agent ─▶ memory bank ─▶ denoising ─▶ decoding ─▶ encoding ─▶ delivery; where all spans are
//! agent         a few tokens of the embedded language model for each prompt
//! memory_bank   features of earlier frames, kept as long as they are asked for
//! denoiser      a residual network over a small latent, some steps a block
//! decoder       latents to frames              png       frames to bytes
//! delivery      a bounded queue, and the thread behind it that writes or shows frames
//! viewer        a page that shows the newest frame
//! barrier       all ranks wait for each other after each block
//! convolution   the arithmetic of all three networks, and the seeded noise they are made of
//! ```
//!
//! `pipeline.py` beside it is the same in Python. Numbers come from seeds, times from work: nothing sleeps to look busy.

mod agent;
mod barrier;
mod convolution;
mod decoder;
mod delivery;
mod denoiser;
mod memory_bank;
mod options;
mod pipeline;
mod png;
mod viewer;

use std::collections::BTreeMap;
use std::io::{self, Write};

use carnot_record::Outcome;
use carnot_session::{Config, Identity, Session, report};
use clap::Parser;

use options::Options;

/// The system's allocator, which can be asked who allocates.
#[global_allocator]
static ALLOCATOR: carnot_sampling::heap::Counting = carnot_sampling::heap::Counting;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let rank = options::rank(|name| std::env::var(name).ok())?;
    let config = Config {
        output_dir: options.output.clone(),
        // The pipeline tells of each block itself.
        real_time_display: false,
        sample_allocations: options.sample_allocations,
        ..Config::default()
    };
    let identity = Identity {
        unit: Some("frames".to_owned()),
        tags: tags(&options),
        rank,
        ..Identity::named("video-pipeline")
    };
    let session = Session::start(&config, identity, None)?;
    let ran = pipeline::run(&options, rank, &session);
    let outcome = match &ran {
        Ok(()) => Outcome::Completed,
        Err(error) => Outcome::Failed(format!("{error:#}")),
    };
    let trace = session.end(outcome)?;
    let reports = report(&trace, &config, options.playback_fps)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", reports.text)?;
    for file in &reports.files {
        writeln!(out, "{}", file.display())?;
    }
    ran
}

fn tags(options: &Options) -> BTreeMap<String, String> {
    let bank = if options.without_memory_bank {
        "off"
    } else {
        "on"
    };
    let fault = options.fault.map_or("none", |fault| fault.name());
    BTreeMap::from([
        ("memory_bank".to_owned(), bank.to_owned()),
        ("fault".to_owned(), fault.to_owned()),
    ])
}
