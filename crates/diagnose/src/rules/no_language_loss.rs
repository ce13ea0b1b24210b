//! The language-model loss has no weight.
//!
//! Recipes with several losses (distillation, continued pre-training) weight them; with 0 on the cross-entropy nothing
//! teaches the model what token comes next, and its output stays garbage while the other losses fall.
//!
//! Remedy: give the cross-entropy a weight above 0 from the first phase on, and look at its own curve, not at the sum.
//!
//! Source: three stages of BitDistill (arXiv 2510.13998): continued pre-training comes before distillation.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct NoLanguageLoss;

impl Rule for NoLanguageLoss {
    fn code(&self) -> &'static str {
        "T113"
    }

    fn name(&self) -> &'static str {
        "no-language-loss"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let weight = subject.recipe.language_weight?;
        (weight == 0.0).then(|| {
            Sign::error(
                "the configuration gives the cross-entropy (continue_pretrain, ce_weight, …) the weight 0",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&NoLanguageLoss, |s| s.recipe.language_weight = Some(0.0));
    }

    #[test]
    fn it_is_silent() {
        silent(&NoLanguageLoss, |s| s.recipe.language_weight = Some(1.0));
    }
}
