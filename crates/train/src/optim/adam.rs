//! AdamW, and Adam with coupled L2. Only matrices decay; norm gains do not.

use super::BLOCK;
use kernels::memory::zeros;
use kernels::optim::{AdamStep, adam};
use kernels::pool::{Pool, Rows};
use model::{Arena, Slot};
use std::ops::Range;

/// What stays the same over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// decay of the first moment
    pub beta1: f32,
    /// decay of the second moment
    pub beta2: f32,
    /// added to the root of the second moment
    pub epsilon: f32,
    /// true adds weight decay to the gradient (Adam with L2), false shrinks the weights (AdamW)
    pub coupled: bool,
}

/// What changes from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// learning rate
    pub lr: f32,
    /// weight decay of the matrices
    pub weight_decay: f32,
    /// multiplies the gradients first: clipping
    pub gradient_scale: f32,
}

/// A contiguous part of the arena, and where its moments begin in `m` and `v`.
pub struct Part {
    /// elements of the arena
    pub range: Range<usize>,
    /// index of the first element's moments
    pub moments: usize,
}

/// Both moments, laid out as the weights, or of those parts of them that this rank updates.
pub struct Adam {
    /// first moments
    pub m: Vec<f32>,
    /// second moments
    pub v: Vec<f32>,
    /// steps taken
    pub steps: u64,
    options: Options,
}

impl Adam {
    /// Zero moments for `len` parameters.
    pub fn new(len: usize, options: Options) -> Self {
        Self { m: zeros(len), v: zeros(len), steps: 0, options }
    }

    /// One step of all weights, or of all of an adapter.
    pub fn step(&mut self, pool: &Pool, weights: &mut impl Arena, gradients: &[f32], update: Update) {
        self.steps += 1;
        let part = Part { range: 0..gradients.len(), moments: 0 };
        self.step_part(pool, weights, gradients, update, part);
    }

    /// Step number `steps` of a part of the arena.
    pub fn step_part(
        &mut self,
        pool: &Pool,
        weights: &mut impl Arena,
        gradients: &[f32],
        update: Update,
        part: Part,
    ) {
        let Options { beta1, beta2, epsilon, coupled } = self.options;
        let correction = |beta: f32| (1.0 - f64::from(beta).powf(self.steps as f64)) as f32;
        let step = AdamStep {
            lr: update.lr,
            beta1,
            beta2,
            epsilon,
            weight_decay: 0.0,
            coupled,
            gradient_scale: update.gradient_scale,
            correction1: correction(beta1),
            correction2: correction(beta2),
        };
        let (tensors, data) = weights.parts();
        for tensor in tensors {
            let Slot { start, .. } = tensor.slot;
            let range = start.max(part.range.start)..(start + tensor.slot.len()).min(part.range.end);
            if range.is_empty() {
                continue;
            }
            let weight_decay = if tensor.is_matrix { update.weight_decay } else { 0.0 };
            let step = AdamStep { weight_decay, ..step };
            let gradients = &gradients[range.clone()];
            let moments = part.moments + range.start - part.range.start;
            let moments = moments..moments + range.len();
            let parts = (
                Rows::new(&mut data[range.clone()], 1),
                Rows::new(&mut self.m[moments.clone()], 1),
                Rows::new(&mut self.v[moments], 1),
            );
            pool.for_rows(range.len(), BLOCK, parts, |range, (p, m, v)| {
                adam(&step, p, &gradients[range], m, v);
            });
        }
    }
}
