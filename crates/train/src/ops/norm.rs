//! RMSNorm and the quantisation of its output: together they make the input of linear layers.

use super::{Machine, Precision, ROWS};
use crate::clock::{self, Op};
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

    /// `dx += …` and `dgain += …` of one row; `dy` is overwritten.
    pub(super) fn backward_row(
        &self,
        dy: &mut [f32],
        (x, factor): (&[f32], f32),
        dx: &mut [f32],
        dgain: &mut [f32],
    ) {
        if !self.exists {
            return kernels::softmax::add(dx, dy);
        }
        rms_norm_backward(dy, x, self.gain.map(|gain| (gain, dgain)), factor, dx);
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
    /// (T, W): the floats where λ < 1, or where an adapter reads them; empty elsewhere
    pub floats: &'a mut [f32],
    /// an adapter reads the floats at λ = 1, too: they are the norm's result then
    pub adapted: bool,
}

impl Input<'_> {
    /// Bytes of what linear layers read.
    pub(super) fn bytes(&self) -> usize {
        self.codes.len() + size_of_val(&*self.floats)
    }

    /// Its rows, to be cut into tasks.
    pub(super) fn rows(&mut self) -> (Rows<'_, f32>, Rows<'_, f32>, Rows<'_, i8>, Rows<'_, f32>) {
        let rows = self.factor.len();
        let (codes, floats) = (self.codes.len() / rows, self.floats.len() / rows);
        (
            Rows::new(self.factor, 1),
            Rows::new(self.scale, 1),
            Rows::new(self.codes, codes),
            Rows::new(self.floats, floats),
        )
    }
}

/// Normalises `x (T, W)` and leaves the linear layers' input in `out`: codes at λ = 1, else floats.
pub fn forward(machine: &mut Machine, norm: RmsNorm, precision: Precision, x: &[f32], out: &mut Input) {
    let rows = out.factor.len();
    let width = x.len() / rows;
    let _clock = clock::begin(Op::Norm, 0, size_of_val(x) + out.bytes());
    let (adapted, parts) = (out.adapted, out.rows());
    machine.pool.for_rows_with(
        rows,
        ROWS,
        &mut machine.row,
        parts,
        |normed, rows, (factor, scale, codes, floats)| {
            let mut out = InputRows { factor, scale, codes, floats, adapted };
            for (i, row) in rows.enumerate() {
                out.set(i, norm, precision, &x[row * width..][..width], &mut normed[..width]);
            }
        },
    );
}

/// The rows of an [`Input`] that one task writes.
pub(super) struct InputRows<'a> {
    pub factor: &'a mut [f32],
    pub scale: &'a mut [f32],
    pub codes: &'a mut [i8],
    pub floats: &'a mut [f32],
    pub adapted: bool,
}

impl InputRows<'_> {
    /// Row `i`, made of `x (W)`; `normed (W)` is overwritten.
    pub(super) fn set(
        &mut self,
        i: usize,
        norm: RmsNorm,
        precision: Precision,
        x: &[f32],
        normed: &mut [f32],
    ) {
        let own = i * x.len()..(i + 1) * x.len();
        self.factor[i] = norm.row(x, normed);
        match precision {
            Precision::Integer => {
                self.scale[i] = quantize::quantise_activations(normed, &mut self.codes[own.clone()]);
                if self.adapted {
                    self.floats[own].copy_from_slice(normed);
                }
            }
            Precision::Blend(lambda) => {
                let (codes, floats) = (&mut self.codes[own.clone()], &mut self.floats[own]);
                quantize::blend_activations(normed, lambda, codes, floats);
            }
            Precision::Full => self.floats[own].copy_from_slice(normed),
        }
    }
}

/// Normalises `x (T, W)` into `out (T, W)` without quantisation; leaves the factors.
pub fn forward_plain(machine: &Machine, norm: RmsNorm, x: &[f32], factor: &mut [f32], out: &mut [f32]) {
    let rows = factor.len();
    let width = x.len() / rows;
    let _clock = clock::begin(Op::Norm, 0, size_of_val(x) + size_of_val(out));
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

/// Gradients of either forward (quantisation passes them straight through): `dx` is written, or added to if
/// `accumulate`; `dgain += …`. `dy (T, W)` is overwritten.
pub fn backward(
    machine: &mut Machine,
    norm: RmsNorm,
    dy: &mut [f32],
    (x, factor): (&[f32], &[f32]),
    (dx, accumulate): (&mut [f32], bool),
    dgain: Option<&mut [f32]>,
) {
    let rows = factor.len();
    let width = x.len() / rows;
    let _clock = clock::begin(Op::NormBackward, 0, size_of_val(x) + size_of_val(dy) + size_of_val(dx));
    let blocks = rows.div_ceil(BACKWARD_ROWS);
    let partials = &mut machine.partials[..blocks * width];
    let parts = (Rows::new(dy, width), Rows::new(dx, width), PerBlock::new(partials, width));
    machine.pool.for_rows(rows, BACKWARD_ROWS, parts, |rows, (dy, dx, dgain)| {
        dgain.fill(0.0);
        for (i, row) in rows.enumerate() {
            let own = i * width..(i + 1) * width;
            let x = &x[row * width..][..width];
            let dx = &mut dx[own.clone()];
            if !accumulate {
                dx.fill(0.0);
            }
            norm.backward_row(&mut dy[own], (x, factor[row]), dx, dgain);
        }
    });
    machine.add_partials(blocks, dgain);
}
