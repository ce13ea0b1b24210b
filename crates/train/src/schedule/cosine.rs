//! The course recipe: linear warm-up, then `E + (P − E)(1 + cos π(t − W)/(T − W))/2`, E a tenth of P.

use super::{Curve, Phase, Shape};
use std::f64::consts::PI;

/// P of the 125M model.
pub(super) const PEAK: f64 = 3e-4;
/// The last rate, as a share of the peak.
pub(super) const FLOOR_SHARE: f64 = 0.1;

#[derive(Debug)]
pub(super) struct Cosine(pub Shape);

impl Curve for Cosine {
    fn rate(&self, step: u64) -> f64 {
        let shape = &self.0;
        shape.warming(step).unwrap_or_else(|| {
            let done = 1.0 - shape.ahead(step);
            shape.floor + (shape.peak - shape.floor) * (1.0 + (PI * done).cos()) / 2.0
        })
    }

    fn phase(&self, step: u64) -> Phase {
        match step < self.0.warmup {
            true => Phase::Warmup,
            false => Phase::Decay,
        }
    }

    fn switches(&self) -> Vec<u64> {
        Vec::new()
    }
}
