//! Evaluations at moments that cannot be trusted.
//!
//! The loss of ternary training is S-shaped: it falls, stays flat through much of the first stage, and falls again
//! when the second begins. Evaluations every few steps sample the flat part and its noise and look like a collapse; a
//! run that is never evaluated in its second half has no result at all.
//!
//! The rule warns where evaluations are closer than a hundredth of the run without being labelled by phase, and where
//! a finished run has evaluations, but none in its second stage.
//!
//! Remedy: evaluate at 0, 25, 50, 75 and 100 % of the steps, and compare equal phases only. `trilobit train` writes
//! checkpoints there by itself and labels each record with its phase.
//!
//! Source: "The Era of 1-bit LLMs: Training Tips, Code and FAQ", page 1: "intermediate evaluations may not accurately
//! predict the final performance of 1-bit LLM training."

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct EvaluationCadence;

impl Rule for EvaluationCadence {
    fn code(&self) -> &'static str {
        "T109"
    }

    fn name(&self) -> &'static str {
        "evaluation-cadence"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        if !subject.is_ternary() {
            return None;
        }
        let (total, switch) = (subject.total_steps()?, subject.switch()?);
        let evaluated = subject.column(|point| point.validation_loss);
        let last = evaluated.iter().map(|(step, _)| *step).max();
        if let Some(last) = last.filter(|last| *last < switch)
            && subject.steps_done().is_some_and(|done| done >= total)
        {
            return Some(Sign::warning(format!(
                "the last of {} evaluations is at step {last} of {total}, before the second stage (step {switch})",
                evaluated.len()
            )));
        }
        let every =
            subject.recipe.eval_every.filter(|every| *every > 0 && total >= 200 && every * 100 < total)?;
        Some(Sign::warning(format!(
            "an evaluation every {every} steps is one at each {:.2} % of {total} steps: single ones say nothing",
            100.0 * every as f64 / total as f64
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        let found = fires(&EvaluationCadence, |s| s.recipe.eval_every = Some(5));
        assert!(found.evidence.contains("0.50 %"), "{}", found.evidence);
        fires(&EvaluationCadence, |s| {
            s.series.iter_mut().filter(|p| p.step >= 500).for_each(|p| p.validation_loss = None)
        });
    }

    #[test]
    fn it_is_silent() {
        silent(&EvaluationCadence, |s| s.recipe.eval_every = Some(250));
        silent(&EvaluationCadence, |s| {
            s.series.truncate(300);
            s.progress.step = Some(300);
        });
    }
}
