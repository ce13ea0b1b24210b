//! How gradients become new weights, and the norm that clips them.

pub mod adam;
pub mod muon;

use kernels::pool::{PerBlock, Pool, Rows};
use kernels::quantize::sum_of_squares;

/// Elements of one task.
const BLOCK: usize = 1 << 14;

/// Sets all gradients to 0.
pub fn clear(pool: &Pool, gradients: &mut [f32]) {
    pool.for_rows(gradients.len(), BLOCK, Rows::new(gradients, 1), |_, gradients| gradients.fill(0.0));
}

/// `‖g‖₂` over all gradients; see [`squared_norm`].
pub fn gradient_norm(pool: &Pool, gradients: &[f32], partial: &mut Vec<f64>) -> f64 {
    squared_norm(pool, gradients, partial).sqrt()
}

/// `‖g‖₂²` over these gradients; `partial` holds one sum a block between calls and grows once.
pub fn squared_norm(pool: &Pool, gradients: &[f32], partial: &mut Vec<f64>) -> f64 {
    partial.resize(gradients.len().div_ceil(BLOCK), 0.0);
    pool.for_rows(gradients.len(), BLOCK, PerBlock::new(partial, 1), |range, sum| {
        sum[0] = sum_of_squares(&gradients[range]);
    });
    partial.iter().sum()
}
