//! Causal attention within documents, grouped queries, streaming over blocks of queries: no `(T, T)` matrix
//! is ever held, only the log-sum-exp of each row, from which the backward makes the probabilities again
//! (FlashAttention, Dao et al. 2022).

use super::Machine;
use crate::clock::{self, Op};
use kernels::gemm::{self, View, gemm_serial};
use kernels::pool::Rows;
use kernels::softmax;
use model::Config;

/// Queries handled together; their scores `(QUERIES, keys)` stay in L2.
const QUERIES: usize = 64;

/// Buffers of one worker.
pub struct Scratch {
    gemm: gemm::Workspace,
    scores: Vec<f32>,    // (QUERIES, S)
    gradients: Vec<f32>, // (QUERIES, S)
}

impl Scratch {
    /// Buffers for sequences of at most `sequence` tokens and heads of `size`.
    pub fn new(sequence: usize, size: usize) -> Self {
        let scores = vec![0.0; QUERIES * sequence];
        let mut gemm = gemm::Workspace::default();
        for (m, n, k) in [(QUERIES, sequence, size), (QUERIES, size, sequence), (sequence, size, QUERIES)] {
            gemm.reserve(1, m, n, k);
        }
        Self { gemm, gradients: scores.clone(), scores }
    }
}

/// The batch's shape as attention sees it.
#[derive(Clone, Copy)]
pub struct Shape<'a> {
    /// heads and their size
    pub config: &'a Config,
    /// S: tokens of one sequence; the batch holds T / S of them
    pub sequence: usize,
    /// (T): index in its sequence of the first token that a token may attend to
    pub starts: &'a [u32],
}

impl Shape<'_> {
    /// Multiply-adds of one product of queries and the keys they see, or of probabilities and values.
    fn macs(&self) -> usize {
        let seen =
            self.starts.iter().enumerate().map(|(row, start)| row % self.sequence + 1 - *start as usize);
        seen.sum::<usize>() * self.config.query_width()
    }
}

/// Queries `(T, N·D)`, keys and values `(T, K·D)`, after RoPE.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub struct Qkv<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
}

/// One head's part in one block of queries: which rows of the batch it reads.
struct Block<'a> {
    shape: Shape<'a>,
    /// rows of the batch: the queries
    queries: std::ops::Range<usize>,
    /// rows of the batch: all keys that any of the queries sees
    keys: std::ops::Range<usize>,
    head: usize,
}

impl<'a> Block<'a> {
    fn new(shape: Shape<'a>, queries: std::ops::Range<usize>, head: usize) -> Self {
        let first = queries.start / shape.sequence * shape.sequence;
        let keys = first + shape.starts[queries.start] as usize..queries.end;
        Self { shape, queries, keys, head }
    }

    fn size(&self) -> usize {
        self.shape.config.head_size
    }

    fn kv_head(&self) -> usize {
        self.head * self.shape.config.kv_heads / self.shape.config.heads
    }

    fn factor(&self) -> f32 {
        1.0 / (self.size() as f32).sqrt()
    }

    /// Rows of a per-query-head tensor `(T, N·D)` that begins at row `origin` of the batch.
    fn query_view<'b>(&self, x: &'b [f32], origin: usize) -> View<'b> {
        let width = self.shape.config.query_width();
        let from = (self.queries.start - origin) * width + self.head * self.size();
        View::f32(&x[from..], self.queries.len(), self.size()).strided(width, 1)
    }

    /// Rows of a per-key-head tensor `(T, K·D)`.
    fn key_view<'b>(&self, x: &'b [f32]) -> View<'b> {
        let width = self.shape.config.kv_width();
        let from = self.keys.start * width + self.kv_head() * self.size();
        View::f32(&x[from..], self.keys.len(), self.size()).strided(width, 1)
    }

    /// Columns of the scores that query row `row` sees.
    fn visible(&self, row: usize) -> std::ops::Range<usize> {
        let first = row / self.shape.sequence * self.shape.sequence + self.shape.starts[row] as usize;
        first - self.keys.start..row + 1 - self.keys.start
    }

    /// `e^(score − shift(row))` into `scratch.scores (queries, keys)`, 0 where masked.
    /// `shift` sees the row's scores before it chooses.
    fn powers(&self, scratch: &mut Scratch, qkv: Qkv, mut shift: impl FnMut(usize, &mut [f32])) {
        let keys = self.keys.len();
        let scores = &mut scratch.scores[..self.queries.len() * keys];
        let (q, k) = (self.query_view(qkv.q, 0), self.key_view(qkv.k));
        gemm_serial(&mut scratch.gemm, q, k.t(), scores, keys, false);
        for (row, scores) in self.queries.clone().zip(scores.chunks_exact_mut(keys)) {
            let visible = self.visible(row);
            scores[..visible.start].fill(0.0);
            scores[visible.end..].fill(0.0);
            softmax::scale(&mut scores[visible.clone()], self.factor(), 0.0);
            shift(row, &mut scores[visible]);
        }
    }
}

/// Blocks of queries that do not cross a sequence's border.
fn query_blocks(
    rows: std::ops::Range<usize>,
    sequence: usize,
) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut next = rows.start;
    std::iter::from_fn(move || {
        let border = (next / sequence + 1) * sequence;
        let block = next..rows.end.min(border).min(next + QUERIES);
        next = block.end;
        (!block.is_empty()).then_some(block)
    })
}

/// `out = softmax(q·kᵀ/√D)·v` `(T, N·D)`, and the log-sum-exp of each row and head, `lse (T, N)`.
pub fn forward(machine: &mut Machine, shape: Shape, qkv: Qkv, out: &mut [f32], lse: &mut [f32]) {
    let _clock = clock::begin(Op::Attention, 2 * shape.macs(), 2 * size_of_val(out) + 2 * size_of_val(qkv.k));
    let (width, heads, size) = (shape.config.query_width(), shape.config.heads, shape.config.head_size);
    let parts = (Rows::new(out, width), Rows::new(lse, heads));
    let total = shape.starts.len();
    machine.pool.for_rows_with(total, QUERIES, &mut machine.attention, parts, |scratch, rows, (out, lse)| {
        for queries in query_blocks(rows.clone(), shape.sequence) {
            for head in 0..heads {
                let block = Block::new(shape, queries.clone(), head);
                block.powers(scratch, qkv, |row, scores| {
                    let shift = softmax::largest(scores);
                    let sum = softmax::exp_in_place(scores, shift);
                    softmax::scale(scores, 1.0 / sum, 0.0);
                    lse[(row - rows.start) * heads + head] = shift + sum.ln();
                });
                let keys = block.keys.len();
                let p = View::f32(&scratch.scores, queries.len(), keys);
                let from = (queries.start - rows.start) * width + head * size;
                gemm_serial(&mut scratch.gemm, p, block.key_view(qkv.v), &mut out[from..], width, false);
            }
        }
    });
}

/// What the backward of attention reads besides q, k and v.
#[derive(Clone, Copy)]
pub struct Saved<'a> {
    /// (T, N·D): the forward's result
    pub out: &'a [f32],
    /// (T, N)
    pub lse: &'a [f32],
    /// (T, N·D): its gradient
    pub dout: &'a [f32],
}

/// Gradients of q, k and v, overwritten. One task a sequence.
pub fn backward(
    machine: &mut Machine,
    shape: Shape,
    qkv: Qkv,
    saved: Saved,
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let moved = 3 * size_of_val(dq) + 2 * size_of_val(dk) + 2 * size_of_val(dv) + size_of_val(saved.out);
    let _clock = clock::begin(Op::AttentionBackward, 5 * shape.macs(), moved);
    let (query, kv) = (shape.config.query_width(), shape.config.kv_width());
    let parts = (Rows::new(dq, query), Rows::new(dk, kv), Rows::new(dv, kv));
    let total = shape.starts.len();
    machine.pool.for_rows_with(
        total,
        shape.sequence,
        &mut machine.attention,
        parts,
        |scratch, rows, (dq, dk, dv)| {
            dk.fill(0.0);
            dv.fill(0.0);
            for head in 0..shape.config.heads {
                for queries in query_blocks(rows.clone(), shape.sequence) {
                    let block = Block::new(shape, queries, head);
                    backward_block(scratch, &block, qkv, saved, rows.start, (dq, dk, dv));
                }
            }
        },
    );
}

/// Adds one head's part of one block of queries; the gradients begin at row `origin` of the batch.
fn backward_block(
    scratch: &mut Scratch,
    block: &Block,
    qkv: Qkv,
    saved: Saved,
    origin: usize,
    (dq, dk, dv): (&mut [f32], &mut [f32], &mut [f32]),
) {
    let config = block.shape.config;
    let (query_width, kv_width, size) = (config.query_width(), config.kv_width(), block.size());
    let (rows, keys) = (block.queries.len(), block.keys.len());
    block.powers(scratch, qkv, |row, scores| {
        softmax::exp_in_place(scores, saved.lse[row * config.heads + block.head]);
    });
    let Scratch { gemm, scores, gradients } = scratch;
    let (scores, gradients) = (&mut scores[..rows * keys], &mut gradients[..rows * keys]);
    let kv_from = (block.keys.start - origin) * kv_width + block.kv_head() * size;
    let dout = block.query_view(saved.dout, 0);
    gemm_serial(gemm, View::f32(scores, rows, keys).t(), dout, &mut dv[kv_from..], kv_width, true);
    gemm_serial(gemm, dout, block.key_view(qkv.v).t(), gradients, keys, false);
    let pairs = scores.chunks_exact_mut(keys).zip(gradients.chunks_exact(keys));
    for (row, (p, dp)) in block.queries.clone().zip(pairs) {
        let own = row * query_width + block.head * size..row * query_width + (block.head + 1) * size;
        let mean = softmax::dot(&saved.dout[own.clone()], &saved.out[own]);
        softmax::softmax_backward(p, dp, mean, block.factor());
    }
    let ds = View::f32(scores, rows, keys);
    let q_from = (block.queries.start - origin) * query_width + block.head * size;
    gemm_serial(gemm, ds, block.key_view(qkv.k), &mut dq[q_from..], query_width, false);
    gemm_serial(gemm, ds.t(), block.query_view(qkv.q, 0), &mut dk[kv_from..], kv_width, true);
}
