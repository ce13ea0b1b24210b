//! Latent weights are averaged and then quantised.
//!
//! An average of latent weights over steps (EMA, SWA) is a good dense model and not a good ternary one: weights that
//! oscillate about a rounding threshold average onto it, and their codes become a matter of chance.
//!
//! Remedy: export the last weights; where averaging is wanted, lower the learning rate to 0 instead.
//!
//! Source: oscillation of latent weights in quantisation-aware training (Nagel et al. 2022).

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct WeightAverage;

impl Rule for WeightAverage {
    fn code(&self) -> &'static str {
        "T110"
    }

    fn name(&self) -> &'static str {
        "weight-average"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let decay = subject.recipe.weight_average.filter(|decay| *decay > 0.0 && subject.is_ternary())?;
        Some(Sign::warning(format!("the configuration averages weights (decay {})", number(decay))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&WeightAverage, |s| s.recipe.weight_average = Some(0.999));
    }

    #[test]
    fn it_is_silent() {
        silent(&WeightAverage, |s| s.recipe.weight_average = Some(0.0));
    }
}
