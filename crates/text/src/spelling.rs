//! How the bytes of a token are spelled in a `tokenizer.json`.

use serde_json::Value;

/// How a tokenizer writes bytes as the characters of its vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spelling {
    /// GPT-2's: each byte is one printable character.
    ByteLevel,
    /// SentencePiece's: a character stands for the space, and `<0x0A>` for a byte outside of the vocabulary.
    SentencePiece {
        /// The character that stands for a space, usually `▁`.
        space: char,
        /// Leading spaces that encoding adds to a text and decoding removes.
        added_spaces: usize,
    },
    /// Whole words and their parts: a space goes before each token that lacks the prefix (`##`; empty: none has it).
    Words {
        /// Prefix of tokens that continue a word.
        prefix: String,
    },
}

impl Spelling {
    /// Reads the spelling from the decoder of a `tokenizer.json`; the decoder is `null` in some files, and then
    /// `encoder` (its normalizer and pre-tokenizer) and the model's `byte_fallback` tell. `None`: not supported.
    pub(crate) fn detect(decoder: &Value, encoder: &[&Value], byte_fallback: bool) -> Option<Self> {
        let parts = flatten(decoder);
        let part = |kind: &str| parts.iter().copied().find(|p| p["type"] == kind);
        if part("ByteLevel").is_some() {
            return Some(Self::ByteLevel);
        }
        if part("BPEDecoder").is_some() || part("CTC").is_some() {
            return None;
        }
        if let Some(words) = part("WordPiece") {
            let prefix = words["prefix"].as_str().unwrap_or("##").to_owned();
            return Some(Self::Words { prefix });
        }
        if let Some(metaspace) = part("Metaspace") {
            let adds = metaspace["prepend_scheme"] != "never" && metaspace["add_prefix_space"] != false;
            let space = metaspace["replacement"].as_str().and_then(|r| r.chars().next());
            return Some(Self::SentencePiece {
                space: space.unwrap_or('▁'),
                added_spaces: usize::from(adds),
            });
        }
        if part("ByteFallback").is_some() || part("Replace").is_some() {
            let strip = part("Strip").filter(|s| s["content"] == " ");
            let start = strip.and_then(|s| s["start"].as_u64()).unwrap_or(0);
            return Some(Self::SentencePiece {
                space: '▁',
                added_spaces: usize::try_from(start).unwrap_or(usize::MAX),
            });
        }
        let byte_level = |v: &&Value| flatten(v).iter().any(|p| p["type"] == "ByteLevel");
        if encoder.iter().any(byte_level) {
            return Some(Self::ByteLevel);
        }
        Some(match byte_fallback {
            true => Self::SentencePiece { space: '▁', added_spaces: 0 },
            false => Self::Words { prefix: String::new() },
        })
    }

    /// Leading spaces of a decoded text that were not in the encoded one.
    pub(crate) fn added_spaces(&self) -> usize {
        match self {
            Self::ByteLevel => 0,
            Self::SentencePiece { added_spaces, .. } => *added_spaces,
            Self::Words { .. } => 1,
        }
    }

    /// The bytes that `token` of the vocabulary stands for. An `added` token is spelled as the text that it matches.
    pub(crate) fn bytes(&self, token: &str, added: bool) -> Vec<u8> {
        match self {
            Self::ByteLevel if added => token.as_bytes().to_vec(),
            Self::ByteLevel => {
                let bytes: Option<Vec<u8>> = token.chars().map(char_byte).collect();
                bytes.unwrap_or_else(|| token.as_bytes().to_vec())
            }
            Self::SentencePiece { space, .. } => match byte_token(token) {
                Some(byte) => vec![byte],
                None => token.replace(*space, " ").into_bytes(),
            },
            Self::Words { prefix } => match token.strip_prefix(prefix.as_str()) {
                Some(rest) if !prefix.is_empty() => rest.as_bytes().to_vec(),
                _ => format!(" {token}").into_bytes(),
            },
        }
    }
}

/// The steps of a decoder, normalizer or pre-tokenizer, those of a `Sequence` one by one.
fn flatten(part: &Value) -> Vec<&Value> {
    let steps = ["decoders", "normalizers", "pretokenizers"];
    match steps.iter().find_map(|name| part[name].as_array()) {
        Some(list) => list.iter().flat_map(flatten).collect(),
        None => vec![part],
    }
}

/// The byte of a byte-fallback token: `<0x0A>` is 10.
fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let hex = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if hex { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// GPT-2's character for a byte (`bytes_to_unicode` of openai/gpt-2): printable Latin-1 is itself, the other 68 bytes
/// are U+0100 and following, in order.
pub(crate) fn byte_char(byte: u8) -> char {
    if is_printable(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|b| !is_printable(*b)).count() as u32;
    char::from_u32(0x100 + rank).expect("U+0100 to U+0143 are characters")
}

/// The byte of GPT-2's character; the inverse of [`byte_char`].
fn char_byte(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ 0..=0xFF => Some(code as u8).filter(|b| is_printable(*b)),
        code @ 0x100..=0x143 => {
            let rank = (code - 0x100) as usize;
            (0..=u8::MAX).filter(|b| !is_printable(*b)).nth(rank)
        }
        _ => None,
    }
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_and_characters_are_one_to_one() {
        for byte in 0..=u8::MAX {
            assert_eq!(char_byte(byte_char(byte)), Some(byte));
        }
        assert_eq!(byte_char(b' '), 'Ġ');
        assert_eq!(byte_char(b'\n'), 'Ċ');
        assert_eq!(byte_char(0xAD), '\u{143}');
        assert_eq!(char_byte(' '), None);
        assert_eq!(char_byte('\u{144}'), None);
    }

    #[test]
    fn tokens_are_spelled_by_their_kind() {
        let sentence = Spelling::SentencePiece { space: '▁', added_spaces: 1 };
        let words = Spelling::Words { prefix: "##".into() };
        let cases: [(&Spelling, &str, bool, &[u8]); 10] = [
            (&Spelling::ByteLevel, "Ġthe", false, b" the"),
            (&Spelling::ByteLevel, "Ã©", false, "é".as_bytes()),
            (&Spelling::ByteLevel, "Ã©", true, "Ã©".as_bytes()),
            (&Spelling::ByteLevel, "a b", false, b"a b"),
            (&sentence, "▁the", false, b" the"),
            (&sentence, "<0x0A>", false, b"\n"),
            (&sentence, "<0x+A>", false, b"<0x+A>"),
            (&sentence, "<0xé>", false, "<0xé>".as_bytes()),
            (&words, "##ing", false, b"ing"),
            (&words, "walk", false, b" walk"),
        ];
        for (spelling, token, added, bytes) in cases {
            assert_eq!(spelling.bytes(token, added), bytes, "{spelling:?} {token}");
        }
    }

    #[test]
    fn spellings_are_detected() {
        let detect = |decoder: Value| Spelling::detect(&decoder, &[&Value::Null], false);
        let sentence = |added_spaces| Some(Spelling::SentencePiece { space: '▁', added_spaces });
        let metaspace =
            |scheme: &str| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme});
        assert_eq!(detect(json!({"type": "ByteLevel"})), Some(Spelling::ByteLevel));
        assert_eq!(detect(metaspace("always")), sentence(1));
        assert_eq!(detect(metaspace("never")), sentence(0));
        let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
        let llama =
            json!({"type": "Sequence", "decoders": [{"type": "Replace"}, {"type": "ByteFallback"}, strip]});
        assert_eq!(detect(llama), sentence(1));
        assert_eq!(detect(json!({"type": "BPEDecoder", "suffix": "</w>"})), None);
        let encoder = json!({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}]});
        assert_eq!(Spelling::detect(&Value::Null, &[&encoder], false), Some(Spelling::ByteLevel));
        assert_eq!(Spelling::detect(&Value::Null, &[], true), sentence(0));
    }
}
