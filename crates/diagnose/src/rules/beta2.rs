//! β₂ is the default of image models.
//!
//! With β₂ = 0.999 Adam averages squared gradients over a thousand steps, longer than the stages of a short run and
//! than the time in which a ternary model's gradients change their size when codes flip. All published b1.58 runs have
//! β = (0.9, 0.95).
//!
//! Remedy: set β₂ to 0.95 (`train.beta2`, `adam_beta2`).
//!
//! Source: "The Era of 1-bit LLMs: Training Tips, Code and FAQ", Table 2.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct Beta2;

impl Rule for Beta2 {
    fn code(&self) -> &'static str {
        "T106"
    }

    fn name(&self) -> &'static str {
        "beta2"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let beta2 = subject.recipe.beta2.filter(|beta2| *beta2 > 0.98 && subject.is_ternary())?;
        Some(Sign::note(format!("β₂ is {} where published runs have 0.95", number(beta2))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&Beta2, |s| s.recipe.beta2 = Some(0.999));
    }

    #[test]
    fn it_is_silent() {
        silent(&Beta2, |s| s.recipe.beta2 = Some(0.98));
    }
}
