//! The loss is that of guessing.
//!
//! A model that gives every token the same probability has a loss of ln V, V being the size of the vocabulary: 10.825
//! for 50257 tokens. A run at that loss has learned nothing at all, not even which tokens are common; coupled L2 is
//! known to bring models there.
//!
//! Before the second stage begins this is a note, since runs have come back from it.
//!
//! Remedy: look at T105 (coupled L2) and T101 (weight decay); check that labels and inputs belong together.
//!
//! Source: −ln(1/V); the collapse study, whose loss of 10.82 was this number.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct LossUniform;

impl Rule for LossUniform {
    fn code(&self) -> &'static str {
        "T303"
    }

    fn name(&self) -> &'static str {
        "loss-uniform"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let loss = subject.tail_mean(|point| point.loss, 0.05)?;
        let uniform = subject.vocabulary()?.ln();
        let text =
            format!("the loss is {} at the end of the log, and ln V is {}", number(loss), number(uniform));
        let (lines, done) = (subject.series.len(), subject.steps_done()?);
        if lines < 20 || done < 100 || loss < 0.985 * uniform {
            return None;
        }
        Some(if subject.is_before_switch() { Sign::note(text) } else { Sign::error(text) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        let uniform = (256f64).ln();
        let found = fires(&LossUniform, |s| s.series.iter_mut().for_each(|point| point.loss = Some(uniform)));
        assert_eq!(found.severity, Severity::Error);
        let early = fires(&LossUniform, |s| {
            s.series.iter_mut().for_each(|point| point.loss = Some(uniform));
            s.progress.step = Some(300);
        });
        assert_eq!(early.severity, Severity::Note);
    }

    #[test]
    fn it_is_silent() {
        silent(&LossUniform, |s| s.series.truncate(10));
    }
}
