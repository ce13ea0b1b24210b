//! Rows of zeros.
//!
//! A row of a projection whose codes are all 0 gives 0 for every input: the feature does not exist. Some are harmless (bitllama-3M,
//! which works, has 18 % in one of its key projections); where a quarter of a projection's rows are dead, capacity was lost, and
//! rows of zeros in a converted file may be ones that were never written.
//!
//! Remedy: compare with the model it was converted from (`trilobit checkpoint diff`); in training, look at the rate
//! and the decay of that layer.
//!
//! Source: the tensors.

use crate::finding::percent;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct DeadRows;

impl Rule for DeadRows {
    fn code(&self) -> &'static str {
        "T406"
    }

    fn name(&self) -> &'static str {
        "dead-rows"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let share = |tensor: &crate::tensors::Tensor| tensor.empty_rows as f64 / tensor.rows.max(1) as f64;
        let dead = || subject.projections().filter(move |tensor| share(tensor) > 0.25);
        let first = dead().next()?;
        let text =
            format!("{} of the rows of {}: {}", percent(share(first)), first.name, Subject::names(dead()));
        Some(Sign::warning(text).at(first.name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&DeadRows, |s| {
            s.tensors.iter_mut().filter(|t| t.name == "layers.1.up").for_each(|t| t.empty_rows = t.rows / 2)
        });
    }

    #[test]
    fn it_is_silent() {
        silent(&DeadRows, |s| s.tensors.iter_mut().for_each(|t| t.empty_rows = t.rows / 5));
    }
}
