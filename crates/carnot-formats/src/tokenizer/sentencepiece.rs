//! Sentencepiece's spelling of text, and its scores as merges.

use std::collections::HashMap;

/// Stands for a space.
pub(super) const SPACE: &str = "▁";

/// The bytes that a token's name spells.
pub(super) fn bytes(token: &str) -> Vec<u8> {
    match byte_fallback(token) {
        Some(byte) => vec![byte],
        None => token.replace(SPACE, " ").into_bytes(),
    }
}

/// `<0x0A>` names a byte.
fn byte_fallback(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// Sentencepiece joins the two neighbours whose union scores highest. As a list of merges: every way to split a piece into two
/// pieces, the best score first, as transformers' converter orders them.
///
/// Costs one look-up per character of the vocabulary. Pieces longer than `LONGEST` are left unmerged: real ones have 16
/// characters, and the splits of a hostile one would fill memory.
pub(super) fn merges(
    pieces: &[&str],
    scores: &[f32],
    mergeable: impl Fn(usize) -> bool,
) -> Vec<(String, String)> {
    const LONGEST: usize = 256;
    let ids: HashMap<&str, usize> = pieces
        .iter()
        .enumerate()
        .map(|(id, piece)| (*piece, id))
        .collect();
    let mut splits: Vec<(usize, usize)> = Vec::new();
    for (id, piece) in pieces
        .iter()
        .enumerate()
        .filter(|(id, piece)| mergeable(*id) && piece.len() <= LONGEST)
    {
        let first = splits.len();
        let whole = |at: &usize| ids.contains_key(&piece[..*at]) && ids.contains_key(&piece[*at..]);
        splits.extend(
            piece
                .char_indices()
                .skip(1)
                .map(|(at, _)| at)
                .filter(whole)
                .map(|at| (id, at)),
        );
        splits[first..].sort_by_key(|&(id, at)| (ids[&pieces[id][..at]], ids[&pieces[id][at..]]));
    }
    splits.sort_by(|a, b| {
        let key = |&(id, at): &(usize, usize)| (at, pieces[id].len() - at);
        scores[b.0]
            .total_cmp(&scores[a.0])
            .then(key(b).cmp(&key(a)))
    });
    splits
        .into_iter()
        .map(|(id, at)| (pieces[id][..at].to_owned(), pieces[id][at..].to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_spell_spaces_and_bytes() {
        assert_eq!(bytes("▁a▁"), b" a ");
        assert_eq!(bytes("<0x0A>"), b"\n");
        assert_eq!(bytes("<0x0>"), b"<0x0>");
    }

    #[test]
    fn merges_follow_scores() {
        let pieces = ["a", "b", "c", "ab", "bc", "abc"];
        let scores = [-9.0, -9.0, -9.0, -2.0, -1.0, -3.0];
        let merges = merges(&pieces, &scores, |_| true);
        let expected = [("b", "c"), ("a", "b"), ("ab", "c"), ("a", "bc")];
        assert_eq!(merges, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
