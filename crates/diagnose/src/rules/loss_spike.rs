//! The loss jumps.
//!
//! A loss above twice the mean of the hundred steps before it is a spike: a bad batch, a rate too high for the moment,
//! or a resume that lost the optimiser's state. Ternary models recover from spikes slowly, since codes that flipped
//! have to flip back.
//!
//! Remedy: look at the batch and at the rate there; `train.guard = "skip"` refuses such steps.
//!
//! Source: the threshold of the collapse study's monitoring.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct LossSpike;

impl Rule for LossSpike {
    fn code(&self) -> &'static str {
        "T302"
    }

    fn name(&self) -> &'static str {
        "loss-spike"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let losses: Vec<(u64, f64)> =
            subject.column(|point| point.loss).into_iter().filter(|(_, loss)| loss.is_finite()).collect();
        let mut worst: Option<(u64, f64, f64)> = None;
        let mut sum: f64 = losses.iter().take(WINDOW).map(|(_, loss)| loss).sum();
        for (n, (step, loss)) in losses.iter().enumerate().skip(WINDOW) {
            let mean = sum / WINDOW as f64;
            if *loss > 2.0 * mean && worst.is_none_or(|(_, loss, mean)| losses[n].1 / mean > loss / mean) {
                worst = Some((*step, *loss, mean));
            }
            sum += loss - losses[n - WINDOW].1;
        }
        let (step, loss, mean) = worst?;
        let text = format!(
            "{} at step {step}, {} times the mean of {WINDOW} lines before it",
            number(loss),
            number(loss / mean)
        );
        Some(Sign::warning(text).at(format!("step {step}")))
    }
}

/// Lines of the moving mean.
const WINDOW: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        let found = fires(&LossSpike, |s| s.series[400].loss = Some(25.0));
        assert_eq!(found.place.as_deref(), Some("step 400"));
    }

    #[test]
    fn it_is_silent() {
        silent(&LossSpike, |s| s.series[400].loss = Some(8.0));
    }
}
