//! Linear warm-up, then the peak to the end.

use super::{Curve, Phase, Shape};

#[derive(Debug)]
pub(super) struct Constant(pub Shape);

impl Curve for Constant {
    fn rate(&self, step: u64) -> f64 {
        self.0.warming(step).unwrap_or(self.0.peak)
    }

    fn phase(&self, step: u64) -> Phase {
        match step < self.0.warmup {
            true => Phase::Warmup,
            false => Phase::Stable,
        }
    }

    fn switches(&self) -> Vec<u64> {
        Vec::new()
    }
}
