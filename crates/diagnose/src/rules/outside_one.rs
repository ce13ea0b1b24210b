//! Weights outside of −1 to 1 are normal.
//!
//! Quantised weights are −γ, 0 and γ; only the codes are −1, 0 and 1. γ is whatever the mean magnitude is, 0.02 or
//! 2.3, so a dequantised weight above 1 is no fault. This note stands here because it is often taken for one.
//!
//! Remedy: nothing.
//!
//! Source: "The Era of 1-bit LLMs: Training Tips, Code and FAQ", page 5: `u = (w * scale).round().clamp_(-1, 1) /
//! scale`.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct OutsideOne;

impl Rule for OutsideOne {
    fn code(&self) -> &'static str {
        "T413"
    }

    fn name(&self) -> &'static str {
        "outside-one"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let outside = || subject.projections().filter(|tensor| tensor.largest > 1.0);
        let first = outside().max_by(|a, b| a.largest.total_cmp(&b.largest))?;
        let text = format!(
            "{} of {} projections have values outside, up to {} in {}",
            outside().count(),
            subject.projections().count(),
            number(first.largest.into()),
            first.name
        );
        Some(Sign::note(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&OutsideOne, |s| s.tensors.iter_mut().for_each(|t| t.largest = 2.3));
    }

    #[test]
    fn it_is_silent() {
        silent(&OutsideOne, |s| s.tensors.iter_mut().for_each(|t| t.largest = 0.9));
    }
}
