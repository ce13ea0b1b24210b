//! λ never reached 1.
//!
//! λ is the share of quantisation: at 0.6 four tenths of every product are still full precision. An export always has
//! λ = 1, so it is another network than the one that was trained, and a much worse one.
//!
//! Remedy: train on until λ is 1 and for some time after it; choose a schedule that ends at 1 (a sigmoid needs k ≥
//! 15).
//!
//! Source: the definition of gradual quantisation, w + λ(Ŵ − W).

use crate::finding::number;
use crate::recipe::FULL;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct LambdaBelowOne;

impl Rule for LambdaBelowOne {
    fn code(&self) -> &'static str {
        "T204"
    }

    fn name(&self) -> &'static str {
        "lambda-below-one"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        if !subject.is_ternary() || subject.progress.step == Some(0) {
            return None;
        }
        let end = subject.recipe.lambda_end;
        if let Some(end) = end.filter(|end| *end < FULL) {
            return Some(Sign::error(format!(
                "the schedule of λ ends at {}, and an export has λ = 1",
                number(end)
            )));
        }
        let lambda = subject.progress.lambda.filter(|lambda| *lambda < FULL)?;
        let text =
            format!("λ is {} at the last step; an export has λ = 1 and is another network", number(lambda));
        let unfinished = matches!((subject.steps_done(), subject.total_steps()), (Some(done), Some(total)) if done < total);
        Some(Sign::error(if unfinished { text + " (the run is not at its end)" } else { text }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&LambdaBelowOne, |s| s.progress.lambda = Some(0.6));
        fires(&LambdaBelowOne, |s| s.recipe.lambda_end = Some(0.6));
    }

    #[test]
    fn it_is_silent() {
        silent(&LambdaBelowOne, |s| s.progress.lambda = Some(0.99945));
    }
}
