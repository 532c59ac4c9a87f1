//! GPT-2's spelling of bytes as printable characters: those that print stand for themselves, the other 68 for the characters from
//! U+0100 on, in order.

fn prints(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// The bytes that a token's name spells. A character that stands for no byte stands for its own UTF-8: names of tokens that were
/// not trained but added are plain text.
pub(super) fn bytes(token: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(token.len());
    for character in token.chars() {
        match byte(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}

fn byte(character: char) -> Option<u8> {
    if let Ok(byte) = u8::try_from(u32::from(character)) {
        return prints(byte).then_some(byte);
    }
    let index = u32::from(character) - 0x100;
    (0..=u8::MAX)
        .filter(|byte| !prints(*byte))
        .nth(index as usize)
}

/// The character that stands for a byte.
pub(crate) fn character(byte: u8) -> char {
    if prints(byte) {
        return char::from(byte);
    }
    let index = (0..byte).filter(|byte| !prints(*byte)).count();
    char::from_u32(0x100 + index as u32)
        .expect("there are 68 such bytes, and no surrogates near U+0100")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        for expected in 0..=u8::MAX {
            assert_eq!(bytes(&character(expected).to_string()), [expected]);
        }
        assert_eq!(
            (character(b' '), character(b'\n'), character(0xad)),
            ('Ġ', 'Ċ', 'Ń')
        );
    }

    #[test]
    fn names_that_are_text_stay_text() {
        assert_eq!(bytes("▁你"), "▁你".as_bytes());
    }
}
