//! Weight decay goes on in the second stage.
//!
//! Weight decay pulls latent weights towards 0, and with them their distance from the rounding threshold: codes flip
//! instead of settling. Every published b1.58 run has weight decay 0.1 in the first half of the steps and exactly 0 in
//! the second.
//!
//! A log is believed before a configuration. A configuration that names another curve than a two-stage one (cosine,
//! linear, …) and no second value gives a warning; a second value above 0, or a log that shows one, an error.
//!
//! Remedy: set the weight decay of the second half to 0 (`schedule.weight_decay2 = 0`, which the kinds microsoft and
//! two-stage do by themselves), and train the second stage again from the checkpoint at half-way.
//!
//! Source: "The Era of 1-bit LLMs: Training Tips, Code and FAQ", Table 2 and page 3: "In the second stage, weight
//! decay was disabled."

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct Stage2WeightDecay;

impl Rule for Stage2WeightDecay {
    fn code(&self) -> &'static str {
        "T101"
    }

    fn name(&self) -> &'static str {
        "stage2-weight-decay"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        if !subject.is_ternary() {
            return None;
        }
        let recipe = &subject.recipe;
        let another_curve = recipe.names_another_curve();
        let explicit = match &recipe.own {
            Some(own) => own.schedule.weight_decay2.is_some(),
            None => recipe.weight_decay2.is_some(),
        };
        let sign = |text: String| match another_curve && !explicit {
            true => Sign::warning(text),
            false => Sign::error(text),
        };
        let (switch, total) =
            (subject.switch().unwrap_or(u64::MAX), subject.total_steps().unwrap_or_default());
        let mut second = subject.column(|point| point.weight_decay);
        second.retain(|(step, _)| *step >= switch);
        if let Some((step, decay)) = second.iter().find(|(_, decay)| *decay > ZERO) {
            let text = format!(
                "weight decay is {} at step {step} of {total}; the second stage began at step {switch} and needs 0",
                number(*decay)
            );
            return Some(sign(text).at(format!("step {step}")));
        }
        if !second.is_empty() {
            return None;
        }
        if let Some((step, before, after)) = lowered(subject) {
            let text = format!(
                "weight decay goes from {} to {} at step {step}; where it is lowered, the second stage begins, and needs 0",
                number(before),
                number(after)
            );
            return Some(sign(text).at(format!("step {step}")));
        }
        let decay = recipe.weight_decay2.or(recipe.weight_decay).filter(|decay| *decay > ZERO)?;
        let what = if recipe.weight_decay2.is_some() {
            "of the second stage"
        } else {
            "of all steps, the second stage included,"
        };
        Some(sign(format!(
            "the configuration's weight decay {what} is {}; the second stage needs 0",
            number(decay)
        )))
    }
}

/// Where a log of unknown length lowers weight decay, and does not end it: the step, the values before and after.
fn lowered(subject: &Subject) -> Option<(u64, f64, f64)> {
    let log = subject.column(|point| point.weight_decay);
    let fall = log.windows(2).find(|pair| pair[1].1 < 0.9 * pair[0].1 && pair[1].1 > ZERO)?;
    let stays = log.last().is_some_and(|(_, last)| *last > ZERO);
    stays.then(|| (fall[1].0, fall[0].1, fall[1].1))
}

/// Weight decay up to which it is none.
const ZERO: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        let log = fires(&Stage2WeightDecay, |s| {
            s.series.iter_mut().for_each(|point| point.weight_decay = Some(0.05))
        });
        assert!(log.evidence.contains("0.05 at step 500 of 1000"), "{}", log.evidence);
        let config = fires(&Stage2WeightDecay, |s| {
            s.series.clear();
            s.recipe.weight_decay2 = Some(0.05);
        });
        assert_eq!(config.severity, Severity::Error);
        let cosine = fires(&Stage2WeightDecay, |s| {
            s.series.clear();
            s.recipe =
                Recipe { schedule: Some("cosine".into()), weight_decay: Some(0.1), ..Recipe::default() };
        });
        assert_eq!(cosine.severity, Severity::Warning);
        let alone = fires(&Stage2WeightDecay, |s| {
            s.recipe = Recipe::default();
            s.series.iter_mut().skip(600).for_each(|point| point.weight_decay = Some(0.05));
            s.series.iter_mut().take(600).for_each(|point| point.weight_decay = Some(0.1));
        });
        assert!(alone.evidence.contains("from 0.1 to 0.05 at step 600"), "{}", alone.evidence);
    }

    #[test]
    fn it_is_silent() {
        silent(&Stage2WeightDecay, |s| s.recipe.weight_decay = Some(0.1));
        silent(&Stage2WeightDecay, |s| s.series.truncate(400));
        silent(&Stage2WeightDecay, |s| s.config.as_mut().unwrap().linear = model::LinearKind::Dense);
    }
}
