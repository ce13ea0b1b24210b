//! Text from token ids as they come, never half a character.

use crate::Tokenizer;

/// Decodes ids one by one. What it returns, put together, is [`Tokenizer::decode`] of all ids.
///
/// A character whose bytes are spread over several tokens comes with the last of them. Bytes that are not UTF-8 become
/// U+FFFD just as [`String::from_utf8_lossy`] has it.
pub struct StreamDecoder<'t> {
    tokenizer: &'t Tokenizer,
    /// Bytes not yet returned; between calls the start of one character, at most 3 bytes.
    pending: Vec<u8>,
    /// Leading spaces still to be dropped: those that encoding adds to a text.
    spaces: usize,
}

impl<'t> StreamDecoder<'t> {
    /// A decoder for ids that start a text.
    pub fn new(tokenizer: &'t Tokenizer) -> Self {
        let spaces = tokenizer.spelling().added_spaces();
        Self { tokenizer, pending: Vec::new(), spaces }
    }

    /// A decoder for ids that go on from a text, such as a model's answer to a prompt: a leading space is kept.
    pub fn continuing(tokenizer: &'t Tokenizer) -> Self {
        Self { tokenizer, pending: Vec::new(), spaces: 0 }
    }

    /// Takes the next id; returns the characters that are now whole, often none. Special tokens and ids outside of the
    /// vocabulary have no text.
    pub fn push(&mut self, id: u32) -> String {
        let mut bytes = self.tokenizer.bytes(id);
        while let (1.., Some((first, rest))) = (self.spaces, bytes.split_first()) {
            match first {
                b' ' => {
                    bytes = rest;
                    self.spaces -= 1;
                }
                _ => self.spaces = 0,
            }
        }
        self.pending.extend_from_slice(bytes);
        let whole = whole_bytes(&self.pending);
        let text = String::from_utf8_lossy(&self.pending[..whole]).into_owned();
        self.pending.drain(..whole);
        text
    }

    /// What is left at the end: U+FFFD if a character was cut, else nothing.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// The bytes before a trailing character that more bytes could still complete.
fn whole_bytes(bytes: &[u8]) -> usize {
    let start = bytes.len().saturating_sub(3);
    (start..bytes.len())
        .find(|&i| {
            std::str::from_utf8(&bytes[i..]).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
        })
        .unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cut_characters_wait_and_nothing_else(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let whole = whole_bytes(&bytes);
            prop_assert!(bytes.len() - whole <= 3);
            let parts = String::from_utf8_lossy(&bytes[..whole]) + String::from_utf8_lossy(&bytes[whole..]);
            prop_assert_eq!(parts, String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn every_start_of_a_character_waits() {
        for character in ["é", "東", "🙂"] {
            for cut in 1..character.len() {
                assert_eq!(whole_bytes(&character.as_bytes()[..cut]), 0, "{character} cut at {cut}");
            }
            assert_eq!(whole_bytes(character.as_bytes()), character.len());
        }
    }
}
