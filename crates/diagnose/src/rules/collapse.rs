//! The model says the same thing after any prompt.
//!
//! Twenty random prompts of eight tokens have some twenty different continuations in a healthy young model, and eight
//! to fourteen at the end of the collapse study's runs. Three or fewer are a collapse: the output no longer depends on
//! the input.
//!
//! Before the second stage begins this is a note: models with two answers there recovered.
//!
//! Remedy: look at T101, T102 and T105; where the schedule is the official one, train through the second stage before
//! judging.
//!
//! Source: the collapse study (four sizes, 20 → 2 in stage 1, 8 to 14 at the end).

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct Collapse;

impl Rule for Collapse {
    fn code(&self) -> &'static str {
        "T305"
    }

    fn name(&self) -> &'static str {
        "collapse"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let records = subject.column(|point| point.unique_tokens);
        let last = &records[records.len().checked_sub(3)?..];
        let mean = last.iter().map(|(_, unique)| unique).sum::<f64>() / 3.0;
        if mean > 3.0 {
            return None;
        }
        let shown: Vec<String> = last.iter().map(|(_, unique)| number(*unique)).collect();
        let text = format!("{} distinct answers to 20 random prompts in the last records", shown.join(", "));
        Some(if subject.is_before_switch() { Sign::note(text) } else { Sign::error(text) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        let found = fires(&Collapse, |s| {
            s.series.iter_mut().for_each(|p| p.unique_tokens = p.unique_tokens.map(|_| 2.0))
        });
        assert!(found.evidence.starts_with("2, 2, 2"), "{}", found.evidence);
    }

    #[test]
    fn it_is_silent() {
        silent(&Collapse, |s| {
            s.series.iter_mut().take(990).for_each(|p| p.unique_tokens = p.unique_tokens.map(|_| 8.0))
        });
    }
}
