//! Cuts a long text where every pre-tokenizer that splits before words cuts it anyway.

/// Punctuation of Chinese and Japanese that a text without blanks is cut before.
const MARKS: [char; 3] = ['。', '，', '、'];

/// Texts with one place each where [`at_words`] cuts, and the bytes before it: every kind of place, in several scripts.
pub const PLACES: [(&str, usize); 10] = [
    ("ab cd", 2),
    ("где он", 6),
    ("που εί", 6),
    ("هذا هو", 6),
    ("की है", 6),
    ("한국 말", 6),
    ("ab\ncd", 3),
    ("да.\nон", 6),
    ("。\n字", 4),
    ("字。字", 3),
];

/// Cuts `text` into pieces of about `bytes` bytes: before a blank between two letters of any script, after a line break
/// between what is no blank and a letter, and before a full stop or comma after a Chinese or Japanese letter.
///
/// No pattern of the GPT-2 family (GPT-2, GPT-4, Llama-3, Qwen, SmolLM2) has a match that spans such a place, so the
/// pieces encode to the same ids as the whole. A text without such places stays whole.
pub fn at_words(text: &str, bytes: usize) -> impl Iterator<Item = &str> {
    pieces(text, move |rest| next_word(rest, bytes))
}

/// Whether [`at_words`] may cut within `text`, a token that is found in a text by its characters alone.
pub fn may_cut(text: &str) -> bool {
    text.contains(|c: char| c.is_whitespace() || MARKS.contains(&c))
}

/// As [`at_words`], but no piece is longer than `bytes_max`: a text without words is cut between any two characters.
pub fn at_words_or_anywhere(text: &str, bytes: usize, bytes_max: usize) -> impl Iterator<Item = &str> {
    pieces(text, move |rest| {
        // What lies further on would be looked through again for each piece.
        let near = &rest[..rest.floor_char_boundary(bytes_max + 8)];
        next_word(near, bytes).min(rest.floor_char_boundary(bytes_max))
    })
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
    // A place is known by its two neighbours on one side and one on the other, of at most four bytes each.
    let begin = text.floor_char_boundary(from.saturating_sub(8));
    let characters = |skip| text[begin..].char_indices().skip(skip);
    let places = characters(0).zip(characters(1)).zip(characters(2));
    let mut cuts = places.filter_map(|(((_, one), (second, two)), (third, three))| {
        cut([one, two, three]).map(|is_last| begin + if is_last { third } else { second })
    });
    cuts.find(|cut| *cut >= from).unwrap_or(text.len())
}

/// Where to cut three characters, if at all: before the last (true) or before the second.
fn cut([one, two, three]: [char; 3]) -> Option<bool> {
    let is_word = |c: char| !c.is_whitespace() && !c.is_control();
    match two {
        ' ' => (one.is_alphabetic() && three.is_alphabetic()).then_some(false),
        '\n' => (is_word(one) && three.is_alphabetic()).then_some(true),
        _ => (MARKS.contains(&two) && is_ideograph_or_kana(one)).then_some(false),
    }
}

/// Letters in every version of Unicode; a sign after one would join the mark that follows.
fn is_ideograph_or_kana(c: char) -> bool {
    matches!(c, 'ぁ'..='ゔ' | 'ァ'..='ヺ' | '一'..='龥')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;
    use tokenizers::pre_tokenizers::digits::Digits;
    use tokenizers::pre_tokenizers::sequence::Sequence;
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

    const GPT4: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const DEEPSEEK: &str = r"[!-/:-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    /// Those of GPT-2, SmolLM2, and of the patterns above.
    fn pre_tokenizers() -> Vec<Sequence> {
        let bytes = |regex| PreTokenizerWrapper::from(ByteLevel::new(false, true, regex));
        let split = |pattern: &str| {
            let pattern = SplitPattern::Regex(pattern.into());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap()
        };
        let of = |pattern| Sequence::new(vec![split(pattern).into(), bytes(false)]);
        let digits = Sequence::new(vec![Digits::new(true).into(), bytes(true)]);
        vec![Sequence::new(vec![bytes(true)]), digits, of(GPT4), of(GPT4O), of(DEEPSEEK)]
    }

    fn words(pre_tokenizer: &Sequence, text: &str) -> Vec<String> {
        crate::tokenizer::words(pre_tokenizer, text).unwrap()
    }

    #[test]
    fn cuts_before_words_only() {
        let cut = |text: &'static str, bytes| at_words(text, bytes).collect::<Vec<_>>();
        assert_eq!(cut("one two\nthree", 1), ["one", " two\n", "three"]);
        assert_eq!(cut("one two\nthree", 4), ["one two\n", "three"]);
        assert_eq!(cut("Он пришёл.\nДа", 1), ["Он", " пришёл.\n", "Да"]);
        assert_eq!(cut("वह की है", 1), ["वह", " की", " है"]);
        assert_eq!(cut("東京、東京。\n東", 1), ["東京", "、東京", "。\n", "東"]);
        assert_eq!(cut("東京 3。\n\n東", 1), ["東京 3。\n\n東"]);
        assert_eq!(cut("one  two. Three 4 five", 1), ["one  two. Three 4 five"]);
        assert_eq!(cut("", 1), [""; 0]);
    }

    #[test]
    fn every_place_is_cut_there() {
        for (text, at) in PLACES {
            assert_eq!(at_words(text, 1).next(), Some(&text[..at]));
        }
        assert!(pre_tokenizers().iter().all(crate::tokenizer::splits_before_words));
        assert!(!crate::tokenizer::splits_before_words(&ByteLevel::new(true, true, true)));
    }

    proptest! {
        #[test]
        fn the_words_of_the_pieces_are_those_of_the_whole(text in "[abЯж'.।。，、字ガकी่0 \\n\\r\\t\u{a0}\u{3000}Ⅳ🙂\u{200b}]{0,60}") {
            for pre_tokenizer in &pre_tokenizers() {
                let pieces: Vec<_> = at_words(&text, 1).flat_map(|piece| words(pre_tokenizer, piece)).collect();
                prop_assert_eq!(pieces, words(pre_tokenizer, &text));
            }
        }

        #[test]
        fn loses_nothing_and_keeps_the_bound(text in "[ab 東\n]{0,60}", bytes in 0_usize..9) {
            prop_assert_eq!(at_words(&text, bytes).collect::<String>(), text.clone());
            let pieces: Vec<_> = at_words_or_anywhere(&text, bytes, 9).collect();
            prop_assert!(pieces.iter().all(|p| !p.is_empty() && p.len() <= 9));
            prop_assert_eq!(pieces.concat(), text.as_str());
        }
    }
}
