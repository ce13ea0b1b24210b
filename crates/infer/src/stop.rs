//! Stop strings in a stream of text: nothing that may become part of one is let out.

use crate::InferError;

/// Cuts a stream at the first stop string. The result does not depend on how the text is cut into pieces: of several
/// stop strings the one that is complete first counts, the longest where they end together.
pub(crate) struct StopFilter<'s> {
    stops: &'s [String],
    /// the longest end of the text so far that begins a stop string
    held: String,
}

/// What a piece of text became.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// text that is no part of a stop string
    pub text: String,
    /// a stop string is complete: the text ends here
    pub stopped: bool,
}

impl<'s> StopFilter<'s> {
    /// An error when a stop string is empty.
    pub(crate) fn new(stops: &'s [String]) -> Result<Self, InferError> {
        match stops.iter().any(String::is_empty) {
            true => Err(InferError::EmptyStop),
            false => Ok(Self { stops, held: String::new() }),
        }
    }

    /// Takes the next piece.
    pub(crate) fn push(&mut self, piece: &str) -> Passed {
        let mut text = String::new();
        for character in piece.chars() {
            self.held.push(character);
            let complete = self.stops.iter().filter(|stop| self.held.ends_with(stop.as_str()));
            if let Some(longest) = complete.map(String::len).max() {
                text.push_str(&self.held[..self.held.len() - longest]);
                self.held.clear();
                return Passed { text, stopped: true };
            }
            let safe = self.held.len() - self.longest_beginning();
            text.extend(self.held.drain(..safe));
        }
        Passed { text, stopped: false }
    }

    /// What was held back, once it is clear that nothing follows.
    pub(crate) fn finish(self) -> String {
        self.held
    }

    /// Bytes of the longest end of `held` that begins a stop string.
    fn longest_beginning(&self) -> usize {
        let ends = self.held.char_indices().map(|(at, _)| &self.held[at..]);
        let mut beginnings = ends.filter(|end| self.stops.iter().any(|stop| stop.starts_with(end)));
        beginnings.next().map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text and whether it stopped, for a text cut into pieces of the given numbers of characters.
    fn filtered(stops: &[&str], text: &str, sizes: &[usize]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        let mut filter = StopFilter::new(&stops).unwrap();
        let mut characters = text.chars().peekable();
        let mut out = String::new();
        for size in sizes.iter().cycle() {
            if characters.peek().is_none() {
                break;
            }
            let piece: String = characters.by_ref().take(*size).collect();
            let passed = filter.push(&piece);
            out += &passed.text;
            if passed.stopped {
                return (out, true);
            }
        }
        (out + &filter.finish(), false)
    }

    #[test]
    fn cuts_before_the_stop_string_and_keeps_false_beginnings() {
        let cases = [
            (vec!["\n\n"], "one\ntwo\n\nthree", ("one\ntwo", true)),
            (vec!["END"], "END", ("", true)),
            (vec!["END"], "the EN", ("the EN", false)),
            (vec!["aab"], "aaab", ("a", true)),
            (vec!["abcd", "bc"], "xabcd", ("xa", true)),
            (vec!["cd", "abcd"], "xabcd", ("x", true)),
            (vec!["東京"], "東東京", ("東", true)),
            (vec![], "all of it", ("all of it", false)),
        ];
        for (stops, text, (expected, stopped)) in cases {
            for size in 1..4 {
                let result = filtered(&stops, text, &[size]);
                assert_eq!(result, (expected.to_string(), stopped), "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn an_empty_stop_string_is_an_error() {
        assert!(StopFilter::new(&[String::new()]).is_err());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_and_no_stop_string_appears(
            text in "[abé]{0,24}",
            stops in proptest::collection::vec("[abé]{1,4}", 0..4),
            sizes in proptest::collection::vec(1usize..5, 1..4),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (cut, stopped) = filtered(&stops, &text, &sizes);
            prop_assert_eq!(&filtered(&stops, &text, &[1]), &(cut.clone(), stopped));
            prop_assert!(text.starts_with(&cut));
            prop_assert_eq!(stopped, stops.iter().any(|stop| text.contains(stop)));
            prop_assert!(stops.iter().all(|stop| !cut.contains(stop)));
            prop_assert!(stopped || cut == text);
        }
    }
}
