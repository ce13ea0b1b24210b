//! No weight is zero.
//!
//! About a third of the codes of a b1.58 model are 0 (0.31 of a Gaussian tensor, 0.30 to 0.42 of trained ones). A
//! converter that takes `sign(w)` instead of `round(w/γ)` leaves none: the model becomes a binary one with the wrong
//! scale.
//!
//! Remedy: convert again from the latent weights with codes `clip(round(w / mean|w|), −1, 1)` (`trilobit export`
//! does).
//!
//! Source: "The Era of 1-bit LLMs: Training Tips, Code and FAQ", page 5.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct NoZeros;

impl Rule for NoZeros {
    fn code(&self) -> &'static str {
        "T403"
    }

    fn name(&self) -> &'static str {
        "no-zeros"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let none = || subject.projections().filter(|tensor| share(tensor) < 0.01);
        let (count, all) = (none().count(), subject.projections().count());
        let first = none().next()?;
        let text = format!(
            "{count} of {all} projections have a zero share below 0.01 ({}): {}",
            number(share(first)),
            Subject::names(none())
        );
        Some(if 2 * count > all { Sign::error(text) } else { Sign::warning(text) })
    }
}

fn share(tensor: &crate::tensors::Tensor) -> f64 {
    tensor.ternary.as_ref().map_or(1.0, |ternary| ternary.zero_share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&NoZeros, |s| ternaries(s).for_each(|t| t.zero_share = 0.0));
    }

    #[test]
    fn it_is_silent() {
        silent(&NoZeros, |s| ternaries(s).for_each(|t| t.zero_share = 0.2));
    }
}
