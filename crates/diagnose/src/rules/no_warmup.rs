//! A high learning rate without a warm-up.
//!
//! The first gradients of a network are the least reliable ones, and Adam divides them by an average that is not one
//! yet. At the rates of ternary training (1e-3 and above) a start without warm-up flips a large share of all codes in
//! the first steps.
//!
//! Remedy: warm up over 375 steps, or over a tenth of a short run (`schedule.warmup`).
//!
//! Source: "The Era of 1-bit LLMs: Training Tips, Code and FAQ", Table 2.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct NoWarmup;

impl Rule for NoWarmup {
    fn code(&self) -> &'static str {
        "T107"
    }

    fn name(&self) -> &'static str {
        "no-warmup"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let (peak, warmup) = (subject.recipe.peak?, subject.recipe.warmup?);
        if !subject.is_ternary() || warmup > 1 || peak < 1e-3 {
            return None;
        }
        Some(Sign::warning(format!(
            "the rate is {} after {warmup} steps of warm-up; published runs take 375",
            number(peak)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&NoWarmup, |s| s.recipe.warmup = Some(0));
    }

    #[test]
    fn it_is_silent() {
        silent(&NoWarmup, |s| {
            s.recipe.warmup = Some(0);
            s.recipe.peak = Some(3e-4);
        });
        silent(&NoWarmup, |s| s.recipe.warmup = None);
    }
}
