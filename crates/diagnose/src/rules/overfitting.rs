//! The model learns its training text by heart.
//!
//! The loss on text that is not trained on has gone up from its best value by more than 5 %, while the training loss
//! went on falling. From there on training makes the model worse.
//!
//! Remedy: use the checkpoint of the best validation loss; more distinct data, or fewer passes (T112).
//!
//! Source: the log.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct Overfitting;

impl Rule for Overfitting {
    fn code(&self) -> &'static str {
        "T310"
    }

    fn name(&self) -> &'static str {
        "overfitting"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let evaluated = subject.column(|point| point.validation_loss);
        if evaluated.len() < 4 {
            return None;
        }
        let (best_step, best) =
            *evaluated.iter().filter(|(_, loss)| loss.is_finite()).min_by(|a, b| a.1.total_cmp(&b.1))?;
        let (step, last) = *evaluated.last()?;
        let then = subject.mean_between(|point| point.loss, best_step.saturating_sub(20), best_step + 1)?;
        let now = subject.tail_mean(|point| point.loss, 0.05)?;
        let text = format!(
            "validation loss {} at step {best_step} and {} at step {step}, training loss {} and {}",
            number(best),
            number(last),
            number(then),
            number(now)
        );
        (last > 1.05 * best && now < then).then(|| Sign::warning(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&Overfitting, |s| s.series[999].validation_loss = Some(6.0));
    }

    #[test]
    fn it_is_silent() {
        silent(&Overfitting, |s| s.series[300].validation_loss = Some(9.0));
    }
}
