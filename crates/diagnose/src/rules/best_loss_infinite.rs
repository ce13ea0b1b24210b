//! The best validation loss is infinite.
//!
//! Trainers start with an infinite best loss and lower it at the first evaluation. Where it is infinite still, no
//! evaluation ever succeeded: the checkpoint was saved before the first one, or every loss was not a number.
//!
//! Remedy: evaluate the checkpoint (`trilobit eval perplexity`), and look whether the run evaluated at all.
//!
//! Source: a study's checkpoint with `best_eval_loss = inf`.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct BestLossInfinite;

impl Rule for BestLossInfinite {
    fn code(&self) -> &'static str {
        "T203"
    }

    fn name(&self) -> &'static str {
        "best-loss-infinite"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let best = subject.progress.best_loss?;
        (!best.is_finite())
            .then(|| Sign::error(format!("the state says that the best validation loss is {best}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&BestLossInfinite, |s| s.progress.best_loss = Some(f64::INFINITY));
    }

    #[test]
    fn it_is_silent() {
        silent(&BestLossInfinite, |s| s.progress.best_loss = None);
    }
}
