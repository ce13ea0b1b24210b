//! The model is under-trained.
//!
//! A ternary model's loss falls most at the end of its run, so a checkpoint from the middle is much further from the
//! result than its share of the steps suggests: garbage such as `,,,,` is what such checkpoints say, in every engine
//! alike.
//!
//! The share is counted in tokens where a target is stated (the arithmetic is in the evidence), else in steps. Below
//! one half it is an error, below 90 % a warning.
//!
//! Remedy: train to the end before judging or converting; a conversion cannot repair it.
//!
//! Source: a 2B checkpoint at step 3600 (38 % of 10B tokens) that was taken for a conversion error.

use crate::finding::{number, percent};
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct UnderTrained;

impl Rule for UnderTrained {
    fn code(&self) -> &'static str {
        "T202"
    }

    fn name(&self) -> &'static str {
        "under-trained"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let sound = subject.steps_done().filter(|done| *done > 0 && subject.is_ternary())?;
        // A run whose newest checkpoint is damaged was trained as far as that one; the damage is another finding.
        let done = subject.progress.lost.unwrap_or(sound);
        let tokens = subject.progress.tokens.map(|tokens| tokens * done as f64 / sound as f64);
        let (share, text) = match (subject.recipe.target_tokens, tokens) {
            (Some(target), Some(tokens)) if target > 0.0 => {
                let how = match subject.recipe.tokens_per_step() {
                    Some((per_step, factors)) => {
                        format!("step {done} × {} tokens ({factors}) = ", number(per_step))
                    }
                    None => format!("step {done}: "),
                };
                let share = tokens / target;
                (
                    share,
                    format!(
                        "{how}{} tokens, {} of the target of {}",
                        number(tokens),
                        percent(share),
                        number(target)
                    ),
                )
            }
            _ => {
                let total = subject.total_steps()?;
                let share = done as f64 / total as f64;
                (share, format!("step {done} of {total}: {} of the run", percent(share)))
            }
        };
        match share {
            share if share < 0.5 => Some(Sign::error(text)),
            share if share < 0.9 => Some(Sign::warning(text)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        let found = fires(&UnderTrained, |s| {
            s.progress.step = Some(3600);
            s.recipe = Recipe {
                batch: Some(32.0),
                accumulation: Some(16.0),
                sequence: Some(2048.0),
                target_tokens: Some(1e10),
                ..Recipe::default()
            };
            s.progress.tokens = Some(3600.0 * 1_048_576.0);
        });
        assert_eq!(found.severity, Severity::Error);
        assert!(
            found.evidence.contains("32 × 16 × 2048") && found.evidence.contains("37.75 %"),
            "{}",
            found.evidence
        );
        let late = fires(&UnderTrained, |s| s.progress.step = Some(700));
        assert_eq!(late.severity, Severity::Warning);
    }

    #[test]
    fn it_is_silent() {
        silent(&UnderTrained, |s| s.progress.step = Some(950));
        silent(&UnderTrained, |s| (s.progress.step, s.progress.lost) = (Some(400), Some(1000)));
        silent(&UnderTrained, |s| s.recipe.steps = None);
    }
}
