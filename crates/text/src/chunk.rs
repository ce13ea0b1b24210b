//! Cuts a long text where every pre-tokenizer that splits before words cuts it anyway.

/// Cuts `text` into pieces of about `bytes` bytes, each cut before a blank between two ASCII letters.
///
/// No pattern of the GPT-2 family (GPT-2, GPT-4, Llama-3, Qwen, SmolLM2) has a match that spans such a place, so the
/// pieces encode to the same ids as the whole. A text without such places stays whole.
pub fn at_words(text: &str, bytes: usize) -> impl Iterator<Item = &str> {
    pieces(text, move |rest| next_word(rest, bytes))
}

/// As [`at_words`], but no piece is longer than `bytes_max`: a text without words is cut between any two characters.
pub fn at_words_or_anywhere(text: &str, bytes: usize, bytes_max: usize) -> impl Iterator<Item = &str> {
    pieces(text, move |rest| next_word(rest, bytes).min(rest.floor_char_boundary(bytes_max)))
}

/// Pieces of `text`; `next` gives the length of the next one and never 0 for a text that is not empty.
fn pieces(text: &str, next: impl Fn(&str) -> usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(next(rest));
        rest = after;
        Some(piece)
    })
}

/// The first place to cut at `from` bytes or later, or the length of the text.
fn next_word(text: &str, from: usize) -> usize {
    if text.len() <= from {
        return text.len();
    }
    let cut =
        |w: &[u8]| w[0].is_ascii_alphabetic() && matches!(w[1], b' ' | b'\n') && w[2].is_ascii_alphabetic();
    let before = from.max(1) - 1;
    let found = text.as_bytes()[before..].windows(3).position(cut);
    found.map_or(text.len(), |i| before + i + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cuts_before_words_only() {
        let cut = |text: &'static str, bytes| at_words(text, bytes).collect::<Vec<_>>();
        assert_eq!(cut("one two\nthree", 1), ["one", " two", "\nthree"]);
        assert_eq!(cut("one two\nthree", 4), ["one two", "\nthree"]);
        assert_eq!(cut("one  two. Three 4 five", 1), ["one  two. Three 4 five"]);
        assert_eq!(cut("", 1), [""; 0]);
    }

    proptest! {
        #[test]
        fn loses_nothing_and_keeps_the_bound(text in "[ab 東\n]{0,60}", bytes in 0_usize..9) {
            prop_assert_eq!(at_words(&text, bytes).collect::<String>(), text.clone());
            let pieces: Vec<_> = at_words_or_anywhere(&text, bytes, 9).collect();
            prop_assert!(pieces.iter().all(|p| !p.is_empty() && p.len() <= 9));
            prop_assert_eq!(pieces.concat(), text.as_str());
        }
    }
}
