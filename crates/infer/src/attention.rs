//! Causal attention of new tokens over the pages of their sequences, grouped heads.

use crate::pages::{PAGE, Pages, Run};
use kernels::pool::{PerWorker, Pool, Rows};
use kernels::softmax;

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

/// What a token attends to: the pages of its sequence, and how many positions of them.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub pages: &'a [u32],
    pub seen: usize,
}

impl Heads {
    /// N / K.
    pub(crate) fn group(self) -> usize {
        self.heads / self.kv_heads
    }

    /// Writes `mixed` (T, N·D) for `queries` (T, N·D) of one layer. `view(t)` says what token t sees. A task is one token
    /// and one key-value head; `scores` holds (group, C) for each worker.
    pub(crate) fn attend<'a>(
        self,
        pool: &Pool,
        scores: &mut PerWorker<Vec<f32>>,
        (pages, layer): (&Pages, usize),
        queries: &[f32],
        view: impl Fn(usize) -> View<'a> + Sync,
        mixed: &mut [f32],
    ) {
        let (size, group) = (self.head_size, self.group());
        let factor = 1.0 / (size as f32).sqrt();
        let rows = queries.len() / size;
        let parts = Rows::new(mixed, size);
        pool.for_rows_with(rows, group, scores, parts, |scores, range, mixed| {
            let View { pages: used, seen } = view(range.start / self.heads);
            let head = range.start % self.heads / group;
            let stride = scores.len() / group;
            let runs = || {
                let run = move |(i, page): (usize, &u32)| {
                    let positions = PAGE.min(seen - i * PAGE);
                    (i * PAGE, Run { page: *page, layer, head, positions })
                };
                used[..seen.div_ceil(PAGE)].iter().enumerate().map(run)
            };
            let queries = &queries[range.start * size..range.end * size];
            for (at, run) in runs() {
                pages.scores(run, queries, factor, &mut scores[at..], stride);
            }
            for weights in scores.chunks_exact_mut(stride) {
                let weights = &mut weights[..seen];
                let largest = softmax::largest(weights);
                let sum = softmax::exp_in_place(weights, largest);
                softmax::scale(weights, 1.0 / sum, 0.0);
            }
            mixed.fill(0.0);
            for (at, run) in runs() {
                pages.mix(run, &scores[at..], stride, mixed);
            }
        });
    }
}
