//! How many prompt tokens fit into a step beside the sequences that decode, from how long steps took.
//!
//! Two running averages: the time of a step that only decodes, of so many sequences, and the time that each further row adds, be it a prompt
//! token or a sequence. Both follow the machine and the depth of the sequences, which change slowly from step to step.
//!
//! Where nothing else is asked for, running sequences wait somewhat longer for their tokens than they would alone, and then as if those who
//! wait to join them, but one, were with them already: soon they are. So a single long prompt is held short, and sixteen that come at once
//! do not trickle in one by one while the machine decodes for few.

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
    /// Sequences in such a step.
    decode_rows: Option<f64>,
    token_seconds: Option<f64>,
}

impl Pace {
    /// A step of `prompt` prompt tokens and `decode` others took this long.
    pub fn observe(&mut self, prompt: usize, decode: usize, took: Duration) {
        let took = took.as_secs_f64();
        if prompt == 0 {
            average(&mut self.decode_seconds, took);
            average(&mut self.decode_rows, decode as f64);
            return;
        }
        let base = if decode > 0 { self.alone(decode) } else { 0.0 };
        average(
            &mut self.token_seconds,
            (took - base).max(0.0) / prompt as f64,
        );
    }

    /// Seconds of a step in which `sequences` decode and nothing else is done.
    fn alone(&self, sequences: usize) -> f64 {
        let seconds = self.decode_seconds.unwrap_or(0.0);
        let more = sequences as f64 - self.decode_rows.unwrap_or(0.0);
        (seconds + more * self.token_seconds.unwrap_or(0.0)).max(seconds / 2.0)
    }

    /// Prompt tokens that fit into a step of `target` beside `decode` sequences, which `coming` others wait to join; at most `most`.
    pub fn prompt_tokens(
        &self,
        target: Option<Duration>,
        decode: usize,
        coming: usize,
        most: usize,
    ) -> usize {
        if decode == 0 {
            return most;
        }
        let fitting = match (self.decode_seconds, self.token_seconds) {
            (Some(_), Some(token)) => {
                let joined = self.alone(decode + coming.saturating_sub(1));
                let target = target.map_or(SLOWDOWN * joined, |target| target.as_secs_f64());
                ((target - self.alone(decode)) / token.max(1e-9)).max(0.0) as usize
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
            pace.prompt_tokens(target, 0, 1, 512),
            512,
            "nobody waits for a token"
        );
        assert_eq!(
            pace.prompt_tokens(target, 3, 1, 512),
            FIRST,
            "nothing is known"
        );
        for _ in 0..40 {
            pace.observe(0, 3, Duration::from_millis(20));
            pace.observe(32, 3, Duration::from_millis(36));
        }
        assert_eq!(
            pace.prompt_tokens(target, 3, 1, 512),
            60,
            "30 ms at half a millisecond each"
        );
        assert_eq!(
            pace.prompt_tokens(None, 3, 1, 512),
            30,
            "three quarters of 20 ms"
        );
        assert_eq!(
            pace.prompt_tokens(None, 3, 9, 512),
            44,
            "eight more would take 24 ms alone, 42 with what is added"
        );
        assert_eq!(pace.prompt_tokens(None, 7, 1, 512), 33, "seven take 22 ms");
        for _ in 0..40 {
            pace.observe(0, 9, Duration::from_millis(60));
        }
        assert_eq!(
            pace.prompt_tokens(target, 9, 1, 512),
            FEWEST,
            "decoding alone takes longer"
        );
        assert_eq!(pace.prompt_tokens(target, 9, 1, 2), 2);
    }
}
