//! The collapse study's own two-stage curve, without a drop: `t < W: P·t/W`, a line P → ⅔P to ⌊T/2⌋, a line ⅔P → P/1000 to T.

use super::{Curve, Phase, Shape};

/// P of the study's runs of 10000 steps.
pub(super) const PEAK: f64 = 5e-4;
/// The last rate, as a share of the peak.
pub(super) const FLOOR_SHARE: f64 = 1e-3;

#[derive(Debug)]
pub(super) struct TwoStage(pub Shape);

impl Curve for TwoStage {
    fn rate(&self, step: u64) -> f64 {
        let shape = &self.0;
        let middle = shape.peak * 2.0 / 3.0;
        shape.warming(step).unwrap_or_else(|| {
            let (from, to, start, end) = match step < shape.half {
                true => (shape.peak, middle, shape.warmup, shape.half),
                false => (middle, shape.floor, shape.half, shape.total),
            };
            from + (to - from) * (step - start) as f64 / (end - start) as f64
        })
    }

    fn phase(&self, step: u64) -> Phase {
        match step {
            _ if step < self.0.warmup => Phase::Warmup,
            _ if step < self.0.half => Phase::Stage1,
            _ => Phase::Stage2,
        }
    }

    fn switches(&self) -> Vec<u64> {
        vec![self.0.half]
    }
}
