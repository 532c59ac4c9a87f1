//! A byte-level vocabulary of any size: the 256 bytes, then strings of letters, shortest first, each the merge of the string without
//! its last letter and that letter. A space may begin a string.

use std::collections::VecDeque;

use crate::tokenizer::byte_level::character;
use crate::tokenizer::listing::{Listing, kind};

/// A listing of exactly `size` tokens.
///
/// # Panics
///
/// If `size` is too small for the bytes and two special tokens.
pub(super) fn listing(size: usize) -> Listing {
    let mut tokens = vec!["<|begin|>".to_owned(), "<|end|>".to_owned()];
    tokens.extend((0..=u8::MAX).map(|byte| character(byte).to_string()));
    assert!(
        size >= tokens.len(),
        "a vocabulary of {size} has no room for the 256 bytes"
    );
    let mut kinds = vec![kind::NORMAL; size];
    kinds[..2].fill(kind::CONTROL);
    let mut merges = Vec::new();
    let mut prefixes: VecDeque<String> = [character(b' ')]
        .into_iter()
        .chain('a'..='z')
        .map(String::from)
        .collect();
    while tokens.len() < size {
        let prefix = prefixes
            .pop_front()
            .expect("every prefix that is taken adds 26");
        for letter in ('a'..='z').take(size - tokens.len()) {
            let token = format!("{prefix}{letter}");
            merges.push(format!("{prefix} {letter}"));
            prefixes.push_back(token.clone());
            tokens.push(token);
        }
    }
    Listing {
        model: "gpt2".to_owned(),
        pre: Some("gpt-2".to_owned()),
        tokens,
        kinds,
        scores: None,
        merges: Some(merges),
        ids: vec![("bos".to_owned(), 0), ("eos".to_owned(), 1)],
        flags: vec![("add_bos_token".to_owned(), true)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_distinct_and_as_many_as_asked() {
        for size in [258, 259, 1000, 32_000] {
            let listing = listing(size);
            let distinct: std::collections::HashSet<_> = listing.tokens.iter().collect();
            assert_eq!((distinct.len(), listing.kinds.len()), (size, size));
            assert_eq!(listing.merges.unwrap().len(), size - 258);
        }
    }
}
