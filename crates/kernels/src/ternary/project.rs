//! Whole projections over two-bit weights: several matrices that read the same activations in one job, and the sums
//! consumed where they arise (scaled, added to the residual stream, gated) instead of being written and read again.

use super::two_bit::{TwoBit, unpack_panel};
use super::{DEPTH, PANEL, ROWS, STEP, TernaryKernel, rescale, sum};
use crate::multiversion;
use crate::pool::{PerWorker, Pool, SharedMut};
use std::ops::Range;

/// Panels of a task: enough bytes in a row for the memory's own prefetching, enough tasks for any number of threads.
const TASK_PANELS: usize = 4;

/// Bytes of a cache line.
const LINE: usize = 64;

/// A matrix at two bits and its scale.
#[derive(Clone, Copy)]
pub struct Scaled<'a> {
    /// codes (N, K)
    pub weights: TwoBit<'a>,
    /// γ of the tensor
    pub gamma: f32,
}

/// Quantised activations: value ≈ code / scale.
#[derive(Clone, Copy)]
pub struct Codes<'a> {
    /// (M, K) int8
    pub q: &'a [i8],
    /// (M) s of each row
    pub scales: &'a [f32],
}

/// What a job needs beside its operands; made once, and large enough for all.
pub struct Scratch {
    kernel: &'static dyn TernaryKernel,
    /// a panel at one byte a weight, for each worker
    panels: PerWorker<Vec<u8>>,
    /// `−Σ q` of each row, which its sums start from
    starts: Vec<i32>,
}

impl Scratch {
    /// For up to `rows` rows and `depth` deep matrices on `threads` threads, with `kernel`.
    pub fn new(threads: usize, rows: usize, depth: usize, kernel: &'static dyn TernaryKernel) -> Self {
        let bytes = if rows > kernel.two_bit_rows_max() { depth.div_ceil(DEPTH) * STEP + LINE } else { 0 };
        Self { kernel, panels: PerWorker::new(threads, || vec![0; bytes]), starts: vec![0; rows] }
    }
}

/// `out[i] (M, N_i) = x · Ŵ_iᵀ` for matrices of the same K; the sums are exact, and one integer is worth γ/s.
///
/// # Panics
/// If a slice does not have the length that the shapes say, or `scratch` is too small.
pub fn project<const C: usize>(
    pool: &Pool,
    scratch: &mut Scratch,
    x: Codes,
    matrices: [Scaled; C],
    out: [&mut [f32]; C],
) {
    let targets = aim(x, &matrices, out);
    let mut ends = [0; C];
    let mut panels = 0;
    for (end, matrix) in ends.iter_mut().zip(&matrices) {
        panels += matrix.weights.panels();
        *end = panels;
    }
    for_panels(pool, scratch, x, panels, |at, block| {
        let i = ends.iter().position(|end| at < *end).expect("a panel belongs to a matrix");
        let Scaled { weights, gamma } = matrices[i];
        let panel = at + weights.panels() - ends[i];
        block.sums(weights, panel, |row, sums| {
            // SAFETY: each panel of each matrix is handed out once.
            let out = unsafe { targets[i].part(row, weights.columns(panel)) };
            rescale(&sums[..out.len()], gamma / x.scales[row], out);
        });
    });
}

/// `out (M, N) += x · Ŵᵀ`.
///
/// # Panics
/// As [`project`].
pub fn project_add(pool: &Pool, scratch: &mut Scratch, x: Codes, matrix: Scaled, out: &mut [f32]) {
    let [target] = aim(x, &[matrix], [out]);
    let Scaled { weights, gamma } = matrix;
    for_panels(pool, scratch, x, weights.panels(), |panel, block| {
        block.sums(weights, panel, |row, sums| {
            // SAFETY: each panel is handed out once.
            let out = unsafe { target.part(row, weights.columns(panel)) };
            add_rescaled(&sums[..out.len()], gamma / x.scales[row], out);
        });
    });
}

/// `out (M, F) = combine(x · Ĝᵀ, x · Ûᵀ)` of a gate and an up matrix of the same shape; `combine(gate, up, out)` works
/// element by element.
///
/// # Panics
/// As [`project`], and if the shapes differ.
pub fn project_gated(
    pool: &Pool,
    scratch: &mut Scratch,
    x: Codes,
    [gate, up]: [Scaled; 2],
    combine: fn(&[f32], &[f32], &mut [f32]),
    out: &mut [f32],
) {
    assert!(gate.weights.n == up.weights.n && gate.weights.k == up.weights.k, "gate and up differ in shape");
    let [target] = aim(x, &[gate], [out]);
    for_panels(pool, scratch, x, gate.weights.panels(), |panel, block| {
        let columns = gate.weights.columns(panel);
        block.sums(gate.weights, panel, |row, sums| {
            // SAFETY: each panel is handed out once.
            let out = unsafe { target.part(row, columns.clone()) };
            rescale(&sums[..out.len()], gate.gamma / x.scales[row], out);
        });
        block.sums(up.weights, panel, |row, sums| {
            // SAFETY: as above.
            let out = unsafe { target.part(row, columns.clone()) };
            let (mut gates, mut ups) = ([0.0; PANEL], [0.0; PANEL]);
            let (gates, ups) = (&mut gates[..out.len()], &mut ups[..out.len()]);
            gates.copy_from_slice(out);
            rescale(&sums[..out.len()], up.gamma / x.scales[row], ups);
            combine(gates, ups, out);
        });
    });
}

/// An output (M, N) whose panels belong to different tasks.
struct Target {
    data: SharedMut<f32>,
    n: usize,
}

impl Target {
    /// # Safety
    /// The row and the columns exist, and nobody else has them.
    #[allow(clippy::mut_from_ref)]
    unsafe fn part(&self, row: usize, columns: Range<usize>) -> &mut [f32] {
        // SAFETY: the caller's promise.
        unsafe {
            let first = self.data.get().add(row * self.n + columns.start);
            std::slice::from_raw_parts_mut(first, columns.len())
        }
    }
}

/// Checks all lengths.
fn aim<const C: usize>(x: Codes, matrices: &[Scaled; C], out: [&mut [f32]; C]) -> [Target; C] {
    let (rows, depth) = (x.scales.len(), matrices[0].weights.k);
    assert!(x.q.len() == rows * depth, "{} codes for {rows} rows of {depth}", x.q.len());
    let mut matrices = matrices.iter();
    out.map(|out| {
        let TwoBit { bytes, n, k } = matrices.next().expect("as many outputs as matrices").weights;
        assert!(k == depth && bytes.len() == super::two_bit::packed_len(n, k), "sizes of ({n}, {k})");
        assert!(out.len() == rows * n, "{} outputs for ({rows}, {n})", out.len());
        Target { data: SharedMut(out.as_mut_ptr()), n }
    })
}

/// Calls `each` once for every panel in `0..panels`.
fn for_panels(
    pool: &Pool,
    scratch: &mut Scratch,
    x: Codes,
    panels: usize,
    each: impl Fn(usize, &mut Block) + Sync,
) {
    let rows = x.scales.len();
    if rows == 0 || panels == 0 {
        return;
    }
    let depth = x.q.len() / rows;
    let Scratch { kernel, panels: spread, starts } = scratch;
    let (kernel, starts) = (*kernel, &mut starts[..rows]);
    for (start, q) in starts.iter_mut().zip(x.q.chunks_exact(depth)) {
        *start = -sum(q);
    }
    let starts = &*starts;
    let task = if panels >= 2 * TASK_PANELS * pool.threads() { TASK_PANELS } else { 1 };
    pool.for_rows_with(panels, task, spread, (), |spread, range, ()| {
        let mut block = Block { kernel, q: x.q, depth, starts, spread };
        range.for_each(|panel| each(panel, &mut block));
    });
}

/// All rows of activations, before one panel.
struct Block<'a> {
    kernel: &'static dyn TernaryKernel,
    q: &'a [i8],
    depth: usize,
    starts: &'a [i32],
    spread: &'a mut Vec<u8>,
}

impl Block<'_> {
    /// Hands `consume` the exact sums of one panel, row by row.
    fn sums(&mut self, weights: TwoBit, panel: usize, mut consume: impl FnMut(usize, &[i32; PANEL])) {
        let packed = weights.panel(panel);
        let many = self.starts.len() > self.kernel.two_bit_rows_max();
        // A load that crosses two lines costs two.
        let aligned = self.spread.as_ptr().align_offset(LINE);
        let len = if many { self.depth.div_ceil(DEPTH) * STEP } else { 0 };
        let spread = self.spread.get_mut(aligned..aligned + len).unwrap_or_default();
        if many {
            unpack_panel(packed, self.depth, spread);
        }
        let mut sums = [[0; PANEL]; ROWS];
        let blocks = self.starts.chunks(ROWS).zip(self.q.chunks(ROWS * self.depth));
        for (number, (starts, q)) in blocks.enumerate() {
            let sums = &mut sums[..starts.len()];
            sums.iter_mut().zip(starts).for_each(|(sums, start)| sums.fill(*start));
            match many {
                true => self.kernel.panel(spread, self.depth, q, sums),
                false => self.kernel.panel_two_bit(packed, self.depth, q, sums),
            }
            for (row, sums) in sums.iter().enumerate() {
                consume(number * ROWS + row, sums);
            }
        }
    }
}

multiversion! {
    fn add_rescaled(sums: &[i32], scale: f32, out: &mut [f32]) {
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out += *sum as f32 * scale);
    }
}
