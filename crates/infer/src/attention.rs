//! Causal attention of new tokens over the pages of their sequences, grouped heads.

use crate::layers::Place;
use crate::pages::{Block, PAGE, Pages};
use kernels::pool::{PerWorker, Pool, Rows};
use kernels::{attend, softmax};

/// Tokens of one sequence that meet its pages together. One token alone is split by heads instead, so that all threads
/// have work; the results are the same.
pub(crate) const TOKENS: usize = 8;

/// The shape of attention.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    /// N
    pub heads: usize,
    /// K
    pub kv_heads: usize,
    /// D
    pub head_size: usize,
}

/// What one worker needs.
pub(crate) struct Scratch {
    /// (TOKENS · N/K, D)
    queries: Vec<f32>,
    /// (TOKENS · N/K, D)
    mixed: Vec<f32>,
    /// (TOKENS · N/K, C)
    weights: Vec<f32>,
    /// keys or values of a page
    wide: Vec<f32>,
}

/// The memory that attention reads: the pages, the layer, and the pages of each sequence.
#[derive(Clone, Copy)]
pub(crate) struct Memory<'a> {
    pub pages: &'a Pages,
    pub layer: usize,
    pub tables: &'a [Vec<u32>],
}

impl Heads {
    /// N / K.
    fn group(self) -> usize {
        self.heads / self.kv_heads
    }

    /// Scratch for sequences of at most `context` tokens.
    pub(crate) fn scratch(self, context: usize) -> Scratch {
        let rows = TOKENS * self.group();
        Scratch {
            queries: vec![0.0; rows * self.head_size],
            mixed: vec![0.0; rows * self.head_size],
            weights: vec![0.0; rows * context.next_multiple_of(PAGE)],
            wide: vec![0.0; PAGE * self.head_size],
        }
    }

    /// Writes `mixed` (T, N·D) for `queries` (T, N·D) of the tokens at `places`.
    pub(crate) fn attend(
        self,
        pool: &Pool,
        scratch: &mut PerWorker<Scratch>,
        memory: Memory,
        (places, queries): (&[Place], &[f32]),
        mixed: &mut [f32],
    ) {
        let width = self.heads * self.head_size;
        let many = places.windows(2).any(|pair| pair[0].sequence == pair[1].sequence);
        if !many {
            let size = self.head_size * self.group();
            let rows = places.len() * self.kv_heads;
            return pool.for_rows_with(rows, 1, scratch, Rows::new(mixed, size), |scratch, range, mixed| {
                let (token, head) = (range.start / self.kv_heads, range.start % self.kv_heads);
                let queries = &queries[range.start * size..range.end * size];
                self.block(scratch, memory, &places[token..token + 1], head, (queries, mixed));
            });
        }
        pool.for_rows_with(
            places.len(),
            TOKENS,
            scratch,
            Rows::new(mixed, width),
            |scratch, range, mixed| {
                let mut rest = mixed;
                let mut first = range.start;
                for run in places[range].chunk_by(|a, b| a.sequence == b.sequence) {
                    let (mixed, later) = std::mem::take(&mut rest).split_at_mut(run.len() * width);
                    let queries = &queries[first * width..(first + run.len()) * width];
                    (0..self.kv_heads)
                        .for_each(|head| self.gathered(scratch, memory, run, head, (queries, &mut *mixed)));
                    (first, rest) = (first + run.len(), later);
                }
            },
        );
    }

    /// One head of a run of tokens whose rows are `(N·D)` wide.
    fn gathered(
        self,
        scratch: &mut Scratch,
        memory: Memory,
        run: &[Place],
        head: usize,
        rows: (&[f32], &mut [f32]),
    ) {
        let part = self.group() * self.head_size;
        let width = self.heads * self.head_size;
        let used = run.len() * part;
        let (mut queries, mut mixed) =
            (std::mem::take(&mut scratch.queries), std::mem::take(&mut scratch.mixed));
        for (to, from) in queries.chunks_exact_mut(part).zip(rows.0.chunks_exact(width)) {
            to.copy_from_slice(&from[head * part..][..part]);
        }
        self.block(scratch, memory, run, head, (&queries[..used], &mut mixed[..used]));
        for (to, from) in rows.1.chunks_exact_mut(width).zip(mixed.chunks_exact(part)) {
            to[head * part..][..part].copy_from_slice(from);
        }
        (scratch.queries, scratch.mixed) = (queries, mixed);
    }

    /// One key-value head of a run of tokens of one sequence: `queries` and `mixed` (tokens · N/K, D).
    fn block(
        self,
        scratch: &mut Scratch,
        memory: Memory,
        run: &[Place],
        head: usize,
        (queries, mixed): (&[f32], &mut [f32]),
    ) {
        let (size, group) = (self.head_size, self.group());
        let stride = scratch.weights.len() / (TOKENS * group);
        let factor = 1.0 / (size as f32).sqrt();
        let (first, last) = (run[0].position + 1, run[run.len() - 1].position + 1);
        let pages = &memory.tables[run[0].sequence][..last.div_ceil(PAGE)];
        let block = |page: &u32| Block { page: *page, layer: memory.layer, head };
        for (number, page) in pages.iter().enumerate() {
            let keys = memory.pages.keys(block(page), &mut scratch.wide);
            attend::scores(queries, keys, factor, &mut scratch.weights[number * PAGE..], stride);
        }
        for (row, weights) in scratch.weights.chunks_exact_mut(stride).take(run.len() * group).enumerate() {
            let weights = &mut weights[..first + row / group];
            let largest = softmax::largest(weights);
            let sum = softmax::exp_in_place(weights, largest);
            softmax::scale(weights, 1.0 / sum, 0.0);
        }
        mixed.fill(0.0);
        for (number, page) in pages.iter().enumerate() {
            let start = number * PAGE;
            let values = memory.pages.values(block(page), PAGE.min(last - start), &mut scratch.wide);
            let weights = &scratch.weights[start..];
            if first >= start + PAGE.min(last - start) {
                attend::mix(weights, stride, values, size, mixed);
                continue;
            }
            // The end of the sequence: every token sees one position more than the one before it.
            for (token, mixed) in mixed.chunks_exact_mut(group * size).enumerate() {
                let seen = (first + token).saturating_sub(start).min(PAGE);
                attend::mix(&weights[token * group * stride..], stride, &values[..seen * size], size, mixed);
            }
        }
    }
}
