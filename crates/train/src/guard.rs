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
    /// spikes in a row
    #[serde(default)]
    spikes: usize,
}

impl Guard {
    /// Alarms at `ratio` times the average of the last `window` losses, once there are that many.
    pub fn new(ratio: f64, window: usize) -> Self {
        Self { ratio, window, losses: VecDeque::with_capacity(window + 1), spikes: 0 }
    }

    /// Goes on with these, where a checkpoint remembers others.
    pub fn set(&mut self, ratio: f64, window: usize) {
        (self.ratio, self.window) = (ratio, window);
        self.losses.drain(..self.losses.len().saturating_sub(window));
        self.losses.reserve(window + 1 - self.losses.len());
    }

    /// Judges a step, and remembers its loss if it is to be applied. As many spikes in a row as the window has steps are where the
    /// loss is now: the next one is applied, and the average begins anew.
    pub fn check(&mut self, loss: f64, gradient_norm: f64) -> Result<(), Alarm> {
        if !loss.is_finite() {
            return Err(Alarm::Loss);
        }
        if !gradient_norm.is_finite() {
            return Err(Alarm::Gradient);
        }
        let average = self.losses.iter().sum::<f64>() / self.losses.len() as f64;
        let is_spike = self.window > 0 && self.losses.len() == self.window && loss > self.ratio * average;
        if is_spike && self.spikes < self.window {
            self.spikes += 1;
            return Err(Alarm::Spike { loss, average });
        }
        if is_spike {
            self.losses.clear();
        }
        self.spikes = 0;
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
        let mut healthy = guard.clone();
        assert_eq!(guard.check(f64::NAN, 1.0), Err(Alarm::Loss));
        assert_eq!(guard.check(3.0, f64::INFINITY), Err(Alarm::Gradient));
        assert_eq!(guard, healthy);
        assert_eq!(guard.check(10.1, 1.0), Err(Alarm::Spike { loss: 10.1, average: 5.0 }));
        for guard in [&mut guard, &mut healthy] {
            assert_eq!(guard.check(10.0, 1.0), Ok(()));
        }
        assert_eq!(guard, healthy);
    }

    #[test]
    fn a_loss_that_stays_high_is_refused_for_one_window() {
        let mut guard = Guard::new(2.0, 3);
        let refused = [1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 9.0, 11.0]
            .map(|loss| guard.check(loss, 1.0).is_err());
        let [no, yes] = [false, true];
        assert_eq!(refused, [no, no, no, yes, yes, yes, no, no, no, no, no]);
        assert_eq!(guard.check(17.0, 1.0), Err(Alarm::Spike { loss: 17.0, average: 25.0 / 3.0 }));
    }

    #[test]
    fn other_settings_count_from_the_next_step_on() {
        let mut guard = Guard::new(2.0, 3);
        for loss in [9.0, 1.0, 1.0] {
            guard.check(loss, 1.0).unwrap();
        }
        guard.set(4.0, 2);
        assert_eq!(guard.check(4.1, 1.0), Err(Alarm::Spike { loss: 4.1, average: 1.0 }));
        assert_eq!(guard.check(3.9, 1.0), Ok(()));
        guard.set(1.5, 5);
        assert_eq!(guard.check(100.0, 1.0), Ok(()), "the longer window is not full yet");
    }

    #[test]
    fn it_survives_a_checkpoint() {
        let mut guard = Guard::new(2.0, 2);
        guard.check(0.1 + 0.2, 1.0).unwrap();
        let text = serde_json::to_string(&guard).unwrap();
        assert_eq!(serde_json::from_str::<Guard>(&text).unwrap(), guard);
    }
}
