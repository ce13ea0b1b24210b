//! Many steps were refused by a guard.
//!
//! A guard refuses a step whose loss or gradient is not finite, or whose loss is a spike. A few are weather; more than
//! one in a hundred means that training is not stable, and that the run saw fewer updates than steps.
//!
//! Remedy: lower the learning rate or lengthen the warm-up; look at `events.jsonl` for where it happened.
//!
//! Source: the run's events.

use crate::finding::percent;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct GuardedSteps;

impl Rule for GuardedSteps {
    fn code(&self) -> &'static str {
        "T206"
    }

    fn name(&self) -> &'static str {
        "guarded-steps"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let (guarded, done) = (subject.progress.guarded, subject.steps_done().filter(|done| *done > 0)?);
        let share = guarded as f64 / done as f64;
        (guarded >= 3 && share > 0.01)
            .then(|| Sign::warning(format!("{guarded} of {done} steps were refused ({})", percent(share))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&GuardedSteps, |s| s.progress.guarded = 40);
    }

    #[test]
    fn it_is_silent() {
        silent(&GuardedSteps, |s| s.progress.guarded = 2);
    }
}
