//! The first loss is above that of guessing.
//!
//! An untrained model guesses, and guessing costs ln V. A first loss well above it means that the model is confidently
//! wrong: the initialisation is too large, or a pretrained model was quantised at once (about 13 for Llama-3).
//!
//! Remedy: initialise with a standard deviation of 0.02; let λ grow where training starts from a pretrained model.
//!
//! Source: −ln(1/V); Hugging Face's 1.58-bit fine-tuning study.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct InitialLoss;

impl Rule for InitialLoss {
    fn code(&self) -> &'static str {
        "T312"
    }

    fn name(&self) -> &'static str {
        "initial-loss"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let (step, loss) = *subject.column(|point| point.loss).first()?;
        let uniform = subject.vocabulary()?.ln();
        let text = format!("the loss is {} at step {step}, and ln V is {}", number(loss), number(uniform));
        (step <= 2 && loss.is_finite() && loss > 1.15 * uniform).then(|| Sign::warning(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&InitialLoss, |s| s.series[0].loss = Some(13.0));
    }

    #[test]
    fn it_is_silent() {
        silent(&InitialLoss, |s| s.series.retain(|point| point.step > 5));
    }
}
