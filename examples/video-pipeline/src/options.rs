//! What is asked for on the command line, the faults that can be planted, and what a launcher says of ranks.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use carnot_record::Rank;
use clap::{Parser, ValueEnum};

/// A streaming video pipeline that is profiled by Carnot.
#[derive(Debug, Parser)]
pub struct Options {
    /// Prompts, one after the other
    #[arg(long, default_value_t = 2)]
    pub prompts: u32,
    /// Blocks of three frames for each prompt
    #[arg(long, default_value_t = 7)]
    pub blocks: u32,
    /// Steps of denoising for each block
    #[arg(long, default_value_t = 4)]
    pub steps: u32,
    /// Makes each block without looking at earlier frames, to be compared by `carnot profile versus`
    #[arg(long)]
    pub without_memory_bank: bool,
    /// Plants a fault that the report has to find
    #[arg(long)]
    pub fault: Option<Fault>,
    /// The folder for the trace, the reports and the frames
    #[arg(long, default_value = "profiling_reports")]
    pub output: PathBuf,
    /// Shows frames on a page of this machine, at this port or a free one, in place of writing them to files
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "0")]
    pub view: Option<u16>,
    /// Looks at one allocation in so many bytes, to say who allocates; 0 looks at none
    #[arg(long, value_name = "BYTES", default_value_t = 512 * 1024)]
    pub sample_allocations: u64,
    /// How fast a viewer shows frames; the report then says where the picture would have stood still
    #[arg(long = "fps", value_name = "FPS")]
    pub playback_fps: Option<f64>,
}

/// A fault, planted for real.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Keeps 1 KiB of each block
    Leak,
    /// Gives the memory bank room for one frame less than is asked for in turn
    Thrash,
    /// Drops one frame in 20
    Drops,
    /// One layer of the denoiser does 30 % more work than it says
    SlowLayer,
    /// The last rank takes three times as many steps
    SlowRank,
}

impl Fault {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Thrash => "thrash",
            Self::Drops => "drops",
            Self::SlowLayer => "slow-layer",
            Self::SlowRank => "slow-rank",
        }
    }
}

/// What launchers such as `torchrun` say in `RANK`, `WORLD_SIZE` and `LOCAL_RANK`; nothing where one of the first two is missing.
pub fn rank(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<Rank>> {
    let number = |name: &str| {
        let Some(text) = variable(name) else {
            return Ok(None);
        };
        let number = text.parse::<u32>();
        number.map(Some).with_context(|| {
            format!("environment variable {name}: expected a number, got {text:?}")
        })
    };
    let (Some(rank), Some(world_size)) = (number("RANK")?, number("WORLD_SIZE")?) else {
        return Ok(None);
    };
    ensure!(
        rank < world_size,
        "environment variable RANK: expected less than WORLD_SIZE, {world_size}, got {rank}"
    );
    Ok(Some(Rank {
        rank,
        world_size,
        local_rank: number("LOCAL_RANK")?.unwrap_or(rank),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> anyhow::Result<Option<Rank>> {
        rank(|name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn ranks_are_what_the_launcher_says() {
        assert_eq!(of(&[]).unwrap(), None);
        let found = of(&[("RANK", "2"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "0")]);
        let expected = Rank {
            rank: 2,
            world_size: 4,
            local_rank: 0,
        };
        assert_eq!(found.unwrap(), Some(expected));
        let error = of(&[("RANK", "4"), ("WORLD_SIZE", "4")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "environment variable RANK: expected less than WORLD_SIZE, 4, got 4"
        );
    }
}
