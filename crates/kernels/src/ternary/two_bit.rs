//! Ternary weights at two bits each, for weights that are packed once and read many times.
//!
//! A tile is 16 output columns deep in k; four tiles stand side by side as a panel of 64 columns. 64 bytes of a tile hold
//! 16 columns × 16 k: byte `4·column + i` has the codes + 1 of `k = 4s + i` at its bits `2s`, s in 0..4, so that one mask
//! gives 64 bytes in the order that `vpdpbusd` (four k of 16 columns) and the B tile of `tdpbusd` want them:
//!
//! ```text
//! tile: k 0..16 (64 bytes)           k 16..32 …
//! column 0      │ column 1 │ …
//! i=0 i=1 i=2 i=3                    each byte: k = 12+i │ 8+i │ 4+i │ i, two bits each, the highest first
//! ```
//!
//! Each tile lies whole behind the other, so that a panel is four streams: memory delivers those faster than one.

use super::{DEPTH, PANEL, STEP};
use crate::pool::{Partition, PerWorker, Pool, Rows};
use std::array;
use std::ops::Range;

/// Output columns of a tile: one register of 32-bit sums.
pub(super) const TILE: usize = 16;
/// Tiles of a panel.
pub(super) const TILES: usize = PANEL / TILE;
/// k of one group: four steps of `DEPTH`.
pub(super) const GROUP: usize = 4 * DEPTH;
/// Bytes of one group of a tile.
pub(super) const GROUP_BYTES: usize = TILE * DEPTH;

/// Bytes of weights `(n, k)` at two bits.
pub fn packed_len(n: usize, k: usize) -> usize {
    n.div_ceil(PANEL) * panel_len(k)
}

/// Bytes of one panel.
pub(super) fn panel_len(k: usize) -> usize {
    TILES * tile_len(k)
}

/// Bytes of one tile.
pub(super) fn tile_len(k: usize) -> usize {
    k.div_ceil(GROUP) * GROUP_BYTES
}

/// Packs codes `(n, k)`, each −1, 0 or 1.
///
/// # Panics
/// If `codes` is not n·k or `out` is not [`packed_len`] long.
pub fn pack(pool: &Pool, codes: &[i8], n: usize, k: usize, out: &mut [u8]) {
    assert!(codes.len() == n * k, "sizes of ({n}, {k})");
    pack_from(pool, n, k, out, |rows, into| into.copy_from_slice(&codes[rows.start * k..rows.end * k]));
}

/// [`pack`] of codes that `read(rows, codes)` writes, at most 64 rows at a time and by several threads.
///
/// # Panics
/// If `out` is not [`packed_len`] long.
pub fn pack_from(
    pool: &Pool,
    n: usize,
    k: usize,
    out: &mut [u8],
    read: impl Fn(Range<usize>, &mut [i8]) + Sync,
) {
    assert!(out.len() == packed_len(n, k), "sizes of ({n}, {k})");
    pack_panels(pool, (n, k), out, (), |rows, (), codes| read(rows, codes), pack_column);
}

/// Packs rows of `k` elements that `read(rows, part, elements)` writes into panels of four tiles, by several threads,
/// whose part of `parts` belongs to their panel; `pack(row, column, tile)` writes one column of a tile, whose row is empty beyond the last.
pub(super) fn pack_panels<P: Partition>(
    pool: &Pool,
    (n, k): (usize, usize),
    out: &mut [u8],
    parts: P,
    read: impl Fn(Range<usize>, P::Part, &mut [i8]) + Sync,
    pack: impl Fn(&[i8], usize, &mut [u8]) + Sync,
) {
    let count = n.div_ceil(PANEL);
    if out.is_empty() {
        return;
    }
    let mut buffers = PerWorker::new(pool.threads(), || vec![0i8; PANEL * k]);
    let panel_len = out.len() / count;
    let panels = Rows::new(out, panel_len);
    pool.for_rows_with(count, 1, &mut buffers, (panels, parts), |elements, panel, (out, part)| {
        let rows = panel.start * PANEL..n.min(panel.end * PANEL);
        let elements = &mut elements[..rows.len() * k];
        read(rows, part, elements);
        let tile_len = out.len() / TILES;
        for column in 0..PANEL {
            let row = elements.get(column * k..(column + 1) * k).unwrap_or(&[]);
            pack(row, column % TILE, &mut out[column / TILE * tile_len..][..tile_len]);
        }
    });
}

/// Writes one column of a tile; beyond the codes' end stand zeros.
fn pack_column(codes: &[i8], column: usize, tile: &mut [u8]) {
    let (whole, rest) = codes.as_chunks::<GROUP>();
    let (tile, beyond) = tile.as_chunks_mut::<GROUP_BYTES>().0.split_at_mut(whole.len());
    let place = column * DEPTH..(column + 1) * DEPTH;
    for (codes, group) in whole.iter().zip(tile) {
        group[place.clone()].copy_from_slice(&pack_group(codes));
    }
    let mut last = [0; GROUP];
    last[..rest.len()].copy_from_slice(rest);
    for group in beyond {
        group[place.clone()].copy_from_slice(&pack_group(&last));
        last = [0; GROUP];
    }
}

/// The bytes of one column of a group.
#[inline]
fn pack_group(codes: &[i8; GROUP]) -> [u8; DEPTH] {
    // The low bits of four codes in a word: 3, 0 or 1 each. One more, without a carry, is the code + 1.
    let step = |s: usize| {
        let four: [u8; DEPTH] = array::from_fn(|i| codes[s * DEPTH + i] as u8);
        ((u32::from_le_bytes(four) & 0x0303_0303) + 0x0101_0101) & 0x0303_0303
    };
    (step(0) | step(1) << 2 | step(2) << 4 | step(3) << 6).to_le_bytes()
}

/// Packed weights at two bits, and their shape.
#[derive(Clone, Copy)]
pub struct TwoBit<'a> {
    /// as [`pack`] wrote them
    pub bytes: &'a [u8],
    /// N: output columns
    pub n: usize,
    /// K: input columns
    pub k: usize,
}

impl TwoBit<'_> {
    /// Number of panels of 64 columns.
    pub fn panels(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    /// The output columns of a panel.
    pub fn columns(&self, panel: usize) -> Range<usize> {
        panel * PANEL..self.n.min((panel + 1) * PANEL)
    }

    /// The bytes of a panel.
    pub fn panel(&self, panel: usize) -> &[u8] {
        &self.bytes[panel * panel_len(self.k)..][..panel_len(self.k)]
    }
}

crate::multiversion! {
    /// Spreads a panel of two-bit weights to the layout of one byte each that the kernels'
    /// [`super::TernaryKernel::panel`] reads; `out` is ⌈k/4⌉ steps long.
    pub(super) fn unpack_panel(packed: &[u8], k: usize, out: &mut [u8]) {
        for (tile, packed) in packed.chunks_exact(tile_len(k)).enumerate() {
            let groups = packed.as_chunks::<GROUP_BYTES>().0.iter();
            for (bytes, out) in groups.zip(out.chunks_mut(4 * STEP)) {
                for (s, out) in out.chunks_exact_mut(STEP).enumerate() {
                    let out: &mut [u8; GROUP_BYTES] =
                        (&mut out[tile * GROUP_BYTES..][..GROUP_BYTES]).try_into().expect("a register");
                    for (out, byte) in out.iter_mut().zip(bytes) {
                        *out = (*byte >> (2 * s)) & 3;
                    }
                }
            }
        }
    }
}
