//! Causal attention within documents, grouped queries, streaming over blocks of queries: no `(T, T)` matrix
//! is ever held, only the log-sum-exp of each row, from which the backward makes the probabilities again
//! (FlashAttention, Dao et al. 2022).
//!
//! A task is one sequence and one key head with all query heads that read it, in order: results do not depend on the
//! number of threads. Scores lie key after key, those of 64 queries side by side: so products read them where they lie, and
//! softmax runs down the columns. Keys and values are taken out of the batch and transposed once a task.

use super::Machine;
use crate::clock::{self, Op};
use kernels::gemm::{Blocks, STRIDE, View, Wanted};
use kernels::pool::{Grid, Rectangle};
use kernels::softmax;
use model::Config;
use std::ops::Range;

/// Queries handled together.
const QUERIES: usize = softmax::COLUMNS;
const _: () = assert!(QUERIES == STRIDE, "scores are read in place");

/// Buffers of one worker.
pub struct Scratch {
    blocks: Blocks,
    keys: Vec<f32>,   // (S, D)
    values: Vec<f32>, // (S, D)
    key_panels: Vec<f32>,
    value_panels: Vec<f32>,
    queries: Vec<f32>,   // (QUERIES, D)
    douts: Vec<f32>,     // (QUERIES, D): gradients of results
    turned: Vec<f32>,    // (D, QUERIES): either, transposed
    scores: Vec<f32>,    // (S, QUERIES)
    gradients: Vec<f32>, // (S, QUERIES)
    rows: Vec<f32>,      // (QUERIES, D): results, or gradients of queries
    dk: Vec<f32>,        // (S, D)
    dv: Vec<f32>,        // (S, D)
}

impl Scratch {
    /// Buffers for sequences of `sequence` tokens and heads of `size`.
    pub fn new(sequence: usize, size: usize) -> Self {
        let blocks = Blocks::default();
        let room = |rows: usize, width: usize| vec![0.0; rows * width];
        Self {
            blocks,
            keys: room(sequence, size),
            values: room(sequence, size),
            key_panels: room(blocks.panels_len(sequence, size), 1),
            value_panels: room(blocks.panels_len(sequence, size), 1),
            queries: room(QUERIES, size),
            douts: room(QUERIES, size),
            turned: room(size, QUERIES),
            scores: room(sequence, QUERIES),
            gradients: room(sequence, QUERIES),
            rows: room(QUERIES, size),
            dk: room(sequence, size),
            dv: room(sequence, size),
        }
    }

    fn take_keys(&mut self, group: &Group, k: &[f32]) {
        group.take(k, &mut self.keys);
        let view = View::f32(&self.keys, group.shape.sequence, group.size());
        self.blocks.panels(view, &mut self.key_panels);
    }

    fn take_values(&mut self, group: &Group, v: &[f32]) {
        group.take(v, &mut self.values);
        let view = View::f32(&self.values, group.shape.sequence, group.size());
        self.blocks.panels(view, &mut self.value_panels);
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

/// One task's part of the batch.
#[derive(Clone, Copy)]
struct Group<'a> {
    shape: Shape<'a>,
    /// the sequence's first row of the batch
    first: usize,
    kv_head: usize,
}

impl<'a> Group<'a> {
    /// The part of task `task`.
    fn new(shape: Shape<'a>, task: usize) -> Self {
        let kv_heads = shape.config.kv_heads;
        Self { shape, first: task / kv_heads * shape.sequence, kv_head: task % kv_heads }
    }

    fn size(&self) -> usize {
        self.shape.config.head_size
    }

    /// Query heads that read one key head.
    fn heads(&self) -> usize {
        self.shape.config.heads / self.shape.config.kv_heads
    }

    /// The sequence's part of a per-key-head tensor `(T, K·D)`, to `out (S, D)`.
    fn take(&self, x: &[f32], out: &mut [f32]) {
        let width = self.shape.config.kv_width();
        copy_rows(&x[self.first * width + self.kv_head * self.size()..], width, self.size(), out);
    }

    /// Calls `visit` for every block of queries of every head: head after head.
    fn blocks(&self, panel_rows: usize, mut visit: impl FnMut(Block<'a>)) {
        let sequence = self.shape.sequence;
        for member in 0..self.heads() {
            for start in (0..sequence).step_by(QUERIES) {
                let queries = start..sequence.min(start + QUERIES);
                let first = self.shape.starts[self.first + start] as usize;
                let keys = first / panel_rows * panel_rows..queries.end;
                visit(Block { group: *self, member, queries, keys });
            }
        }
    }
}

/// One head's part in one block of queries: which rows of the sequence it reads.
struct Block<'a> {
    group: Group<'a>,
    /// the head, counted from the group's first
    member: usize,
    queries: Range<usize>,
    /// all keys that any of the queries sees, and those of their panel before them
    keys: Range<usize>,
}

impl Block<'_> {
    fn factor(&self) -> f32 {
        1.0 / (self.group.size() as f32).sqrt()
    }

    fn head(&self) -> usize {
        self.group.kv_head * self.group.heads() + self.member
    }

    /// The head's columns in a row of the group's part of a per-query-head tensor.
    fn columns(&self) -> Range<usize> {
        self.member * self.group.size()..(self.member + 1) * self.group.size()
    }

    /// The block's part of a per-query-head tensor `(T, N·D)`, to `out (queries, D)`, which it returns.
    fn take<'b>(&self, x: &[f32], out: &'b mut [f32]) -> &'b [f32] {
        let (width, size) = (self.group.shape.config.query_width(), self.group.size());
        let from = (self.group.first + self.queries.start) * width + self.head() * size;
        let out = &mut out[..self.queries.len() * size];
        copy_rows(&x[from..], width, size, out);
        out
    }

    fn start(&self, query: usize) -> usize {
        self.group.shape.starts[self.group.first + query] as usize
    }

    /// Which queries, counted from the block's first, see any of these keys, counted from the block's first.
    fn seers(&self, keys: Range<usize>) -> Range<usize> {
        let (first, last) = (self.keys.start + keys.start, self.keys.start + keys.end - 1);
        let rows = self.group.first + self.queries.start..self.group.first + self.queries.end;
        // Starts never fall within a sequence.
        if self.start(self.queries.end - 1) <= last {
            return first.saturating_sub(self.queries.start)..self.queries.len();
        }
        let end = self.group.shape.starts[rows].partition_point(|start| *start as usize <= last);
        first.saturating_sub(self.queries.start)..end
    }

    /// Which keys, counted from the block's first, any of these queries sees.
    fn seen(&self, queries: Range<usize>) -> Range<usize> {
        let (first, last) = (self.queries.start + queries.start, self.queries.start + queries.end - 1);
        self.start(first) - self.keys.start..last + 1 - self.keys.start
    }

    /// Overwrites what queries do not see in `x (keys, QUERIES)`.
    fn mask(&self, x: &mut [f32], value: f32) {
        for (key, row) in x.chunks_exact_mut(QUERIES).enumerate() {
            let seers = self.seers(key..key + 1);
            row[..seers.start].fill(value);
            if seers.end < self.queries.len() {
                row[seers.end..].fill(value);
            }
        }
    }

    /// `out (keys, QUERIES) = x·yᵀ` as far as queries see keys; `panels` are all keys or values of the sequence, `y (queries, D)`
    /// is transposed to `turned (D, QUERIES)`.
    fn products(&self, blocks: Blocks, panels: &[f32], y: &[f32], turned: &mut [f32], out: &mut [f32]) {
        let size = self.group.size();
        blocks.transpose(View::f32(y, self.queries.len(), size), QUERIES, turned);
        let a = (&panels[self.keys.start * size..], self.keys.len(), size);
        let b = View::f32(turned, size, QUERIES);
        blocks
            .multiply_panels(a, b, (out, QUERIES), |keys| Wanted { depths: 0..size, cols: self.seers(keys) });
    }

    /// `out (queries, D) = xᵀ·y`, with `x (keys, QUERIES)` and all keys or values of the sequence, `y (S, D)`.
    fn mix(&self, blocks: Blocks, x: &[f32], y: &[f32], out: &mut [f32]) {
        let size = self.group.size();
        let a = View::f32(x, self.queries.len(), self.keys.len()).strided(1, QUERIES);
        let b = View::f32(&y[self.keys.start * size..], self.keys.len(), size);
        blocks.multiply(a, b, (out, size), false, |queries| Wanted {
            depths: self.seen(queries),
            cols: 0..size,
        });
    }

    /// `out (S, D) += x·y` in the rows of the block's keys, with `x (keys, QUERIES)` and `y (queries, D)`.
    fn gather(&self, blocks: Blocks, x: &[f32], y: &[f32], out: &mut [f32]) {
        let size = self.group.size();
        let a = View::f32(x, self.keys.len(), self.queries.len()).strided(QUERIES, 1);
        let (b, c) = (View::f32(y, self.queries.len(), size), &mut out[self.keys.start * size..]);
        blocks.multiply(a, b, (c, size), true, |keys| Wanted { depths: self.seers(keys), cols: 0..size });
    }
}

/// Rows of `out`, from rows of `x` that are `stride` apart.
fn copy_rows(x: &[f32], stride: usize, width: usize, out: &mut [f32]) {
    for (x, out) in x.chunks(stride).zip(out.chunks_exact_mut(width)) {
        out.copy_from_slice(&x[..width]);
    }
}

/// `out = softmax(q·kᵀ/√D)·v` `(T, N·D)`, and the log-sum-exp of each row and head, `lse (T, N)`.
pub fn forward(machine: &mut Machine, shape: Shape, qkv: Qkv, out: &mut [f32], lse: &mut [f32]) {
    let _clock = clock::begin(Op::Attention, 2 * shape.macs(), 2 * size_of_val(out) + 2 * size_of_val(qkv.k));
    let (config, sequence) = (shape.config, shape.sequence);
    let members = config.heads / config.kv_heads;
    let parts = (
        Grid::new(out, config.query_width(), (sequence, members * config.head_size)),
        Grid::new(lse, config.heads, (sequence, members)),
    );
    let tasks = shape.starts.len() / sequence * config.kv_heads;
    machine.pool.for_rows_with(
        tasks,
        1,
        &mut machine.attention,
        parts,
        |scratch, task, (mut out, mut lse)| {
            let group = Group::new(shape, task.start);
            scratch.take_keys(&group, qkv.k);
            group.take(qkv.v, &mut scratch.values);
            group.blocks(scratch.blocks.panel_rows(), |block| {
                forward_block(scratch, &block, qkv.q, &mut out, &mut lse)
            });
        },
    );
}

fn forward_block(
    scratch: &mut Scratch,
    block: &Block,
    q: &[f32],
    out: &mut Rectangle<f32>,
    lse: &mut Rectangle<f32>,
) {
    let (blocks, size) = (scratch.blocks, block.group.size());
    let Scratch { key_panels, values, turned, queries, scores, rows, .. } = scratch;
    let scores = &mut scores[..block.keys.len() * QUERIES];
    block.products(blocks, key_panels, block.take(q, queries), turned, scores);
    block.mask(scores, f32::NEG_INFINITY);
    let (mut shift, mut sums) = ([f32::NEG_INFINITY; QUERIES], [0.0; QUERIES]);
    softmax::largest_of_columns(scores, &mut shift);
    shift.iter_mut().for_each(|shift| *shift *= block.factor());
    softmax::exp_of_columns(scores, block.factor(), &shift);
    block.mask(scores, 0.0);
    softmax::sum_of_columns(scores, &mut sums);
    block.mix(blocks, scores, values, rows);
    for (i, row) in rows.chunks_exact_mut(size).enumerate().take(block.queries.len()) {
        softmax::scale(row, 1.0 / sums[i], 0.0);
        out.row(block.queries.start + i)[block.columns()].copy_from_slice(row);
        lse.row(block.queries.start + i)[block.member] = shift[i] + sums[i].ln();
    }
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

/// Gradients of q, k and v, overwritten.
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
    let (config, sequence) = (shape.config, shape.sequence);
    let (size, members) = (config.head_size, config.heads / config.kv_heads);
    let parts = (
        Grid::new(dq, config.query_width(), (sequence, members * size)),
        Grid::new(dk, config.kv_width(), (sequence, size)),
        Grid::new(dv, config.kv_width(), (sequence, size)),
    );
    let tasks = shape.starts.len() / sequence * config.kv_heads;
    let buffers = &mut machine.attention;
    machine.pool.for_rows_with(tasks, 1, buffers, parts, |scratch, task, (mut dq, mut dk, mut dv)| {
        let group = Group::new(shape, task.start);
        scratch.take_keys(&group, qkv.k);
        scratch.take_values(&group, qkv.v);
        scratch.dk.fill(0.0);
        scratch.dv.fill(0.0);
        group.blocks(scratch.blocks.panel_rows(), |block| {
            backward_block(scratch, &block, qkv.q, saved, &mut dq)
        });
        for row in 0..sequence {
            dk.row(row).copy_from_slice(&scratch.dk[row * size..(row + 1) * size]);
            dv.row(row).copy_from_slice(&scratch.dv[row * size..(row + 1) * size]);
        }
    });
}

/// Writes one head's gradients of one block of queries, and adds its part to those of keys and values.
fn backward_block(scratch: &mut Scratch, block: &Block, q: &[f32], saved: Saved, dq: &mut Rectangle<f32>) {
    let (blocks, size) = (scratch.blocks, block.group.size());
    let Scratch {
        key_panels,
        value_panels,
        keys,
        turned,
        queries,
        douts,
        scores,
        gradients,
        rows,
        dk,
        dv,
        ..
    } = scratch;
    let len = block.keys.len() * QUERIES;
    let (scores, gradients) = (&mut scores[..len], &mut gradients[..len]);
    let (mut lse, mut mean) = ([0.0; QUERIES], [0.0; QUERIES]);
    let dout = block.take(saved.dout, douts);
    for (i, dout) in dout.chunks_exact(size).enumerate() {
        let at =
            (block.group.first + block.queries.start + i) * block.group.shape.config.heads + block.head();
        lse[i] = saved.lse[at];
        mean[i] = softmax::dot(dout, &saved.out[at * size..][..size]);
    }
    let queries = block.take(q, queries);
    block.products(blocks, key_panels, queries, turned, scores);
    softmax::exp_of_columns(scores, block.factor(), &lse);
    block.mask(scores, 0.0);
    block.gather(blocks, scores, dout, dv);
    block.products(blocks, value_panels, dout, turned, gradients);
    softmax::softmax_backward_of_columns(scores, gradients, &mean, block.factor());
    block.mask(gradients, 0.0);
    block.mix(blocks, gradients, keys, rows);
    for (i, row) in rows.chunks_exact(size).enumerate().take(block.queries.len()) {
        dq.row(block.queries.start + i)[block.columns()].copy_from_slice(row);
    }
    block.gather(blocks, gradients, queries, dk);
}
