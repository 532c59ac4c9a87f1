//! How many prompt tokens fit into a step beside the sequences that decode, from how long steps took.
//!
//! Two running averages: the time of a step that only decodes, and the time that each prompt token adds. Both follow the
//! machine, the depth of the sequences and their number, because all of these change slowly from step to step.

use std::time::Duration;

/// Weight of the newest step in an average.
const NEWEST: f64 = 0.25;
/// Prompt tokens of the first step that has to be held short, when nothing is known yet.
const FIRST: usize = 32;
/// Prompt tokens that a step takes whatever they cost, so that prompts come to an end.
const FEWEST: usize = 4;
/// How long a step may take against one without prompts, where nothing else is asked for.
const SLOWDOWN: f64 = 1.75;

/// What steps cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    decode_seconds: Option<f64>,
    token_seconds: Option<f64>,
}

impl Pace {
    /// A step of `prompt` prompt tokens and `decode` others took this long.
    pub fn observe(&mut self, prompt: usize, decode: usize, took: Duration) {
        let took = took.as_secs_f64();
        if prompt == 0 {
            average(&mut self.decode_seconds, took);
            return;
        }
        let base = if decode > 0 {
            self.decode_seconds.unwrap_or(0.0)
        } else {
            0.0
        };
        average(
            &mut self.token_seconds,
            (took - base).max(0.0) / prompt as f64,
        );
    }

    /// Prompt tokens that fit into a step of `target` beside `decode` sequences; at most `most`.
    pub fn prompt_tokens(&self, target: Option<Duration>, decode: usize, most: usize) -> usize {
        if decode == 0 {
            return most;
        }
        let fitting = match (self.decode_seconds, self.token_seconds) {
            (Some(decode), Some(token)) => {
                let target = target.map_or(SLOWDOWN * decode, |target| target.as_secs_f64());
                ((target - decode) / token.max(1e-9)).max(0.0) as usize
            }
            _ => FIRST,
        };
        fitting.clamp(FEWEST.min(most), most)
    }
}

fn average(of: &mut Option<f64>, newest: f64) {
    *of = Some(of.map_or(newest, |before| before + NEWEST * (newest - before)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_into_the_target() {
        let mut pace = Pace::default();
        let target = Some(Duration::from_millis(50));
        assert_eq!(
            pace.prompt_tokens(target, 0, 512),
            512,
            "nobody waits for a token"
        );
        assert_eq!(
            pace.prompt_tokens(target, 3, 512),
            FIRST,
            "nothing is known"
        );
        for _ in 0..40 {
            pace.observe(0, 3, Duration::from_millis(20));
            pace.observe(32, 3, Duration::from_millis(36));
        }
        assert_eq!(
            pace.prompt_tokens(target, 3, 512),
            60,
            "30 ms at half a millisecond each"
        );
        assert_eq!(
            pace.prompt_tokens(None, 3, 512),
            30,
            "three quarters of 20 ms"
        );
        for _ in 0..40 {
            pace.observe(0, 9, Duration::from_millis(60));
        }
        assert_eq!(
            pace.prompt_tokens(target, 9, 512),
            FEWEST,
            "decoding alone takes longer"
        );
        assert_eq!(pace.prompt_tokens(target, 9, 2), 2);
    }
}
