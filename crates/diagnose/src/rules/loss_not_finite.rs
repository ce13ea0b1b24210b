//! The loss is not a number.
//!
//! A loss of NaN or infinity means that a weight, an activation or a gradient left the range of its type. One such
//! step that is applied makes every later one NaN.
//!
//! Remedy: go back to the checkpoint before the first such step; lower the rate, clip the gradient, compute ReLU² in
//! bfloat16 or float32.
//!
//! Source: the log.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct LossNotFinite;

impl Rule for LossNotFinite {
    fn code(&self) -> &'static str {
        "T301"
    }

    fn name(&self) -> &'static str {
        "loss-not-finite"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let bad: Vec<u64> = subject
            .column(|point| point.loss)
            .into_iter()
            .filter(|(_, loss)| !loss.is_finite())
            .map(|(step, _)| step)
            .collect();
        let first = bad.first()?;
        Some(
            Sign::error(format!("{} steps, the first of them {first}", bad.len()))
                .at(format!("step {first}")),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        let found = fires(&LossNotFinite, |s| s.series[30].loss = Some(f64::NAN));
        assert_eq!(found.place.as_deref(), Some("step 30"));
    }

    #[test]
    fn it_is_silent() {
        silent(&LossNotFinite, |s| s.series[30].loss = None);
    }
}
