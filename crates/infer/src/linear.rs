//! The projections: exact integer products of packed ternary codes, or full precision.

use kernels::gemm::{self, View, Workspace};
use kernels::pool::{Pool, Rows};
use kernels::softmax;
use kernels::ternary::{self, Packed, TernaryKernel};
use model::{Config, LinearKind, quantize};

/// Rows of a weight matrix that a task multiplies with one token.
const TASK_ROWS: usize = 128;

/// Rows of a weight matrix that one call of gemm multiplies, so that its packed copy stays small.
const STRIPE_ROWS: usize = 2048;

/// How the projections of an engine compute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Arithmetic {
    /// λ = 1: int8 activations, ternary weights, sums in i32
    Ternary,
    /// 0 < λ < 1: activations and weights between full precision and quantised, in f32
    Blend(f32),
    /// full precision
    Dense,
}

impl Arithmetic {
    /// What a network computes with at a share of quantisation in 0..=1.
    pub(crate) fn of(config: &Config, lambda: f32) -> Self {
        match config.linear {
            LinearKind::Dense => Self::Dense,
            LinearKind::Ternary if lambda == 0.0 => Self::Dense,
            LinearKind::Ternary if lambda == 1.0 => Self::Ternary,
            LinearKind::Ternary => Self::Blend(lambda),
        }
    }
}

/// One projection (N, K).
pub(crate) enum Linear {
    /// packed codes and the scale γ of the tensor
    Ternary { packed: Vec<u8>, n: usize, k: usize, gamma: f32 },
    /// (N, K)
    Float(Vec<f32>),
}

impl Linear {
    /// Prepares `latent` (N, K); the scale and the codes are `model::quantize`'s.
    pub(crate) fn new(arithmetic: Arithmetic, pool: &Pool, latent: &[f32], n: usize) -> Self {
        if arithmetic == Arithmetic::Dense {
            return Self::Float(latent.to_vec());
        }
        let gamma = quantize::weight_scale(latent);
        let mut codes = vec![0; latent.len()];
        quantize::ternarise(latent, gamma, &mut codes);
        if let Arithmetic::Blend(lambda) = arithmetic {
            let mut blended = vec![0.0; latent.len()];
            quantize::blend_weights(latent, &codes, gamma, lambda, &mut blended);
            return Self::Float(blended);
        }
        let k = latent.len() / n;
        let mut packed = vec![0; ternary::packed_len(n, k)];
        ternary::pack(pool, &codes, n, k, &mut packed);
        Self::Ternary { packed, n, k, gamma }
    }

    /// Writes `out` (T, N).
    pub(crate) fn apply(&self, pool: &Pool, operand: &mut Operand, out: &mut [f32]) {
        let tokens = operand.tokens;
        let elements = tokens * operand.width;
        match self {
            Self::Ternary { packed, n, k, gamma } => {
                let weights = Packed { bytes: packed, n: *n, k: *k };
                let units = &mut operand.units[..tokens];
                for (unit, scale) in units.iter_mut().zip(&operand.scales) {
                    *unit = quantize::unit(*gamma, *scale);
                }
                let codes = &operand.codes[..elements];
                ternary::matmul_scaled(pool, operand.kernel, weights, codes, units, out);
            }
            Self::Float(w) => {
                let x = &operand.floats[..elements];
                multiply(pool, &mut operand.workspace, x, tokens, w, out);
            }
        }
    }
}

/// What the projections read, prepared once for all that read the same.
pub(crate) struct Operand {
    arithmetic: Arithmetic,
    tokens: usize,
    width: usize,
    /// (T, K) int8 codes; empty for dense arithmetic
    codes: Vec<i8>,
    /// (T) scales s of the codes
    scales: Vec<f32>,
    /// (T) γ/s of the projection at hand
    units: Vec<f32>,
    kernel: &'static dyn TernaryKernel,
    /// (T, K); empty for ternary arithmetic
    floats: Vec<f32>,
    /// for products of f32
    pub workspace: Workspace,
}

impl Operand {
    /// Room for `tokens` rows of at most `widest` elements.
    pub(crate) fn new(arithmetic: Arithmetic, tokens: usize, widest: usize) -> Self {
        let room = |used: bool| if used { tokens * widest } else { 0 };
        Self {
            arithmetic,
            tokens: 0,
            width: 0,
            codes: vec![0; room(arithmetic != Arithmetic::Dense)],
            scales: vec![0.0; tokens],
            units: vec![0.0; tokens],
            kernel: ternary::select(),
            floats: vec![0.0; room(arithmetic != Arithmetic::Ternary)],
            workspace: Workspace::new(),
        }
    }

    /// Quantises, blends or copies the rows of `x` (T, `width`).
    pub(crate) fn load(&mut self, pool: &Pool, x: &[f32], width: usize) {
        const TASK_TOKENS: usize = 8;
        (self.tokens, self.width) = (x.len() / width, width);
        let rows = |range: &std::ops::Range<usize>| range.start * width..range.end * width;
        match self.arithmetic {
            Arithmetic::Dense => self.floats[..x.len()].copy_from_slice(x),
            Arithmetic::Ternary => {
                let codes = Rows::new(&mut self.codes[..x.len()], width);
                let scales = Rows::new(&mut self.scales[..self.tokens], 1);
                pool.for_rows(self.tokens, TASK_TOKENS, (codes, scales), |range, (codes, scales)| {
                    let x = x[rows(&range)].chunks_exact(width);
                    for ((x, q), s) in x.zip(codes.chunks_exact_mut(width)).zip(scales) {
                        *s = quantize::quantise_activations(x, q);
                    }
                });
            }
            Arithmetic::Blend(lambda) => {
                let codes = Rows::new(&mut self.codes[..x.len()], width);
                let floats = Rows::new(&mut self.floats[..x.len()], width);
                pool.for_rows(self.tokens, TASK_TOKENS, (codes, floats), |range, (codes, floats)| {
                    let x = x[rows(&range)].chunks_exact(width);
                    let (codes, floats) = (codes.chunks_exact_mut(width), floats.chunks_exact_mut(width));
                    for ((x, q), out) in x.zip(codes).zip(floats) {
                        quantize::blend_activations(x, lambda, q, out);
                    }
                });
            }
        }
    }
}

/// `out` (T, N) = `x` (T, K) · `w`ᵀ (N, K) in f32.
pub(crate) fn multiply(
    pool: &Pool,
    workspace: &mut Workspace,
    x: &[f32],
    tokens: usize,
    w: &[f32],
    out: &mut [f32],
) {
    if tokens == 1 {
        return multiply_row(pool, x, w, out);
    }
    let (width, outputs) = (x.len() / tokens, out.len() / tokens);
    for (stripe, w) in w.chunks(STRIPE_ROWS * width).enumerate() {
        let rows = w.len() / width;
        let a = View::f32(x, tokens, width);
        let b = View::f32(w, rows, width).t();
        let c = &mut out[stripe * STRIPE_ROWS..];
        gemm::gemm(pool, workspace, a, b, c, outputs, false);
    }
}

/// [`multiply`] of one token: `out` (N) = `w` (N, K) · `x` (K).
pub(crate) fn multiply_row(pool: &Pool, x: &[f32], w: &[f32], out: &mut [f32]) {
    let width = x.len();
    let rows = out.len();
    pool.for_rows(rows, TASK_ROWS, Rows::new(out, 1), |range, out| {
        let w = &w[range.start * width..range.end * width];
        for (w, out) in w.chunks_exact(width).zip(out) {
            *out = softmax::dot(w, x);
        }
    });
}
