//! Text to token ids and back.

use crate::error::Error;

/// A model's tokenizer, whichever file described it.
#[derive(Debug)]
pub struct Tokenizer {
    _private: (),
}

impl Tokenizer {
    /// Token ids of `text`. With `add_bos`, the beginning-of-text token is put first if the model wants one.
    pub fn encode(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, Error> {
        let _ = (text, add_bos);
        unimplemented!()
    }
    /// The text of token ids; invalid UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Error> {
        let _ = (ids, skip_special);
        unimplemented!()
    }
    /// The raw bytes of one token, so that a stream can join them; `None` for ids that are no token.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let _ = id;
        unimplemented!()
    }
    /// The beginning-of-text token.
    pub fn bos(&self) -> Option<u32> {
        unimplemented!()
    }
    /// Every token that ends a generation.
    pub fn eos(&self) -> &[u32] {
        unimplemented!()
    }
    /// Number of token ids, special ones included.
    pub fn vocabulary_size(&self) -> usize {
        unimplemented!()
    }
    /// Whether a token is a control token rather than text.
    pub fn is_special(&self, id: u32) -> bool {
        let _ = id;
        unimplemented!()
    }
    /// Whether the model wants a beginning-of-text token in front.
    pub fn adds_bos(&self) -> bool {
        unimplemented!()
    }
}
