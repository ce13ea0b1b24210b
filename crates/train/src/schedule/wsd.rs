//! Warm-up, stable, decay: the peak until the last fifth of the steps, then a line to the floor.

use super::{Curve, Phase, ScheduleError, Shape, error};

/// Share of the steps that the decay takes.
pub(super) const DECAY: f64 = 0.2;

#[derive(Debug)]
pub(super) struct Wsd {
    shape: Shape,
    /// first step of the decay
    start: u64,
}

impl Wsd {
    pub(super) fn new(shape: Shape) -> Result<Self, ScheduleError> {
        let Shape { decay, warmup, total, .. } = shape;
        if decay > 1.0 {
            let reason = format!("{decay} is a share of the steps; set it within 0..=1");
            return Err(error("schedule.decay", reason));
        }
        let steps = (decay * total as f64).round() as u64;
        let start = total - steps.min(total);
        if start < warmup {
            let reason = format!(
                "a decay over {decay} of {total} steps begins at step {start}, inside the warm-up of {warmup}; shorten one of them"
            );
            return Err(error("schedule.decay", reason));
        }
        Ok(Self { shape, start })
    }
}

impl Curve for Wsd {
    fn rate(&self, step: u64) -> f64 {
        let Shape { peak, floor, total, .. } = self.shape;
        self.shape.warming(step).unwrap_or_else(|| {
            if step <= self.start {
                return peak;
            }
            floor + (peak - floor) * (total - step) as f64 / (total - self.start) as f64
        })
    }

    fn phase(&self, step: u64) -> Phase {
        match step {
            _ if step < self.shape.warmup => Phase::Warmup,
            _ if step < self.start => Phase::Stable,
            _ => Phase::Decay,
        }
    }

    fn switches(&self) -> Vec<u64> {
        vec![self.start]
    }
}
