//! The gated product `a(gate) · up` with a = ReLU² or SiLU.

use super::ROWS;
use kernels::gate;
use kernels::pool::{Pool, Rows};
use model::Activation;

/// `out = a(gate) · up`, all `(T, F)`.
pub fn forward(pool: &Pool, activation: Activation, gate: &[f32], up: &[f32], out: &mut [f32], width: usize) {
    let product = match activation {
        Activation::Relu2 => gate::relu2,
        Activation::Silu => gate::silu,
    };
    pool.for_rows(out.len() / width, ROWS, Rows::new(out, width), |rows, out| {
        let range = rows.start * width..rows.end * width;
        product(&gate[range.clone()], &up[range], out);
    });
}

/// Overwrites `gate` and `up` by their gradients, given `dout`; all `(T, F)`.
pub fn backward(
    pool: &Pool,
    activation: Activation,
    dout: &[f32],
    gate: &mut [f32],
    up: &mut [f32],
    width: usize,
) {
    let gradient = match activation {
        Activation::Relu2 => gate::relu2_backward,
        Activation::Silu => gate::silu_backward,
    };
    let parts = (Rows::new(gate, width), Rows::new(up, width));
    pool.for_rows(dout.len() / width, ROWS, parts, |rows, (gate, up)| {
        gradient(&dout[rows.start * width..rows.end * width], gate, up);
    });
}
