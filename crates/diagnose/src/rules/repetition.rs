//! Most answers are one token.
//!
//! The share of positions in random prompts at which one and the same token is the likeliest: 0.2 to 0.5 in healthy
//! small models. Above 0.9 the model has a favourite and little else.
//!
//! Before the second stage begins this is a note.
//!
//! Remedy: as for T305.
//!
//! Source: the records of runs here.

use crate::finding::percent;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct Repetition;

impl Rule for Repetition {
    fn code(&self) -> &'static str {
        "T306"
    }

    fn name(&self) -> &'static str {
        "repetition"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let share = subject.tail_mean(|point| point.repetition, 0.1).filter(|share| *share > 0.9)?;
        let text = format!("one token is the likeliest at {} of all positions", percent(share));
        Some(if subject.is_before_switch() { Sign::note(text) } else { Sign::warning(text) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&Repetition, |s| s.series.iter_mut().for_each(|point| point.repetition = Some(0.97)));
    }

    #[test]
    fn it_is_silent() {
        silent(&Repetition, |s| s.series.iter_mut().for_each(|point| point.repetition = Some(0.42)));
    }
}
