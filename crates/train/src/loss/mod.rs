//! What a step is to make small, one file a loss: the text's own, and those that a teacher gives.

pub mod cross_entropy;
pub mod hidden;
pub mod logits;
pub mod relation;

use kernels::softmax;

/// `ln Σ e^(x·factor)`.
fn log_sum_exp(x: &[f32], factor: f32) -> f32 {
    let shift = softmax::largest(x);
    shift * factor + softmax::sum_of_exp(x, factor, shift).ln()
}
