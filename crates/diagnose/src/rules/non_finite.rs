//! Weights are NaN or infinite.
//!
//! One such value in a projection makes every output of its row NaN, and the next norm spreads it over the whole
//! token.
//!
//! Remedy: use an earlier checkpoint; look at T301 for when it happened. In a converted model, convert again: float16
//! may have overflowed.
//!
//! Source: the tensors.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct NonFinite;

impl Rule for NonFinite {
    fn code(&self) -> &'static str {
        "T401"
    }

    fn name(&self) -> &'static str {
        "non-finite"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let bad = || subject.tensors.iter().filter(|tensor| tensor.non_finite > 0);
        let count: usize = bad().map(|tensor| tensor.non_finite).sum();
        let first = bad().next()?;
        Some(Sign::error(format!("{count} values in {}", Subject::names(bad()))).at(first.name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        let found = fires(&NonFinite, |s| s.tensors[1].non_finite = 3);
        assert!(found.evidence.starts_with("3 values"), "{}", found.evidence);
    }

    #[test]
    fn it_is_silent() {
        silent(&NonFinite, |s| s.tensors.truncate(2));
    }
}
