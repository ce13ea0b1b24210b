//! The gradient grew out of bounds.
//!
//! The norm of the gradient before clipping stays within a small factor of its usual size. Twenty times its median at
//! the end of a log means that the network has moved to where its loss is steep, which precedes divergence; clipping
//! then only hides it.
//!
//! Remedy: go back to the checkpoint before the growth and lower the rate.
//!
//! Source: the log.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct GradientExplosion;

impl Rule for GradientExplosion {
    fn code(&self) -> &'static str {
        "T309"
    }

    fn name(&self) -> &'static str {
        "gradient-explosion"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let mut norms: Vec<f64> = subject
            .column(|point| point.grad_norm)
            .into_iter()
            .map(|(_, norm)| norm)
            .filter(|norm| norm.is_finite())
            .collect();
        if norms.len() < 50 {
            return None;
        }
        let tail = subject.tail_mean(|point| point.grad_norm, 0.05)?;
        norms.sort_by(f64::total_cmp);
        let median = norms[norms.len() / 2];
        let text = format!(
            "the norm is {} at the end of the log, {} times its median",
            number(tail),
            number(tail / median)
        );
        (tail > 20.0 * median && tail > 1.0).then(|| Sign::warning(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&GradientExplosion, |s| {
            s.series.iter_mut().skip(900).for_each(|point| point.grad_norm = Some(300.0))
        });
    }

    #[test]
    fn it_is_silent() {
        silent(&GradientExplosion, |s| s.series[500].grad_norm = Some(300.0));
    }
}
