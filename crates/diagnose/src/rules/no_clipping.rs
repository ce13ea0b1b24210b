//! Gradients are not clipped.
//!
//! The straight-through estimator passes gradients through the rounding as if it were not there; single batches then
//! give gradients many times the usual norm, and one such step flips codes all over the network.
//!
//! Remedy: clip the global norm to 1.0 (`train.clip`, `max_grad_norm`).
//!
//! Source: the recipes of all published b1.58 runs.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct NoClipping;

impl Rule for NoClipping {
    fn code(&self) -> &'static str {
        "T108"
    }

    fn name(&self) -> &'static str {
        "no-clipping"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let clip = subject.recipe.clip?;
        (subject.is_ternary() && clip <= 0.0)
            .then(|| Sign::warning("the norm of the gradient is not limited (clip = 0)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&NoClipping, |s| s.recipe.clip = Some(0.0));
    }

    #[test]
    fn it_is_silent() {
        silent(&NoClipping, |s| s.recipe.clip = Some(0.5));
    }
}
