//! A norm's gain is zero.
//!
//! A norm whose gain is 0 everywhere passes nothing on: what follows it sees only zeros, and the layer does nothing.
//! Gains start at 1 and stay in its neighbourhood; zeros come from a tensor that was declared and not written.
//!
//! Remedy: convert again; compare with the original.
//!
//! Source: RMSNorm.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct EmptyGain;

impl Rule for EmptyGain {
    fn code(&self) -> &'static str {
        "T415"
    }

    fn name(&self) -> &'static str {
        "empty-gain"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let empty = || {
            subject.tensors.iter().filter(|tensor| {
                tensor.name.ends_with("norm") && tensor.largest == 0.0 && tensor.non_finite == 0
            })
        };
        let first = empty().next()?;
        Some(Sign::error(format!("all zeros: {}", Subject::names(empty()))).at(first.name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&EmptyGain, |s| {
            s.tensors.iter_mut().filter(|t| t.name == "final_norm").for_each(|t| t.largest = 0.0)
        });
    }

    #[test]
    fn it_is_silent() {
        silent(&EmptyGain, |s| {
            s.tensors.iter_mut().filter(|t| t.name == "final_norm").for_each(|t| t.largest = 4.0)
        });
    }
}
