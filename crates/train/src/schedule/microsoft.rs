//! Microsoft's two-stage recipe ("The Era of 1-bit LLMs: Training Tips, Code and FAQ", Table 2, Fig. 1c).
//!
//! `t < W: P1·t/W`, then `E + (P_s − E)(T − t)/(T − W)` with P1 for t < T/2 and P2 from T/2 on.

use super::{Curve, Phase, Shape};

/// P1 of the 700M model.
pub(super) const PEAK: f64 = 1.5e-3;
/// W, the same for every size.
pub(super) const WARMUP: u64 = 375;
/// E, decoded from Fig. 1c.
pub(super) const FLOOR: f64 = 3e-5;

#[derive(Debug)]
pub(super) struct Microsoft(pub Shape);

impl Curve for Microsoft {
    fn rate(&self, step: u64) -> f64 {
        let shape = &self.0;
        shape.warming(step).unwrap_or_else(|| {
            let peak = match step < shape.half {
                true => shape.peak,
                false => shape.peak2,
            };
            shape.floor + (peak - shape.floor) * shape.ahead(step)
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
