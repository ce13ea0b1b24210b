//! What Qwen has between a projection and RoPE: a bias (Qwen2), an RMSNorm of every query and key head (Qwen3).

use super::norm::BACKWARD_ROWS;
use super::{Machine, ROWS};
use crate::clock::{self, Op};
use kernels::norm::{rms_norm, rms_norm_backward};
use kernels::pool::{PerBlock, Rows};
use kernels::softmax;

/// The vectors of one projection; a network without them has neither.
#[derive(Clone, Copy, Default)]
pub struct Heads<'a> {
    /// (W): added to every row
    pub bias: Option<&'a [f32]>,
    /// (D): gain of every head's norm
    pub gain: Option<&'a [f32]>,
    /// ε under the root
    pub epsilon: f32,
}

/// `x (T, W)` becomes `norm(x + bias)`; what the norms read is left in `raw (T, W)`, which is empty where there are none.
pub fn forward(machine: &Machine, heads: Heads, x: &mut [f32], raw: &mut [f32], rows: usize) {
    if heads.bias.is_none() && heads.gain.is_none() {
        return;
    }
    let _clock = clock::begin(Op::Norm, 0, size_of_val(x));
    let width = x.len() / rows;
    let parts = (Rows::new(x, width), Rows::new(raw, raw.len() / rows));
    machine.pool.for_rows(rows, ROWS, parts, |_, (x, raw)| {
        if let Some(bias) = heads.bias {
            x.chunks_exact_mut(width).for_each(|row| softmax::add(row, bias));
        }
        let Some(gain) = heads.gain else { return };
        raw.copy_from_slice(x);
        for (head, raw) in x.chunks_exact_mut(gain.len()).zip(raw.chunks_exact(gain.len())) {
            rms_norm(raw, heads.gain, heads.epsilon, head);
        }
    });
}

/// `dx (T, W)`, the gradient of the norms' result, becomes that of what they read, `raw (T, W)`; `dgain (D) += …`
/// where it is wanted.
pub fn norms_backward(
    machine: &mut Machine,
    (gain, epsilon): (&[f32], f32),
    dx: &mut [f32],
    raw: &[f32],
    rows: usize,
    dgain: Option<&mut [f32]>,
) {
    let _clock = clock::begin(Op::NormBackward, 0, size_of_val(dx) + size_of_val(raw));
    let (width, size) = (dx.len() / rows, gain.len());
    let blocks = rows.div_ceil(BACKWARD_ROWS);
    let parts = (Rows::new(dx, width), PerBlock::new(&mut machine.partials[..blocks * size], size));
    machine.pool.for_rows_with(rows, BACKWARD_ROWS, &mut machine.row, parts, |row, own, (dx, dgain)| {
        dgain.fill(0.0);
        let raw = &raw[own.start * width..own.end * width];
        let (normed, gradient) = row[..2 * size].split_at_mut(size);
        for (head, raw) in dx.chunks_exact_mut(size).zip(raw.chunks_exact(size)) {
            let factor = rms_norm(raw, None, epsilon, normed);
            gradient.fill(0.0);
            rms_norm_backward(head, raw, Some((gain, &mut *dgain)), factor, gradient);
            head.copy_from_slice(gradient);
        }
    });
    machine.add_partials(blocks, dgain);
}

/// `dbias (W) += Σ dx` over the rows of `dx (T, W)`.
pub fn bias_backward(machine: &mut Machine, dx: &[f32], rows: usize, dbias: &mut [f32]) {
    let _clock = clock::begin(Op::NormBackward, 0, size_of_val(dx));
    let width = dbias.len();
    let blocks = rows.div_ceil(BACKWARD_ROWS);
    let partials = PerBlock::new(&mut machine.partials[..blocks * width], width);
    machine.pool.for_rows(rows, BACKWARD_ROWS, partials, |own, dbias| {
        dbias.fill(0.0);
        dx[own.start * width..own.end * width].chunks_exact(width).for_each(|row| softmax::add(dbias, row));
    });
    machine.add_partials(blocks, Some(dbias));
}
