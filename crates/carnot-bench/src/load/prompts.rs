//! What is asked where nobody says what: words, so many, of which some are the same in all prompts.

use super::arrivals::Dice;

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
    let mut draw = |count: usize| {
        let word = |_| WORDS[(dice.uniform() * WORDS.len() as f64) as usize % WORDS.len()];
        (0..count).map(word).collect::<Vec<&str>>().join(" ")
    };
    let beginning = draw(shared);
    let own = (0..count).map(|_| draw(words - shared));
    own.map(|own| format!("{beginning} {own}").trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
