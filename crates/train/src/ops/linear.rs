//! The linear layer, dense or BitLinear at any λ, with the straight-through estimator of SPEC §1:
//! `dX = dY·w_λ`, `dW = dYᵀ·x_λ`, where the weights and inputs are those that the forward multiplied.

use super::{Machine, Precision};
use crate::clock::{self, Op};
use crate::shadow::Shadow;
use kernels::gemm::{Scale, View, gemm, gemm_again};
use kernels::ternary::{Packed, matmul_scaled};
use model::quantize;

use super::norm::Input;

/// One linear layer's weights in every form that a step multiplies.
#[derive(Clone, Copy)]
pub struct Weight<'a> {
    /// (out, in): latent; empty at λ = 1
    pub latent: &'a [f32],
    /// the quantised forms
    pub shadow: &'a Shadow,
    /// output features
    pub rows: usize,
    /// input features
    pub cols: usize,
}

impl<'a> Weight<'a> {
    /// The matrix that the forward multiplies by, `(out, in)`.
    fn view(&self, precision: Precision) -> View<'a> {
        match precision {
            Precision::Integer => {
                View::i8(&self.shadow.codes, Scale::One(self.shadow.gamma), self.rows, self.cols)
            }
            Precision::Blend(_) => View::f32(&self.shadow.blended, self.rows, self.cols),
            Precision::Full => View::f32(self.latent, self.rows, self.cols),
        }
    }
}

/// `y = x_λ·w_λᵀ`; input `(T, in)`, y `(T, out)`. At λ = 1 it is `(Σ T·q)·γ/s` with an exact integer sum.
pub fn forward(machine: &mut Machine, precision: Precision, weight: Weight, input: &Input, y: &mut [f32]) {
    let rows = y.len() / weight.rows;
    let _clock = clock::begin(Op::Linear, y.len() * weight.cols, input.bytes() + size_of_val(y));
    if precision != Precision::Integer {
        let x = View::f32(input.floats, rows, weight.cols);
        return gemm(
            &machine.pool,
            &mut machine.linear,
            x,
            weight.view(precision).t(),
            y,
            weight.rows,
            false,
        );
    }
    let units = &mut machine.units[..rows];
    for (unit, scale) in units.iter_mut().zip(&*input.scale) {
        *unit = quantize::unit(weight.shadow.gamma, *scale);
    }
    let packed = Packed { bytes: &weight.shadow.packed, n: weight.rows, k: weight.cols };
    matmul_scaled(&machine.pool, machine.ternary, packed, input.codes, units, y);
}

/// `dx (T, in)` is written; `dw (out, in)` is added to where the weights are learned. `again` says that the last call had the same input: then `dx` is
/// added to, and the packed input serves again.
pub fn backward(
    machine: &mut Machine,
    precision: Precision,
    weight: Weight,
    input: &Input,
    dy: &[f32],
    (dx, again): (&mut [f32], bool),
    dw: Option<&mut [f32]>,
) {
    let rows = dy.len() / weight.rows;
    let products = 1 + usize::from(dw.is_some());
    let moved =
        input.bytes() + size_of_val(dy) + size_of_val(dx) + dw.as_ref().map_or(0, |dw| size_of_val(&**dw));
    let _clock = clock::begin(Op::LinearBackward, products * dy.len() * weight.cols, moved);
    let dy = View::f32(dy, rows, weight.rows);
    gemm(&machine.pool, &mut machine.dinput, dy, weight.view(precision), dx, weight.cols, again);
    let Some(dw) = dw else { return };
    let units = &mut machine.units[..rows];
    units.iter_mut().zip(&*input.scale).for_each(|(unit, scale)| *unit = scale.recip());
    let x = match precision {
        Precision::Integer => View::i8(input.codes, Scale::PerRow(units), rows, weight.cols),
        Precision::Blend(_) | Precision::Full => View::f32(input.floats, rows, weight.cols),
    };
    let multiply = if again { gemm_again } else { gemm };
    multiply(&machine.pool, &mut machine.dweight, dy.t(), x, dw, weight.cols, true);
}
