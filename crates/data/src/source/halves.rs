//! Halves of characters in JSON: an escape of one half of a surrogate pair, which Python's json writes and no text can hold.

/// What such a line has.
pub(crate) const WHAT: &str = "half a character (a \\u escape of one half of a surrogate pair)";

/// Bytes of an escape: `\uD83D`.
const ESCAPE_BYTES: usize = 6;

/// A line of JSON with U+FFFD for each half of a character; `None` where it has none.
pub(crate) fn replaced(line: &str) -> Option<String> {
    let (mut whole, mut from, mut at) = (String::new(), 0, 0);
    // A backslash is an ASCII byte, so that every place found is between two characters.
    while let Some(found) = line.as_bytes()[at..].iter().position(|byte| *byte == b'\\') {
        at += found;
        let length = match (unit(line, at), unit(line, at + ESCAPE_BYTES)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 2 * ESCAPE_BYTES,
            (Some(0xd800..=0xdfff), _) => {
                whole.push_str(&line[from..at]);
                whole.push_str("\\ufffd");
                from = at + ESCAPE_BYTES;
                ESCAPE_BYTES
            }
            // Another escape: what follows its backslash begins none.
            _ => 2,
        };
        at = (at + length).min(line.len());
    }
    (from > 0).then(|| whole + &line[from..])
}

/// The UTF-16 unit that is escaped at a place.
fn unit(line: &str, at: usize) -> Option<u16> {
    let digits = line.get(at..at + ESCAPE_BYTES)?.strip_prefix("\\u")?;
    match digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => u16::from_str_radix(digits, 16).ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_are_replaced_and_nothing_else() {
        let cases = [
            (r#""a""#, None),
            (r#""\ud83d\ude42""#, None),
            (r#""\\ud83d""#, None),
            (r#""\ud83d""#, Some(r#""\ufffd""#)),
            (r#""\uD83Dé\n""#, Some(r#""\ufffdé\n""#)),
            (r#""\ude42\ud83d""#, Some(r#""\ufffd\ufffd""#)),
            (r#""\ud83d\ud83d\ude42""#, Some(r#""\ufffd\ud83d\ude42""#)),
            (r#""\\\ud83d\u00e9""#, Some(r#""\\\ufffd\u00e9""#)),
            (r#"\ud83"#, None),
            ("\\", None),
        ];
        for (line, expected) in cases {
            assert_eq!(replaced(line).as_deref(), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_was_replaced_can_be_read(parts in prop::collection::vec(
            prop::sample::select(vec!["\\ud83d", "\\ude42", "\\\\", "\\n", "é", "u", "\\u00e9"]), 0..12)
        ) {
            let line = format!("\"{}\"", parts.concat());
            let is_sound = serde_json::from_str::<String>(&line).is_ok();
            let whole = replaced(&line);
            prop_assert_eq!(is_sound, whole.is_none());
            prop_assert!(serde_json::from_str::<String>(&whole.unwrap_or(line)).is_ok());
        }

        #[test]
        fn hostile_lines_survive(line in r#"[\\ud8é"]{0,40}"#) {
            replaced(&line);
        }
    }
}
