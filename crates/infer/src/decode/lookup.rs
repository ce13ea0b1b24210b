//! Prompt lookup: what followed the last words the last time they stood in the text may follow again.
//! Source: Saxena, "Prompt Lookup Decoding"; as transformers has it, the latest match of the longest n-gram.

/// Longest end of the text that is looked up. Longer ones hardly sharpen the choice.
const NGRAM_MAX: usize = 4;
/// Shortest: what follows a single token is mostly chance.
const NGRAM_MIN: usize = 2;

/// Adds to `out` the `count` tokens that followed the end of `text` where it stood before; none where it never did. Where the
/// two overlap, the text repeats itself, and is taken to go on so.
pub(super) fn propose(text: &[u32], count: usize, out: &mut Vec<u32>) {
    for length in (NGRAM_MIN..=NGRAM_MAX).rev() {
        let Some(before) = text.len().checked_sub(length) else { continue };
        let end = &text[before..];
        if let Some(at) = (0..before).rev().find(|at| text[*at..].starts_with(end)) {
            let period = before - at;
            let repeated = text[text.len() - period..].iter().cycle();
            out.extend(repeated.take(count));
            return;
        }
    }
}

/// How well proposals did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proposals {
    /// tokens that were proposed
    pub proposed: usize,
    /// those of them that were the text
    pub accepted: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_match_of_the_longest_end() {
        let cases: [(&[u32], usize, &[u32]); 8] = [
            (&[], 4, &[]),
            (&[1], 4, &[]),
            (&[1, 2, 3], 4, &[]),
            (&[1, 2, 9, 8, 1, 2], 2, &[9, 8]),
            (&[1, 2, 9, 1, 2, 7, 1, 2], 3, &[7, 1, 2]),
            // three match further back, two later: three win
            (&[5, 1, 2, 9, 1, 2, 7, 5, 1, 2], 1, &[9]),
            // the text repeats itself, and may go on to
            (&[3, 8, 7, 8, 7, 8], 5, &[7, 8, 7, 8, 7]),
            (&[3, 1, 2, 3, 1, 2], 0, &[]),
        ];
        for (text, count, proposed) in cases {
            let mut out = Vec::new();
            propose(text, count, &mut out);
            assert_eq!(out, proposed, "{text:?}");
        }
    }
}
