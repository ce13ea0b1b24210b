//! Causal attention of new tokens over the cache, grouped heads.

use crate::cache::Cache;
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

impl Heads {
    /// Writes `mixed` (T, N·D) for `queries` (T, N·D) of the positions from `first` on, whose keys and values are
    /// already in the cache. A task is one token and one key-value head; `scores` holds a row of C for each worker.
    pub(crate) fn attend(
        self,
        pool: &Pool,
        scores: &mut PerWorker<Vec<f32>>,
        cache: &Cache,
        queries: &[f32],
        first: usize,
        mixed: &mut [f32],
    ) {
        let size = self.head_size;
        let group = self.heads / self.kv_heads;
        let rows = queries.len() / size;
        let parts = Rows::new(mixed, size);
        pool.for_rows_with(rows, group, scores, parts, |scores, range, mixed| {
            let (token, head) = (range.start / self.heads, range.start % self.heads);
            let seen = first + token + 1;
            let kv = head / group;
            let queries = queries[range.start * size..range.end * size].chunks_exact(size);
            for (query, mixed) in queries.zip(mixed.chunks_exact_mut(size)) {
                let scores = &mut scores[..seen];
                weigh(query, cache.keys(kv, seen), scores);
                for (index, mixed) in mixed.iter_mut().enumerate() {
                    *mixed = softmax::dot(scores, cache.values(kv, index, seen));
                }
            }
        });
    }
}

/// Attention weights of one query `(D)` over `keys` (positions, D): `softmax(q·k/√D)`.
fn weigh(query: &[f32], keys: &[f32], weights: &mut [f32]) {
    let factor = 1.0 / (query.len() as f32).sqrt();
    for (weight, key) in weights.iter_mut().zip(keys.chunks_exact(query.len())) {
        *weight = softmax::dot(query, key) * factor;
    }
    let largest = softmax::largest(weights);
    let sum = softmax::exp_in_place(weights, largest);
    softmax::scale(weights, 1.0 / sum, 0.0);
}
