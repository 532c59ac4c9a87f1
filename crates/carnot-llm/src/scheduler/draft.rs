//! Speculative decoding without a second model: what followed when the same few tokens came before.
//!
//! The guess is computed together with the token that is certain, since a step reads all weights for one row as for five. The sampler then goes
//! through the rows: it draws each token as if there were no guess, and goes on to the next row while the guess was what it drew. So
//! the text is the same, whatever is guessed (prompt lookup decoding, Saxena 2023).
//!
//! Whether it pays depends on the text and the machine, and is measured: seconds a token with guesses and without, the worse of
//! the two tried again now and then.

/// Tokens that have to be the same, longer matches first.
const MATCHES: [usize; 2] = [4, 2];
/// Steps of the way that is worse at the moment, in so many steps of both.
const TRIALS: u64 = 4;
const PERIOD: u64 = 128;
/// What an older step counts against the one after it.
const MEMORY: f64 = 0.95;

/// Up to `most` tokens that followed the last place where the end of `tokens` was seen before.
pub(super) fn lookup(tokens: &[u32], most: usize) -> &[u32] {
    let found = MATCHES.iter().find_map(|&length| {
        let end = tokens.len().checked_sub(length)?;
        let wanted = &tokens[end..];
        // The match itself, and what overlaps it, is no earlier place.
        let earlier = tokens[..tokens.len() - 1].windows(length);
        let at = earlier
            .enumerate()
            .rev()
            .find(|(_, window)| *window == wanted)?
            .0;
        Some(&tokens[at + length..])
    });
    let following = found.unwrap_or_default();
    &following[..most.min(following.len())]
}

/// What steps with guesses and without cost for each token that came of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Worth {
    plain: Cost,
    drafted: Cost,
    steps: u64,
}

/// Seconds and tokens, those of long ago nearly forgotten.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    seconds: f64,
    tokens: f64,
}

impl Cost {
    fn add(&mut self, seconds: f64, tokens: usize) {
        self.seconds = MEMORY * self.seconds + seconds;
        self.tokens = MEMORY * self.tokens + tokens as f64;
    }

    fn of_a_token(self) -> Option<f64> {
        (self.tokens > 0.0).then(|| self.seconds / self.tokens)
    }
}

impl Worth {
    /// A step without prompts gave `tokens` tokens.
    pub fn observe(&mut self, is_drafted: bool, seconds: f64, tokens: usize) {
        let cost = if is_drafted {
            &mut self.drafted
        } else {
            &mut self.plain
        };
        cost.add(seconds, tokens);
        self.steps += 1;
    }

    /// Whether the next step should guess.
    pub fn pays(&self) -> bool {
        let Some(plain) = self.plain.of_a_token() else {
            return false;
        };
        let Some(drafted) = self.drafted.of_a_token() else {
            return true;
        };
        let is_trial = self.steps % PERIOD < TRIALS;
        (drafted < plain) != is_trial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_last_time_is_found() {
        let tokens = [1, 2, 3, 4, 9, 8, 7, 5, 3, 4, 6, 1, 2, 3, 4];
        assert_eq!(lookup(&tokens, 3), [9, 8, 7], "four tokens are the same");
        assert_eq!(lookup(&tokens[..11], 9), [0; 0], "nothing was seen twice");
        assert_eq!(lookup(&[5, 3, 4, 6, 3, 4], 9), [6, 3, 4], "two are");
        assert_eq!(lookup(&[7, 7, 7, 7, 7, 7], 2), [7], "up to the end");
        assert_eq!(lookup(&[1], 4), [0; 0]);
        assert_eq!(lookup(&[], 4), [0; 0]);
    }

    #[test]
    fn what_costs_less_is_done_and_the_other_tried() {
        let mut worth = Worth::default();
        assert!(!worth.pays(), "first without");
        worth.observe(false, 0.030, 1);
        assert!(worth.pays(), "then with");
        let mut drafted = 0;
        for _ in 0..1280 {
            let pays = worth.pays();
            drafted += u64::from(pays);
            // A guess costs a fifth more, and half of them give a second token.
            let tokens = if pays && drafted % 2 == 0 { 2 } else { 1 };
            worth.observe(pays, if pays { 0.036 } else { 0.030 }, tokens);
        }
        assert!(drafted > 1100, "{drafted}");
        let mut drafted = 0;
        for _ in 0..1280 {
            let pays = worth.pays();
            drafted += u64::from(pays);
            worth.observe(pays, if pays { 0.036 } else { 0.030 }, 1);
        }
        assert!(drafted < 150, "{drafted}");
    }
}
