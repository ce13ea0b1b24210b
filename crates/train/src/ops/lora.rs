//! The low-rank term beside a linear layer (LoRA): `y += s·B·(A·x)`. All its products are in single precision.

use super::Machine;
use crate::clock::{self, Op};
use kernels::gemm::{View, gemm};
use kernels::softmax::scale;

/// The two matrices beside one layer.
#[derive(Clone, Copy)]
pub struct LowRank<'a> {
    /// A (r, in)
    pub a: &'a [f32],
    /// B (out, r)
    pub b: &'a [f32],
    /// r
    pub rank: usize,
    /// s
    pub scale: f32,
}

impl<'a> LowRank<'a> {
    fn a(&self) -> View<'a> {
        View::f32(self.a, self.rank, self.a.len() / self.rank)
    }

    fn b(&self) -> View<'a> {
        View::f32(self.b, self.b.len() / self.rank, self.rank)
    }
}

/// Adds to `y (T, out)` what the layer's own input `x (T, in)` gives; leaves `s·A·x` in `low (T, r)`.
pub fn forward(machine: &mut Machine, pair: LowRank, x: &[f32], low: &mut [f32], y: &mut [f32]) {
    let (a, b) = (pair.a(), pair.b());
    let rows = low.len() / pair.rank;
    let _clock = clock::begin(Op::Linear, low.len() * (a.cols + b.rows), size_of_val(x) + 2 * size_of_val(y));
    let Machine { pool, gemm: workspace, .. } = machine;
    gemm(pool, workspace, View::f32(x, rows, a.cols), a.t(), low, pair.rank, false);
    scale(low, pair.scale, 0.0);
    gemm(pool, workspace, View::f32(low, rows, pair.rank), b.t(), y, b.rows, true);
}

/// With `low` as the forward left it, which is overwritten: `dx (T, in)`, `da (r, in)` and `db (out, r)` are added to.
pub fn backward(
    machine: &mut Machine,
    pair: LowRank,
    (x, low): (&[f32], &mut [f32]),
    dy: &[f32],
    dx: &mut [f32],
    (da, db): (&mut [f32], &mut [f32]),
) {
    let (a, b) = (pair.a(), pair.b());
    let rows = low.len() / pair.rank;
    let moved = size_of_val(x) + 2 * (size_of_val(dy) + size_of_val(dx));
    let _clock = clock::begin(Op::LinearBackward, 2 * low.len() * (a.cols + b.rows), moved);
    let Machine { pool, gemm: workspace, .. } = machine;
    let dy = View::f32(dy, rows, b.rows);
    gemm(pool, workspace, dy.t(), View::f32(low, rows, pair.rank), db, pair.rank, true);
    gemm(pool, workspace, dy, b, low, pair.rank, false);
    scale(low, pair.scale, 0.0);
    let dlow = View::f32(low, rows, pair.rank);
    gemm(pool, workspace, dlow, a, dx, a.cols, true);
    gemm(pool, workspace, dlow.t(), View::f32(x, rows, a.cols), da, a.cols, true);
}
