//! int8 activations × eight-bit weights, exact in i32: for screening a large table before its few best rows are computed
//! in full precision.
//!
//! A weight w in −128..=127 is stored as w + 128, and the sums start from `−128·Σ q`. Tiles and panels are those of
//! [`super::two_bit`], with a byte a weight:
//!
//! ```text
//! tile: k 0..4 (64 bytes)            k 4..8 …
//! column 0      │ column 1 │ …
//! k0 k1 k2 k3                        one byte each; four tiles, each whole, are a panel of 64 columns
//! ```

use super::two_bit::{TILE, TILES, pack_panels};
use super::{DEPTH, PANEL, ROWS, TernaryKernel, sum};
use crate::pool::{Partition, Pool};
use std::ops::Range;

/// Bytes of one step of four k of a tile.
pub(super) const STEP: usize = TILE * DEPTH;

/// Bytes of packed weights `(n, k)`.
pub fn packed_len(n: usize, k: usize) -> usize {
    n.div_ceil(PANEL) * TILES * tile_len(k)
}

/// Bytes of one tile.
pub(super) fn tile_len(k: usize) -> usize {
    k.div_ceil(DEPTH) * STEP
}

/// Packs weights `(n, k)` that `read(rows, part, weights)` writes, 64 rows at a time and by several threads; `part` is what
/// belongs to the panel of these rows of `parts`.
///
/// # Panics
/// If `out` is not [`packed_len`] long.
pub fn pack_from<P: Partition>(
    pool: &Pool,
    (n, k): (usize, usize),
    out: &mut [u8],
    parts: P,
    read: impl Fn(Range<usize>, P::Part, &mut [i8]) + Sync,
) {
    assert!(out.len() == packed_len(n, k), "sizes of ({n}, {k})");
    pack_panels(pool, (n, k), out, parts, read, |row, column, tile| {
        for (four, step) in row.chunks(DEPTH).zip(tile.chunks_exact_mut(STEP)) {
            let bytes = &mut step[column * DEPTH..][..four.len()];
            bytes.iter_mut().zip(four).for_each(|(byte, weight)| *byte = (*weight as u8) ^ 0x80);
        }
    });
}

/// Packed eight-bit weights and their shape.
#[derive(Clone, Copy)]
pub struct Bytes<'a> {
    /// as [`pack_from`] wrote them
    pub bytes: &'a [u8],
    /// N: output columns
    pub n: usize,
    /// K: input columns
    pub k: usize,
}

/// Hands `each(columns, sums, part)` the exact `Σ_k q[m][k]·w[n][k]` of the columns of one panel after the other, by several
/// threads: `sums[m]` are those of row m of q `(M, K)`, M at most 32, and `part` is what belongs to this panel of `parts`.
///
/// # Panics
/// If a slice does not have the length that the shapes say, or M is larger.
pub fn for_panels<P: Partition>(
    pool: &Pool,
    kernel: &dyn TernaryKernel,
    weights: Bytes,
    q: &[i8],
    parts: P,
    each: impl Fn(Range<usize>, &[[i32; PANEL]], P::Part) + Sync,
) {
    let Bytes { bytes, n, k } = weights;
    let rows = q.len() / k;
    assert!(bytes.len() == packed_len(n, k) && q.len() == rows * k && rows <= ROWS, "({rows}, {n}, {k})");
    let mut starts = [0; ROWS];
    starts.iter_mut().zip(q.chunks_exact(k)).for_each(|(start, q)| *start = -128 * sum(q));
    pool.for_rows(n.div_ceil(PANEL), 1, parts, |panel, part| {
        let mut sums = [[0; PANEL]; ROWS];
        let sums = &mut sums[..rows];
        sums.iter_mut().zip(starts).for_each(|(sums, start)| sums.fill(start));
        let len = TILES * tile_len(k);
        kernel.panel_bytes(&bytes[panel.start * len..][..len], k, q, sums);
        each(panel.start * PANEL..n.min(panel.end * PANEL), sums, part);
    });
}
