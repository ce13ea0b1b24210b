//! What an adapter adds to the projections, in single precision: `y += s·B·(A·x)`.
//!
//! Every row is computed alone and in one order, so that a token gets the same bits in any company.

use kernels::optim::add_scaled;
use kernels::pool::{Pool, Rows};
use kernels::softmax::dot;
use model::{Adapter, Config, Projection};

/// Rows of A, or tokens, of a task.
const TASK_ROWS: usize = 4;
/// Columns of the result of a task, where there is one token.
const TASK_COLUMNS: usize = 512;

/// An adapter, ready to run.
pub(crate) struct Beside {
    rank: usize,
    blocks: Vec<[Option<LowRank>; 7]>,
}

/// The matrices beside one projection.
struct LowRank {
    /// (r, K)
    a: Vec<f32>,
    /// (r, N): B transposed
    b: Vec<f32>,
    /// s
    scale: f32,
}

impl Beside {
    /// Lays the matrices out for the network of `config`.
    ///
    /// # Panics
    /// If the adapter was made for another network.
    pub(crate) fn new(adapter: &Adapter, config: &Config) -> Self {
        assert_eq!(adapter.layers(), config.layers, "layers of the adapter");
        let low_rank = |layer: usize, projection: Projection| {
            let pair = adapter.pair(layer, projection)?;
            assert_eq!(
                (pair.b.rows, pair.a.cols),
                projection.shape(config),
                "{projection:?} of layer {layer}"
            );
            let b = pair.b.of(&adapter.data);
            let column = |at: usize| b.iter().skip(at).step_by(pair.b.cols).copied();
            Some(LowRank {
                a: pair.a.of(&adapter.data).to_vec(),
                b: (0..pair.b.cols).flat_map(column).collect(),
                scale: adapter.rank.scale(),
            })
        };
        let blocks = (0..config.layers).map(|layer| Projection::ALL.map(|p| low_rank(layer, p)));
        Self { rank: adapter.rank.rank, blocks: blocks.collect() }
    }

    /// r.
    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// Whether anything is added to a projection.
    pub(crate) fn has(&self, layer: usize, projection: Projection) -> bool {
        self.blocks[layer][projection as usize].is_some()
    }

    /// Bytes of all matrices.
    pub(crate) fn bytes(&self) -> usize {
        let pairs = self.blocks.iter().flatten().flatten();
        pairs.map(|pair| size_of_val(&*pair.a) + size_of_val(&*pair.b)).sum()
    }

    /// `out` (T, N) += the term beside a projection that reads `x` (T, K); `low` (T, r) is overwritten.
    pub(crate) fn add(
        &self,
        pool: &Pool,
        (layer, projection): (usize, Projection),
        x: &[f32],
        low: &mut [f32],
        out: &mut [f32],
    ) {
        let Some(pair) = &self.blocks[layer][projection as usize] else { return };
        let (inputs, outputs) = (pair.a.len() / self.rank, pair.b.len() / self.rank);
        let tokens = x.len() / inputs;
        let low = &mut low[..tokens * self.rank];
        if tokens == 1 {
            pool.for_rows(self.rank, TASK_ROWS, Rows::new(&mut *low, 1), |rows, low| {
                pair.narrow(&pair.a[rows.start * inputs..rows.end * inputs], x, low);
            });
            let low = &*low;
            return pool.for_rows(outputs, TASK_COLUMNS, Rows::new(out, 1), |columns, out| {
                for (row, low) in pair.b.chunks_exact(outputs).zip(low) {
                    add_scaled(out, &row[columns.clone()], *low);
                }
            });
        }
        let parts = (Rows::new(low, self.rank), Rows::new(out, outputs));
        pool.for_rows(tokens, TASK_ROWS, parts, |rows, (low, out)| {
            let x = x[rows.start * inputs..rows.end * inputs].chunks_exact(inputs);
            for ((x, low), out) in x.zip(low.chunks_exact_mut(self.rank)).zip(out.chunks_exact_mut(outputs)) {
                pair.narrow(&pair.a, x, low);
                for (row, low) in pair.b.chunks_exact(outputs).zip(&*low) {
                    add_scaled(out, row, *low);
                }
            }
        });
    }
}

impl LowRank {
    /// `low = s·A·x` for some rows of A.
    fn narrow(&self, a: &[f32], x: &[f32], low: &mut [f32]) {
        for (row, low) in a.chunks_exact(x.len()).zip(low) {
            *low = dot(row, x) * self.scale;
        }
    }
}
