//! Watches every step: a loss or gradient that is not finite, or a loss far above its moving average, is not applied.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Why a step must not be applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Alarm {
    /// the loss is NaN or infinite
    Loss,
    /// the gradient's norm is NaN or infinite
    Gradient,
    /// the loss is more than the ratio times its moving average
    Spike {
        /// the loss
        loss: f64,
        /// its moving average
        average: f64,
    },
}

impl std::fmt::Display for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Loss => f.write_str("the loss is not finite"),
            Self::Gradient => f.write_str("the gradient is not finite"),
            Self::Spike { loss, average } => {
                write!(f, "the loss {loss:.4} is {:.1} times its moving average {average:.4}", loss / average)
            }
        }
    }
}

/// The moving average of the losses of applied steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    ratio: f64,
    window: usize,
    losses: VecDeque<f64>,
}

impl Guard {
    /// Alarms at `ratio` times the average of the last `window` losses, once there are that many.
    pub fn new(ratio: f64, window: usize) -> Self {
        Self { ratio, window, losses: VecDeque::with_capacity(window + 1) }
    }

    /// Judges a step, and remembers its loss if it is to be applied.
    pub fn check(&mut self, loss: f64, gradient_norm: f64) -> Result<(), Alarm> {
        if !loss.is_finite() {
            return Err(Alarm::Loss);
        }
        if !gradient_norm.is_finite() {
            return Err(Alarm::Gradient);
        }
        let average = self.losses.iter().sum::<f64>() / self.losses.len() as f64;
        if self.window > 0 && self.losses.len() == self.window && loss > self.ratio * average {
            return Err(Alarm::Spike { loss, average });
        }
        self.losses.push_back(loss);
        if self.losses.len() > self.window {
            self.losses.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sick_step_is_refused_and_it_leaves_no_trace() {
        let mut guard = Guard::new(2.0, 3);
        for loss in [4.0, 9.0, 2.0] {
            assert_eq!(guard.check(loss, 1.0), Ok(()));
        }
        let healthy = guard.clone();
        assert_eq!(guard.check(f64::NAN, 1.0), Err(Alarm::Loss));
        assert_eq!(guard.check(3.0, f64::INFINITY), Err(Alarm::Gradient));
        assert_eq!(guard.check(10.1, 1.0), Err(Alarm::Spike { loss: 10.1, average: 5.0 }));
        assert_eq!(guard, healthy);
        assert_eq!(guard.check(10.0, 1.0), Ok(()));
        assert_ne!(guard, healthy);
    }

    #[test]
    fn it_survives_a_checkpoint() {
        let mut guard = Guard::new(2.0, 2);
        guard.check(0.1 + 0.2, 1.0).unwrap();
        let text = serde_json::to_string(&guard).unwrap();
        assert_eq!(serde_json::from_str::<Guard>(&text).unwrap(), guard);
    }
}
