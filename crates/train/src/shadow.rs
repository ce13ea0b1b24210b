//! What a step needs of a latent matrix besides itself: its ternary codes, packed for the kernel, and its blend.

use crate::ops::Precision;
use kernels::pool::{PerBlock, Pool, Rows};
use kernels::quantize::sum_of_magnitudes;
use kernels::ternary::{pack, packed_len};
use model::quantize::{self, ABSMEAN_BLOCK};

/// The quantised forms of one latent matrix `(out, in)`, renewed after every update of the weights.
#[derive(Default)]
pub struct Shadow {
    /// (out, in): −1, 0 or 1
    pub codes: Vec<i8>,
    /// the codes as the kernel reads them
    pub packed: Vec<u8>,
    /// γ
    pub gamma: f32,
    /// (out, in): w_λ; empty where λ is always 1
    pub blended: Vec<f32>,
    /// the codes when the flip rate was last taken; empty where they never change
    pub recorded: Vec<i8>,
    partial: Vec<f64>,
}

impl Shadow {
    /// Room for a matrix `(rows, cols)`; with a blend only if λ will be below 1, with a record only of what is learned.
    pub fn new(rows: usize, cols: usize, blend: bool, learned: bool) -> Self {
        let len = rows * cols;
        Self {
            codes: vec![0; len],
            packed: vec![0; packed_len(rows, cols)],
            gamma: quantize::EPSILON,
            blended: vec![0.0; if blend { len } else { 0 }],
            recorded: vec![0; if learned { len } else { 0 }],
            partial: vec![0.0; len.div_ceil(ABSMEAN_BLOCK)],
        }
    }

    /// A matrix of `(rows, cols)` codes with the scale γ, which does not change.
    pub fn fixed(pool: &Pool, codes: Vec<i8>, gamma: f32, (rows, cols): (usize, usize)) -> Self {
        let mut packed = vec![0; packed_len(rows, cols)];
        pack(pool, &codes, rows, cols, &mut packed);
        Self { codes, packed, gamma, ..Self::default() }
    }

    /// Quantises the latent weights anew for a step of this precision.
    pub fn renew(&mut self, pool: &Pool, precision: Precision, latent: &[f32], cols: usize) {
        let len = latent.len();
        pool.for_rows(len, ABSMEAN_BLOCK, PerBlock::new(&mut self.partial, 1), |range, sum| {
            sum[0] = sum_of_magnitudes(&latent[range]);
        });
        let gamma = quantize::gamma(self.partial.iter().sum(), len);
        self.gamma = gamma;
        let blend_width = self.blended.len() / len;
        let parts = (Rows::new(&mut self.codes, 1), Rows::new(&mut self.blended, blend_width));
        pool.for_rows(len, ABSMEAN_BLOCK, parts, |range, (codes, blended)| {
            let latent = &latent[range];
            quantize::ternarise(latent, gamma, codes);
            if let Precision::Blend(lambda) = precision {
                quantize::blend_weights(latent, codes, gamma, lambda, blended);
            }
        });
        if precision == Precision::Integer {
            pack(pool, &self.codes, len / cols, cols, &mut self.packed);
        }
    }

    /// How many codes differ from those of the last call.
    pub fn flips(&mut self) -> usize {
        let flips = self.codes.iter().zip(&self.recorded).filter(|(now, then)| now != then).count();
        self.recorded.copy_from_slice(&self.codes);
        flips
    }

    /// How many codes are 0.
    pub fn zeros(&self) -> usize {
        self.codes.iter().filter(|code| **code == 0).count()
    }
}
