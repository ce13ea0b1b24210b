//! The loss is too good to be true.
//!
//! Text has an entropy of one to three nats a token at the usual vocabularies. A training loss near 0 means that the
//! model sees what it is to predict: labels are not shifted, attention is not causal, or a handful of sentences is
//! repeated.
//!
//! Remedy: check the shift of the labels and the mask; look at the validation loss and at a sample.
//!
//! Source: entropy of text.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct LossTooLow;

impl Rule for LossTooLow {
    fn code(&self) -> &'static str {
        "T311"
    }

    fn name(&self) -> &'static str {
        "loss-too-low"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let loss = subject
            .tail_mean(|point| point.loss, 0.05)
            .filter(|loss| *loss < 0.2 && subject.series.len() >= 20)?;
        Some(Sign::warning(format!("the loss is {} nats a token at the end of the log", number(loss))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&LossTooLow, |s| s.series.iter_mut().for_each(|point| point.loss = Some(0.03)));
    }

    #[test]
    fn it_is_silent() {
        silent(&LossTooLow, |s| s.series.iter_mut().for_each(|point| point.loss = Some(0.9)));
    }
}
