//! Linear warm-up, then a line: `E + (P − E)(T − t)/(T − W)`, E = 0.

use super::{Curve, Phase, Shape};

#[derive(Debug)]
pub(super) struct Linear(pub Shape);

impl Curve for Linear {
    fn rate(&self, step: u64) -> f64 {
        let shape = &self.0;
        shape.warming(step).unwrap_or_else(|| shape.floor + (shape.peak - shape.floor) * shape.ahead(step))
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
