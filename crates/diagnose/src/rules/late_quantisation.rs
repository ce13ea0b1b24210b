//! λ reaches 1 only at the very end.
//!
//! Until λ is 1 the network is not the one that will be exported. What it learns at λ = 0.9 has to be corrected once
//! the last tenth of full precision goes, and a run that ends there has no steps left for it.
//!
//! Remedy: reach λ = 1 by half of the run at the latest (`lambda.kind = "fixed-n"` or `"accelerated"`).
//!
//! Source: Hugging Face's 1.58-bit fine-tuning study; the course module on training at scale.

use crate::finding::percent;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct LateQuantisation;

impl Rule for LateQuantisation {
    fn code(&self) -> &'static str {
        "T115"
    }

    fn name(&self) -> &'static str {
        "late-quantisation"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let at = subject.recipe.lambda_full_at.filter(|at| *at > 0.95 && subject.is_ternary())?;
        Some(Sign::warning(format!("λ reaches 1 at {} of the run", percent(at))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&LateQuantisation, |s| s.recipe.lambda_full_at = Some(0.99));
    }

    #[test]
    fn it_is_silent() {
        silent(&LateQuantisation, |s| s.recipe.lambda_full_at = Some(0.2));
    }
}
