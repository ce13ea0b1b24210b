//! The gated product `a(gate) · up` with a = ReLU² or SiLU, and the norm behind it, in one pass: the product is never held.

use super::norm::{BACKWARD_ROWS, Input, InputRows, RmsNorm};
use super::{Machine, Precision, ROWS};
use crate::clock::{self, Op};
use kernels::gate;
use kernels::pool::{PerBlock, Rows};
use model::Activation;

/// What is done with a gate and an up projection.
#[derive(Clone, Copy)]
pub struct Gated<'a> {
    /// a
    pub activation: Activation,
    /// of the product
    pub norm: RmsNorm<'a>,
}

impl Gated<'_> {
    /// `out = a(gate) · up` of one row.
    fn product(&self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        match self.activation {
            Activation::Relu2 => gate::relu2(gate, up, out),
            Activation::Silu => gate::silu(gate, up, out),
        }
    }

    /// Overwrites a row of `gate` and `up` by their gradients.
    fn product_backward(&self, dout: &[f32], gate: &mut [f32], up: &mut [f32]) {
        match self.activation {
            Activation::Relu2 => gate::relu2_backward(dout, gate, up),
            Activation::Silu => gate::silu_backward(dout, gate, up),
        }
    }
}

/// Leaves the normed product of `gate` and `up (T, F)` in `out`: codes at λ = 1, else floats.
pub fn forward(
    machine: &mut Machine,
    gated: Gated,
    precision: Precision,
    (gate, up): (&[f32], &[f32]),
    out: &mut Input,
) {
    let rows = out.factor.len();
    let width = gate.len() / rows;
    let _clock = clock::begin(Op::Gate, 0, 2 * size_of_val(gate) + out.bytes());
    let (adapted, parts) = (out.adapted, out.rows());
    machine.pool.for_rows_with(
        rows,
        ROWS,
        &mut machine.row,
        parts,
        |scratch, rows, (factor, scale, codes, floats)| {
            let (product, normed) = scratch[..2 * width].split_at_mut(width);
            let mut out = InputRows { factor, scale, codes, floats, adapted };
            for (i, row) in rows.enumerate() {
                let own = row * width..(row + 1) * width;
                gated.product(&gate[own.clone()], &up[own], product);
                out.set(i, gated.norm, precision, product, normed);
            }
        },
    );
}

/// Overwrites `gate` and `up (T, F)` by their gradients, given `dy (T, F)` of the normed product and the norm's factors
/// `(T)`; `dgain += …`. `dy` is overwritten.
pub fn backward(
    machine: &mut Machine,
    gated: Gated,
    dy: &mut [f32],
    factor: &[f32],
    (gate, up): (&mut [f32], &mut [f32]),
    dgain: Option<&mut [f32]>,
) {
    let rows = factor.len();
    let width = gate.len() / rows;
    let _clock = clock::begin(Op::GateBackward, 0, 3 * size_of_val(gate));
    let blocks = rows.div_ceil(BACKWARD_ROWS);
    let partials = PerBlock::new(&mut machine.partials[..blocks * width], width);
    let parts = (Rows::new(dy, width), Rows::new(gate, width), Rows::new(up, width), partials);
    machine.pool.for_rows_with(
        rows,
        BACKWARD_ROWS,
        &mut machine.row,
        parts,
        |scratch, rows, (dy, gate, up, dgain)| {
            let (product, dproduct) = scratch[..2 * width].split_at_mut(width);
            dgain.fill(0.0);
            for (i, row) in rows.enumerate() {
                let own = i * width..(i + 1) * width;
                let (gate, up) = (&mut gate[own.clone()], &mut up[own.clone()]);
                gated.product(gate, up, product);
                dproduct.fill(0.0);
                gated.norm.backward_row(&mut dy[own], (product, factor[row]), dproduct, dgain);
                gated.product_backward(dproduct, gate, up);
            }
        },
    );
    machine.add_partials(blocks, dgain);
}
