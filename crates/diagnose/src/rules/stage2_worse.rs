//! The second stage made the model worse.
//!
//! At half-way the rate drops and weight decay ends; the loss of every published run falls there. A loss that ends
//! above where the first stage left it says that something else changed at that step: weight decay was raised instead
//! of removed, the optimiser's state was lost, other data came in.
//!
//! Where λ, the share of quantisation, is another in the two stretches, nothing is said: the loss of a model that becomes
//! ternary rises by that alone.
//!
//! Remedy: look at T101 and T103; resume from the checkpoint at half-way with weight decay 0.
//!
//! Source: "The Era of 1-bit LLMs: Training Tips, Code and FAQ", Figure 1b.

use crate::finding::number;
use crate::rules::Rule;
use crate::subject::Column;
use crate::{Sign, Subject};

/// See the module.
pub struct Stage2Worse;

impl Rule for Stage2Worse {
    fn code(&self) -> &'static str {
        "T307"
    }

    fn name(&self) -> &'static str {
        "stage2-worse"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        if !subject.is_ternary() {
            return None;
        }
        let (total, switch) = (subject.total_steps()?, subject.switch()?);
        let done = subject.steps_done().filter(|done| *done > switch + total / 10)?;
        let mean = |column: Column| {
            let before = subject.mean_between(column, switch - total / 20, switch)?;
            Some((before, subject.mean_between(column, done - (done - switch) / 4, done + 1)?))
        };
        if mean(|point| point.lambda).is_some_and(|(before, after)| (after - before).abs() > 0.01) {
            return None;
        }
        let (before, after) = mean(|point| point.loss)?;
        let text = format!(
            "the loss was {} at the end of stage 1 and is {} in the last quarter of stage 2",
            number(before),
            number(after)
        );
        (after > 1.02 * before).then(|| Sign::warning(text).at(format!("step {switch}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&Stage2Worse, |s| {
            s.series.iter_mut().filter(|p| p.step >= 500).for_each(|p| p.loss = Some(5.2))
        });
    }

    #[test]
    fn it_is_silent() {
        silent(&Stage2Worse, |s| s.series.truncate(520));
        silent(&Stage2Worse, |s| {
            for point in &mut s.series {
                point.lambda = Some(point.step as f64 / 1000.0);
                point.loss = if point.step >= 500 { Some(5.2) } else { point.loss };
            }
        });
    }
}
