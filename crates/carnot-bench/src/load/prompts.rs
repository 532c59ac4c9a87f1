//! What is asked where nobody says what: words, so many, of which some are the same in all prompts.

use super::Ask;
use crate::dice::Dice;

/// Common words, each a token in most vocabularies, or nearly.
const WORDS: [&str; 32] = [
    "the", "value", "of", "a", "list", "is", "read", "from", "file", "and", "when", "it", "has",
    "no", "name", "return", "this", "error", "with", "time", "in", "class", "for", "each", "line",
    "to", "set", "new", "test", "not", "all", "end",
];

/// `count` prompts of `words` words, of which the first `shared` are the same. The same seed gives the same prompts.
pub fn prompts(count: usize, words: usize, shared: usize, seed: u64) -> Vec<String> {
    let shared = shared.min(words);
    let mut dice = Dice(seed);
    let beginning = draw(shared, &mut dice);
    let own = (0..count).map(|_| draw(words - shared, &mut dice));
    own.map(|own| format!("{beginning} {own}").trim().to_owned())
        .collect()
}

/// `count` prompts of about `words` words, of which the first `shared` are the same, for answers of about `tokens` tokens. Both lengths vary by `spread`, their
/// standard deviation over their mean (gamma distributed; 0 for no variation), and are at least 1.
pub fn asks(
    count: usize,
    words: usize,
    shared: usize,
    tokens: usize,
    spread: f64,
    seed: u64,
) -> Vec<Ask> {
    let shared = shared.min(words);
    let mut dice = Dice(seed);
    let beginning = draw(shared, &mut dice);
    let around = |mean: usize, dice: &mut Dice| {
        if spread == 0.0 {
            return mean;
        }
        let variance = spread * spread;
        let drawn = mean as f64 * variance * dice.gamma(1.0 / variance);
        (drawn.round() as usize).max(1)
    };
    let ask = |_| {
        let own = around(words, &mut dice).saturating_sub(shared);
        let prompt = format!("{beginning} {}", draw(own, &mut dice));
        Ask {
            prompt: prompt.trim().into(),
            tokens: around(tokens, &mut dice),
        }
    };
    (0..count).map(ask).collect()
}

/// `count` words; the same seed gives the same.
pub fn words(count: usize, seed: u64) -> String {
    draw(count, &mut Dice(seed))
}

fn draw(count: usize, dice: &mut Dice) -> String {
    let word = |_| WORDS[(dice.uniform() * WORDS.len() as f64) as usize % WORDS.len()];
    (0..count).map(word).collect::<Vec<&str>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_vary_as_they_are_to() {
        let even = asks(50, 40, 10, 20, 0.0, 1);
        let words = |ask: &Ask| ask.prompt.split(' ').count() as f64;
        assert!(
            even.iter()
                .all(|ask| words(ask) == 40.0 && ask.tokens == 20)
        );
        let uneven = asks(4000, 100, 0, 50, 0.5, 1);
        let of = |values: Vec<f64>| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            (mean, (squares / values.len() as f64).sqrt() / mean)
        };
        for (lengths, expected) in [
            (uneven.iter().map(words).collect(), 100.0),
            (uneven.iter().map(|ask| ask.tokens as f64).collect(), 50.0),
        ] {
            let (mean, spread) = of(lengths);
            assert!((mean / expected - 1.0).abs() < 0.04, "{mean} of {expected}");
            assert!((spread - 0.5).abs() < 0.04, "{spread}");
        }
    }

    #[test]
    fn prompts_share_what_they_are_to_share() {
        let prompts = prompts(3, 40, 30, 1);
        let beginning: Vec<&str> = prompts[0].split(' ').take(30).collect();
        for prompt in &prompts {
            let words: Vec<&str> = prompt.split(' ').collect();
            assert_eq!(words.len(), 40);
            assert_eq!(words[..30], beginning);
        }
        assert_ne!(prompts[0], prompts[1]);
        assert_eq!(
            super::prompts(1, 4, 0, 7),
            super::prompts(1, 4, 9, 7),
            "no more is shared than there is"
        );
    }
}
