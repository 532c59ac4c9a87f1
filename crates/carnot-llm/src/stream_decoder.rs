//! From tokens to text as it streams: never half a character, never part of a stop text.

/// Joins the bytes of tokens and gives out what is certain.
#[derive(Debug)]
pub struct StreamDecoder {
    stops: Vec<String>,
    /// Bytes that are not yet a whole character.
    bytes: Vec<u8>,
    /// Whole characters that may be the beginning of a stop text.
    held: String,
}

/// What a token made certain.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// Text to give out; may be empty.
    pub text: String,
    /// Whether a stop text came: nothing follows.
    pub stopped: bool,
}

impl StreamDecoder {
    /// A decoder that ends at the first of `stops`.
    pub fn new(stops: Vec<String>) -> Self {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        Self {
            stops,
            bytes: Vec::new(),
            held: String::new(),
        }
    }

    /// Adds the bytes of a token.
    pub fn push(&mut self, token: &[u8]) -> Piece {
        self.bytes.extend_from_slice(token);
        self.take_characters();
        if let Some(at) = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop))
            .min()
        {
            let text = self.held[..at].to_owned();
            self.held.clear();
            self.bytes.clear();
            return Piece {
                text,
                stopped: true,
            };
        }
        let certain = self.held.len() - self.may_begin_a_stop();
        Piece {
            text: self.held.drain(..certain).collect(),
            stopped: false,
        }
    }

    /// What was held back, at the end; bytes that never became a character are shown as U+FFFD.
    pub fn finish(&mut self) -> String {
        let mut text = std::mem::take(&mut self.held);
        text += &String::from_utf8_lossy(&std::mem::take(&mut self.bytes));
        text
    }

    /// Moves whole characters from `bytes` to `held`; bytes that cannot begin one become U+FFFD.
    fn take_characters(&mut self) {
        loop {
            match std::str::from_utf8(&self.bytes) {
                Ok(text) => {
                    self.held += text;
                    self.bytes.clear();
                    return;
                }
                Err(error) => {
                    let (good, bad) = (error.valid_up_to(), error.error_len());
                    self.held += &String::from_utf8_lossy(&self.bytes[..good]);
                    let Some(bad) = bad else {
                        self.bytes.drain(..good);
                        return;
                    };
                    self.held.push(char::REPLACEMENT_CHARACTER);
                    self.bytes.drain(..good + bad);
                }
            }
        }
    }

    /// The length of the longest end of `held` that some stop text begins with.
    fn may_begin_a_stop(&self) -> usize {
        let ends = self.held.char_indices().map(|(at, _)| &self.held[at..]);
        let begins = |end: &&str| self.stops.iter().any(|stop| stop.starts_with(end));
        ends.into_iter().find(begins).map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(stops: &[&str], tokens: &[&[u8]]) -> (Vec<String>, bool, String) {
        let mut decoder = StreamDecoder::new(stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut texts = Vec::new();
        for token in tokens {
            let piece = decoder.push(token);
            texts.push(piece.text);
            if piece.stopped {
                return (texts, true, decoder.finish());
            }
        }
        (texts, false, decoder.finish())
    }

    #[test]
    fn characters_are_never_split() {
        let (texts, _, rest) = stream(&[], &[b"a\xf0\x9f", b"\x98", b"\x80b", b"\xe2\x82"]);
        assert_eq!(
            (texts, rest.as_str()),
            (
                vec!["a".into(), String::new(), "😀b".into(), String::new()],
                "\u{fffd}"
            )
        );
    }

    #[test]
    fn broken_bytes_are_replaced_and_the_stream_goes_on() {
        let (texts, _, rest) = stream(&[], &[b"a\xffb", b"\xc3(", b"\x80"]);
        assert_eq!(
            (texts.concat(), rest.as_str()),
            ("a\u{fffd}b\u{fffd}(\u{fffd}".into(), "")
        );
    }

    #[test]
    fn a_stop_text_across_tokens_is_cut() {
        let (texts, stopped, rest) =
            stream(&["\n\n", "END"], &[b"one\n", b"two E", b"N", b"D three"]);
        assert_eq!(
            (texts.concat(), stopped, rest.as_str()),
            ("one\ntwo ".into(), true, "")
        );
    }

    #[test]
    fn what_turns_out_not_to_be_a_stop_comes_out() {
        let (texts, stopped, rest) = stream(&["END"], &[b"E", b"N", b"T", b"E"]);
        assert_eq!(
            (texts, stopped, rest.as_str()),
            (
                vec![String::new(), String::new(), "ENT".into(), String::new()],
                false,
                "E"
            )
        );
    }

    #[test]
    fn the_earliest_stop_wins() {
        let (texts, stopped, _) = stream(&["b", "a"], &[b"xxab"]);
        assert_eq!((texts.concat(), stopped), ("xx".into(), true));
    }
}
