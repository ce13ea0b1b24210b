//! It is too early to judge.
//!
//! The run is in its first stage. The loss of ternary training is S-shaped: a plateau here, or few distinct answers,
//! is what healthy runs show too, and the second stage, with its lower rate and without weight decay, is where the
//! loss falls. Whatever else is found about the loss before that is said as a note.
//!
//! Remedy: train on, at least through the first tenth of the second stage, and compare with other runs at the same
//! phase.
//!
//! Source: "The Era of 1-bit LLMs: Training Tips, Code and FAQ", Figure 1; the collapse study, in which models with
//! two distinct answers at half-way had eight to fourteen at the end.

use crate::finding::{number, percent};
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct VerdictWithheld;

impl Rule for VerdictWithheld {
    fn code(&self) -> &'static str {
        "T207"
    }

    fn name(&self) -> &'static str {
        "verdict-withheld"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let (done, total) = (subject.steps_done()?, subject.total_steps()?);
        if done == 0 || !subject.is_ternary() || !subject.is_before_switch() {
            return None;
        }
        let before = subject.mean_between(|point| point.loss, done / 2, done * 3 / 4);
        let after = subject.mean_between(|point| point.loss, done * 3 / 4, done + 1);
        let curve = match before.zip(after) {
            Some((before, after)) => {
                let change = (after - before) / before;
                let word = if change.abs() < 0.01 { "a plateau, as the S-curve has" } else { "still moving" };
                format!("; its loss went from {} to {} ({word})", number(before), number(after))
            }
            None => String::new(),
        };
        let switch = subject.switch()?;
        let share = percent(done as f64 / total as f64);
        Some(Sign::note(format!(
            "step {done} of {total} ({share}), and the second stage begins at step {switch}{curve}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        let found = fires(&VerdictWithheld, |s| {
            s.progress.step = Some(400);
            s.series.truncate(400);
        });
        assert!(found.evidence.contains("40 %"), "{}", found.evidence);
    }

    #[test]
    fn it_is_silent() {
        silent(&VerdictWithheld, |s| s.progress.step = Some(501));
    }
}
