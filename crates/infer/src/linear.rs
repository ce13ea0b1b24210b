//! The projections: exact integer products of packed ternary codes, or full precision.

use crate::failure::Failure;
use crate::table::{Stripe, Table};
use formats::FileError;
use kernels::memory::Memory;
use kernels::pool::{Pool, Rows};
use kernels::softmax;
use kernels::ternary;
use kernels::ternary::project::{self, Codes, Scaled, Scratch};
use kernels::ternary::two_bit::{self, TwoBit};
use model::{Config, Encoding, LinearKind, Source, quantize};
use std::ops::Range;

/// How the projections of an engine compute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Arithmetic {
    /// λ = 1: int8 activations, ternary weights, sums in i32
    Ternary,
    /// activations and weights between full precision and quantised, in f32
    Blend(Share),
    /// full precision
    Dense,
}

impl Arithmetic {
    /// What a network computes with at a share of quantisation in 0..=1, its activations rounded token by token or in blocks.
    pub(crate) fn of(config: &Config, lambda: f32, block: Option<usize>) -> Self {
        match (config.linear, block) {
            (LinearKind::Dense, _) => Self::Dense,
            (LinearKind::Ternary, _) if lambda == 0.0 => Self::Dense,
            (LinearKind::Ternary, None) if lambda == 1.0 => Self::Ternary,
            (LinearKind::Ternary, _) => Self::Blend(Share { lambda, block: block.unwrap_or(usize::MAX) }),
        }
    }
}

/// How far activations and weights are quantised, and how activations are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    /// 0 < λ ≤ 1
    lambda: f32,
    /// activations of a token that share a scale; at least 1
    block: usize,
}

impl Share {
    /// Rounds one token `x` into `codes`, and writes what lies λ of the way there.
    fn blend(self, x: &[f32], codes: &mut [i8], blended: &mut [f32]) {
        let blocks =
            x.chunks(self.block).zip(codes.chunks_mut(self.block)).zip(blended.chunks_mut(self.block));
        for ((x, codes), blended) in blocks {
            quantize::blend_activations(x, self.lambda, codes, blended);
        }
    }
}

/// One projection (N, K).
pub(crate) enum Linear {
    /// where its packed codes lie, and the scale γ of the tensor
    Ternary { bytes: Range<usize>, n: usize, k: usize, gamma: f32 },
    /// (N, K)
    Float(Table),
}

impl Linear {
    /// Reads tensor `name` (`n`, `k`) and packs it into `bytes` of the engine's memory where the arithmetic is ternary. A
    /// tensor that is ternary keeps its scale; the scale and the codes of a latent one are `model::quantize`'s.
    pub(crate) fn read(
        arithmetic: Arithmetic,
        pool: &Pool,
        source: &dyn Source,
        (name, n, k): (&str, usize, usize),
        (memory, bytes): (&mut Memory, Range<usize>),
    ) -> Result<Self, FileError> {
        let encoding = source.encoding(name)?;
        match (arithmetic, encoding) {
            (Arithmetic::Dense, _) => Table::read(pool, source, name, (n, k)).map(Self::Float),
            (Arithmetic::Ternary, Encoding::Ternary { scale }) => {
                let failure = Failure::default();
                two_bit::pack_from(pool, n, k, &mut memory[bytes.clone()], |rows, codes| {
                    failure.unless(|| source.read_codes(name, rows, codes));
                });
                failure.result()?;
                Ok(Self::Ternary { bytes, n, k, gamma: scale })
            }
            _ => {
                let mut latent = vec![0.0; n * k];
                source.read(name, 0..n, &mut latent)?;
                let (codes, gamma) = quantised(&latent, encoding);
                if let Arithmetic::Blend(share) = arithmetic {
                    let mut blended = vec![0.0; latent.len()];
                    quantize::blend_weights(&latent, &codes, gamma, share.lambda, &mut blended);
                    return Ok(Self::Float(Table::of(blended, k)));
                }
                two_bit::pack(pool, &codes, n, k, &mut memory[bytes.clone()]);
                Ok(Self::Ternary { bytes, n, k, gamma })
            }
        }
    }

    /// Bytes of packed codes.
    pub(crate) fn packed_len(arithmetic: Arithmetic, (n, k): (usize, usize)) -> usize {
        match arithmetic {
            Arithmetic::Ternary => two_bit::packed_len(n, k),
            Arithmetic::Blend(_) | Arithmetic::Dense => 0,
        }
    }

    /// Bytes of a projection that is not packed.
    pub(crate) fn float_bytes(&self) -> usize {
        match self {
            Self::Ternary { .. } => 0,
            Self::Float(table) => table.bytes(),
        }
    }

    fn scaled<'a>(&self, memory: &'a [u8]) -> Option<Scaled<'a>> {
        match self {
            Self::Ternary { bytes, n, k, gamma } => {
                let weights = TwoBit { bytes: &memory[bytes.clone()], n: *n, k: *k };
                Some(Scaled { weights, gamma: *gamma })
            }
            Self::Float(_) => None,
        }
    }

    fn table(&self) -> &Table {
        match self {
            Self::Float(table) => table,
            Self::Ternary { .. } => unreachable!("the projections of an engine are all of one kind"),
        }
    }
}

/// Codes and scale of a tensor.
fn quantised(latent: &[f32], encoding: Encoding) -> (Vec<i8>, f32) {
    let gamma = match encoding {
        Encoding::Ternary { scale } => scale,
        Encoding::Float => quantize::weight_scale(latent),
    };
    let mut codes = vec![0; latent.len()];
    quantize::ternarise(latent, gamma, &mut codes);
    (codes, gamma)
}

/// What the projections read, prepared once for all that read the same, and what they need to multiply it.
pub(crate) struct Operand {
    arithmetic: Arithmetic,
    tokens: usize,
    width: usize,
    /// (T, K) int8 codes; empty for dense arithmetic
    codes: Vec<i8>,
    /// (T) scales s of the codes
    scales: Vec<f32>,
    /// (T, K); empty for ternary arithmetic
    floats: Vec<f32>,
    /// (T, N) of a product that is added or gated; empty for ternary arithmetic
    products: [Vec<f32>; 2],
    scratch: Scratch,
    stripe: Stripe,
}

impl Operand {
    /// Room for `tokens` rows of at most `widest` elements.
    pub(crate) fn new(arithmetic: Arithmetic, threads: usize, tokens: usize, widest: usize) -> Self {
        let room = |used: bool| if used { tokens * widest } else { 0 };
        let float = arithmetic != Arithmetic::Ternary;
        Self {
            arithmetic,
            tokens: 0,
            width: 0,
            codes: vec![0; room(arithmetic != Arithmetic::Dense)],
            scales: vec![0.0; tokens],
            floats: vec![0.0; room(float)],
            products: [vec![0.0; room(float)], vec![0.0; room(float)]],
            scratch: Scratch::new(threads, tokens, widest, ternary::select()),
            stripe: Stripe::default(),
        }
    }

    /// Quantises, blends or copies the rows that `write(row, x)` gives, of `width` elements each; where it does not copy them
    /// they stay in `normed`.
    pub(crate) fn load(
        &mut self,
        pool: &Pool,
        (tokens, width): (usize, usize),
        normed: &mut [f32],
        write: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        const TASK_TOKENS: usize = 4;
        (self.tokens, self.width) = (tokens, width);
        let normed = Rows::new(&mut normed[..tokens * width], width);
        let all = tokens * width;
        match self.arithmetic {
            Arithmetic::Dense => {
                let floats = Rows::new(&mut self.floats[..all], width);
                pool.for_rows(tokens, TASK_TOKENS, floats, |range, floats| {
                    floats.chunks_exact_mut(width).zip(range).for_each(|(out, row)| write(row, out));
                });
            }
            Arithmetic::Ternary => {
                let codes = Rows::new(&mut self.codes[..all], width);
                let scales = Rows::new(&mut self.scales[..tokens], 1);
                pool.for_rows(
                    tokens,
                    TASK_TOKENS,
                    (normed, codes, scales),
                    |range, (normed, codes, scales)| {
                        let rows =
                            normed.chunks_exact_mut(width).zip(codes.chunks_exact_mut(width)).zip(scales);
                        for (((x, q), s), row) in rows.zip(range) {
                            write(row, x);
                            *s = quantize::quantise_activations(x, q);
                        }
                    },
                );
            }
            Arithmetic::Blend(share) => {
                let codes = Rows::new(&mut self.codes[..all], width);
                let floats = Rows::new(&mut self.floats[..all], width);
                pool.for_rows(
                    tokens,
                    TASK_TOKENS,
                    (normed, codes, floats),
                    |range, (normed, codes, floats)| {
                        let rows = normed.chunks_exact_mut(width).zip(codes.chunks_exact_mut(width));
                        for (((x, q), out), row) in rows.zip(floats.chunks_exact_mut(width)).zip(range) {
                            write(row, x);
                            share.blend(x, q, out);
                        }
                    },
                );
            }
        }
    }

    /// (T, K): what the rows were before they were quantised; `normed` is that of the last load.
    pub(crate) fn plain<'a>(&'a self, normed: &'a [f32]) -> &'a [f32] {
        let all = self.tokens * self.width;
        if self.arithmetic == Arithmetic::Dense { &self.floats[..all] } else { &normed[..all] }
    }

    /// The codes, and what multiplying them needs.
    fn ternary(&mut self) -> (Codes<'_>, &mut Scratch) {
        let q = &self.codes[..self.tokens * self.width];
        (Codes { q, scales: &self.scales[..self.tokens] }, &mut self.scratch)
    }

    /// `out[i]` (T, N_i) = x · W_iᵀ.
    pub(crate) fn project<const C: usize>(
        &mut self,
        (pool, memory): (&Pool, &[u8]),
        linears: [&Linear; C],
        out: [&mut [f32]; C],
    ) {
        if self.arithmetic == Arithmetic::Ternary {
            let matrices = linears.map(|linear| linear.scaled(memory).expect("ternary projections"));
            let (x, scratch) = self.ternary();
            return project::project(pool, scratch, x, matrices, out);
        }
        let x = &self.floats[..self.tokens * self.width];
        for (linear, out) in linears.into_iter().zip(out) {
            linear.table().multiply(pool, &mut self.stripe, x, out);
        }
    }

    /// `out` (T, N) += x · Wᵀ.
    pub(crate) fn project_add(&mut self, (pool, memory): (&Pool, &[u8]), linear: &Linear, out: &mut [f32]) {
        if let Some(matrix) = linear.scaled(memory) {
            let (x, scratch) = self.ternary();
            return project::project_add(pool, scratch, x, matrix, out);
        }
        let x = &self.floats[..self.tokens * self.width];
        let product = &mut self.products[0][..out.len()];
        linear.table().multiply(pool, &mut self.stripe, x, product);
        softmax::add(out, product);
    }

    /// `out` (T, F) = `combine`(x · Gateᵀ, x · Upᵀ).
    pub(crate) fn project_gated(
        &mut self,
        (pool, memory): (&Pool, &[u8]),
        [gate, up]: [&Linear; 2],
        combine: fn(&[f32], &[f32], &mut [f32]),
        out: &mut [f32],
    ) {
        if let (Some(gate), Some(up)) = (gate.scaled(memory), up.scaled(memory)) {
            let (x, scratch) = self.ternary();
            return project::project_gated(pool, scratch, x, [gate, up], combine, out);
        }
        let x = &self.floats[..self.tokens * self.width];
        let [gates, ups] = self.products.each_mut().map(|product| &mut product[..out.len()]);
        gate.table().multiply(pool, &mut self.stripe, x, gates);
        up.table().multiply(pool, &mut self.stripe, x, ups);
        let width = out.len() / self.tokens;
        let (gates, ups) = (&*gates, &*ups);
        pool.for_rows(self.tokens, 1, Rows::new(out, width), |range, out| {
            let part = range.start * width..range.end * width;
            combine(&gates[part.clone()], &ups[part], out);
        });
    }
}
