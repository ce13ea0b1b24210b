//! The learning rate is far from what a model of this size is trained with.
//!
//! Too high a rate carries latent weights across rounding thresholds at every step, so that codes never settle; too
//! low a one leaves them where they were initialised, since a code changes only when its weight crosses a threshold.
//! Published two-stage runs peak at 1.5e-3 for 700M parameters and 1.2e-3 from 1.3B on; smaller models bear a little
//! more.
//!
//! The rule warns above four times the published peak (twice from 500M on), below a fiftieth of it, and above 5e-4
//! where training starts from a pretrained model.
//!
//! Remedy: take the peak of the nearest published size; `trilobit schedule --kind microsoft --steps T --peak P` shows
//! the curve.
//!
//! Source: "The Era of 1-bit LLMs: Training Tips, Code and FAQ", Table 2; for pretrained models the fine-tuning recipe
//! of Hugging Face's 1.58-bit study (1e-4).

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct RateForSize;

impl Rule for RateForSize {
    fn code(&self) -> &'static str {
        "T104"
    }

    fn name(&self) -> &'static str {
        "rate-for-size"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        if !subject.is_ternary() {
            return None;
        }
        let peak = subject.recipe.peak?;
        if let Some(name) = &subject.recipe.pretrained {
            let text = format!(
                "the peak is {}, and training starts from '{name}'; 1e-4 is usual there",
                number(peak)
            );
            return (peak > 5e-4).then(|| Sign::warning(text));
        }
        let parameters = subject.parameters()?;
        let published = if parameters < 1e9 { 1.5e-3 } else { 1.2e-3 };
        let most = published * if parameters < 5e8 { 4.0 } else { 2.0 };
        let text = format!(
            "the peak is {} for {} parameters; published runs near that size peak at {}",
            number(peak),
            number(parameters),
            number(published)
        );
        (!(published / 50.0..=most).contains(&peak)).then(|| Sign::warning(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&RateForSize, |s| s.recipe.peak = Some(0.02));
        fires(&RateForSize, |s| s.recipe.peak = Some(1e-6));
        fires(&RateForSize, |s| {
            s.recipe.pretrained = Some("llama".into());
            s.recipe.peak = Some(1e-3);
        });
    }

    #[test]
    fn it_is_silent() {
        silent(&RateForSize, |s| s.recipe.peak = Some(2e-3));
        silent(&RateForSize, |s| {
            s.recipe.pretrained = Some("llama".into());
            s.recipe.peak = Some(1e-4);
        });
    }
}
