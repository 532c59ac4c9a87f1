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

/// What made-up prompts are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Words of a prompt, about.
    pub words: usize,
    /// The first of them, which are the same in all.
    pub shared: usize,
    /// Tokens of an answer, about.
    pub tokens: usize,
    /// How much both lengths vary: their standard deviation over their mean (gamma distributed; 0 for no variation). They are at least 1.
    pub spread: f64,
    /// Requests of a conversation. Each after the first says about as many new words as the first has that are its own, at least 1.
    pub turns: usize,
}

/// `count` conversations of that shape. The same seed gives the same.
pub fn asks(count: usize, shape: Shape, seed: u64) -> Vec<Ask> {
    let Shape {
        words,
        tokens,
        spread,
        turns,
        ..
    } = shape;
    let shared = shape.shared.min(words);
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
        let tokens = around(tokens, &mut dice);
        let new = |_| {
            let count = around(words, &mut dice).saturating_sub(shared).max(1);
            draw(count, &mut dice).into()
        };
        Ask {
            prompt: prompt.trim().into(),
            tokens,
            later: (1..turns).map(new).collect(),
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
        let shape = |words, shared, tokens, spread| Shape {
            words,
            shared,
            tokens,
            spread,
            turns: 1,
        };
        let even = asks(50, shape(40, 10, 20, 0.0), 1);
        let words = |ask: &Ask| ask.prompt.split(' ').count() as f64;
        assert!(
            even.iter()
                .all(|ask| words(ask) == 40.0 && ask.tokens == 20)
        );
        let uneven = asks(4000, shape(100, 0, 50, 0.5), 1);
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
    fn each_turn_has_new_words() {
        let shape = Shape {
            words: 30,
            shared: 10,
            tokens: 5,
            spread: 0.0,
            turns: 3,
        };
        let many = asks(4, shape, 1);
        for ask in &many {
            let of = |text: &str| text.split(' ').count();
            let later: Vec<usize> = ask.later.iter().map(|text| of(text)).collect();
            assert_eq!((of(&ask.prompt), later, ask.turns()), (30, vec![20, 20], 3));
        }
        assert_ne!(many[0].later[0], many[0].later[1]);
        let shared = Shape {
            shared: 30,
            ..shape
        };
        assert!(
            asks(1, shared, 1)[0]
                .later
                .iter()
                .all(|text| !text.is_empty())
        );
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
