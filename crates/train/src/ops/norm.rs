//! RMSNorm and the quantisation of its output: together they make the input of linear layers.

use super::{Machine, Precision, ROWS};
use kernels::norm::{rms_norm, rms_norm_backward};
use kernels::pool::{PerBlock, Rows};
use model::quantize;

/// Rows of one task of the backward; each leaves one partial gradient of the gain.
pub const BACKWARD_ROWS: usize = 64;

/// One norm: its gain (`None` is a gain of 1) and whether it normalises at all.
#[derive(Clone, Copy)]
pub struct RmsNorm<'a> {
    /// false passes the input through
    pub exists: bool,
    /// (W)
    pub gain: Option<&'a [f32]>,
    /// ε under the root
    pub epsilon: f32,
}

impl RmsNorm<'_> {
    fn row(&self, x: &[f32], out: &mut [f32]) -> f32 {
        if self.exists {
            return rms_norm(x, self.gain, self.epsilon, out);
        }
        out.copy_from_slice(x);
        1.0
    }
}

/// What a norm leaves for the linear layers after it, and for the backward.
pub struct Input<'a> {
    /// (T): 1/√(mean(x²) + ε)
    pub factor: &'a mut [f32],
    /// (T): s of each token's codes
    pub scale: &'a mut [f32],
    /// (T, W): int8 codes; empty where no linear layer is ever quantised
    pub codes: &'a mut [i8],
    /// (T, W): the floats where λ < 1; empty where λ is always 1
    pub floats: &'a mut [f32],
}

/// Normalises `x (T, W)` and leaves the linear layers' input in `out`: codes at λ = 1, else floats.
pub fn forward(machine: &mut Machine, norm: RmsNorm, precision: Precision, x: &[f32], out: &mut Input) {
    let rows = out.factor.len();
    let width = x.len() / rows;
    let parts = (
        Rows::new(out.factor, 1),
        Rows::new(out.scale, 1),
        Rows::new(out.codes, out.codes.len() / rows),
        Rows::new(out.floats, out.floats.len() / rows),
    );
    machine.pool.for_rows_with(
        rows,
        ROWS,
        &mut machine.row,
        parts,
        |normed, rows, (factor, scale, codes, floats)| {
            let normed = &mut normed[..width];
            for (i, row) in rows.enumerate() {
                let own = i * width..(i + 1) * width;
                factor[i] = norm.row(&x[row * width..][..width], normed);
                match precision {
                    Precision::Integer => scale[i] = quantize::quantise_activations(normed, &mut codes[own]),
                    Precision::Blend(lambda) => {
                        quantize::blend_activations(
                            normed,
                            lambda,
                            &mut codes[own.clone()],
                            &mut floats[own],
                        );
                    }
                    Precision::Full => floats[own].copy_from_slice(normed),
                }
            }
        },
    );
}

/// Normalises `x (T, W)` into `out (T, W)` without quantisation; leaves the factors.
pub fn forward_plain(machine: &Machine, norm: RmsNorm, x: &[f32], factor: &mut [f32], out: &mut [f32]) {
    let rows = factor.len();
    let width = x.len() / rows;
    machine.pool.for_rows(
        rows,
        ROWS,
        (Rows::new(factor, 1), Rows::new(out, width)),
        |rows, (factor, out)| {
            for (i, row) in rows.enumerate() {
                factor[i] = norm.row(&x[row * width..][..width], &mut out[i * width..][..width]);
            }
        },
    );
}

/// Gradients of either forward (quantisation passes them straight through): `dx += …`, `dgain += …`.
/// `dy (T, W)` is overwritten.
pub fn backward(
    machine: &mut Machine,
    norm: RmsNorm,
    dy: &mut [f32],
    (x, factor): (&[f32], &[f32]),
    dx: &mut [f32],
    dgain: Option<&mut [f32]>,
) {
    let rows = factor.len();
    let width = x.len() / rows;
    if !norm.exists {
        return super::add(&machine.pool, dx, dy, width);
    }
    let blocks = rows.div_ceil(BACKWARD_ROWS);
    let partials = &mut machine.partials[..blocks * width];
    let parts = (Rows::new(dy, width), Rows::new(dx, width), PerBlock::new(partials, width));
    machine.pool.for_rows(rows, BACKWARD_ROWS, parts, |rows, (dy, dx, dgain)| {
        dgain.fill(0.0);
        for (i, row) in rows.enumerate() {
            let own = i * width..(i + 1) * width;
            let gain = norm.gain.map(|gain| (gain, &mut *dgain));
            let x = &x[row * width..][..width];
            rms_norm_backward(&mut dy[own.clone()], x, gain, factor[row], &mut dx[own]);
        }
    });
    if let Some(dgain) = dgain {
        machine.partials[..blocks * width]
            .chunks_exact(width)
            .for_each(|part| kernels::softmax::add(dgain, part));
    }
}
