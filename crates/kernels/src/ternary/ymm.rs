//! The loop that AVX2 and AVX-VNNI share: 256-bit registers of eight columns, two to a tile.
//!
//! ```text
//! registers: 6 rows × 1 tile (2 rows × 2, 1 × 4) = at most 12 of sums, 2 of weights, 1 of a row's four activations, broadcast
//! ```
//!
//! Everything here is inlined into a function that is compiled for the instructions of its [`Dot`].

use super::layout::Layout;
use super::two_bit::{GROUP, TILE, TILES};
use super::{DEPTH, PANEL};
use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_loadu_si256, _mm256_set1_epi8, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_srli_epi16, _mm256_storeu_si256,
};

/// Sums of one register of 32 bits.
pub(super) const LANES: usize = 8;
/// Registers of a tile.
const HALVES: usize = TILE / LANES;
/// Steps of `DEPTH` k in a group.
const STEPS: usize = GROUP / DEPTH;
/// Rows of one pass over the weights.
const ROWS: usize = 6;

/// How an instruction set adds the products of 32 unsigned weights and 32 signed activations.
pub(super) trait Dot {
    /// Groups of four steps after which the sums must be widened.
    const GROUPS: usize;

    /// Adds the products to a register of narrow sums.
    ///
    /// # Safety
    /// The instructions are there.
    unsafe fn add(sums: __m256i, weights: __m256i, four: __m256i) -> __m256i;

    /// Narrow sums as eight of 32 bits.
    ///
    /// # Safety
    /// The instructions are there.
    unsafe fn widen(sums: __m256i) -> __m256i;
}

/// Loads one register of weights of step `s` of a group of a tile.
///
/// # Safety
/// AVX2 is there, and `tile` has that step in this layout.
#[inline(always)]
unsafe fn load(layout: Layout, tile: *const u8, (group, s): (usize, usize), half: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let loaded = _mm256_loadu_si256(tile.add(layout.at(group, s) + half * LANES * DEPTH).cast());
        let Layout::TwoBit = layout else { return loaded };
        let lowered = match s {
            0 => loaded,
            1 => _mm256_srli_epi16::<2>(loaded),
            2 => _mm256_srli_epi16::<4>(loaded),
            _ => _mm256_srli_epi16::<6>(loaded),
        };
        _mm256_and_si256(lowered, _mm256_set1_epi8(3))
    }
}

/// Adds the products of any number of rows `q (rows, k)` to `sums (rows, 64)`.
///
/// # Safety
/// The instructions of `D` and AVX2 are there, `packed` is [`Layout::panel_len`] long and `q` is `sums.len()·k`.
#[inline(always)]
pub(super) unsafe fn panel<D: Dot>(
    packed: &[u8],
    layout: Layout,
    k: usize,
    q: &[i8],
    sums: &mut [[i32; PANEL]],
) {
    // SAFETY: the caller's promise. Each arm is compiled for its layout.
    unsafe {
        match layout {
            Layout::Steps => blocks::<D>(packed, Layout::Steps, k, q, sums),
            Layout::Tiles => blocks::<D>(packed, Layout::Tiles, k, q, sums),
            Layout::TwoBit => blocks::<D>(packed, Layout::TwoBit, k, q, sums),
        }
    }
}

/// As many rows at a time as the registers hold.
///
/// # Safety
/// As [`panel`].
#[inline(always)]
unsafe fn blocks<D: Dot>(packed: &[u8], layout: Layout, k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
    for (block, sums) in sums.chunks_mut(ROWS).enumerate() {
        let q = &q[block * ROWS * k..][..sums.len() * k];
        // SAFETY: the caller's promise, for these rows.
        unsafe {
            match sums.len() {
                1 => rows::<D, 1, 4>(packed, layout, k, q, sums),
                2 => rows::<D, 2, 2>(packed, layout, k, q, sums),
                3 => rows::<D, 3, 1>(packed, layout, k, q, sums),
                4 => rows::<D, 4, 1>(packed, layout, k, q, sums),
                5 => rows::<D, 5, 1>(packed, layout, k, q, sums),
                _ => rows::<D, 6, 1>(packed, layout, k, q, sums),
            }
        }
    }
}

/// R rows, with T tiles at a time.
///
/// # Safety
/// As [`panel`].
#[inline(always)]
unsafe fn rows<D: Dot, const R: usize, const T: usize>(
    packed: &[u8],
    layout: Layout,
    k: usize,
    q: &[i8],
    sums: &mut [[i32; PANEL]],
) {
    let whole = k / GROUP;
    let mut tails = [[0i8; GROUP]; R];
    for (tail, q) in tails.iter_mut().zip(q.chunks_exact(k.max(1))) {
        let rest = &q[whole * GROUP..];
        tail[..rest.len()].copy_from_slice(rest);
    }
    let stride = layout.tile_stride(k);
    for first in (0..TILES).step_by(T) {
        let tiles = std::array::from_fn(|t| packed.as_ptr().wrapping_add((first + t) * stride));
        let mut from = 0;
        while from < whole {
            let mut narrow = Narrow::<D, R, T>::new();
            let to = whole.min(from.saturating_add(D::GROUPS));
            // SAFETY: whole groups of the tiles and of the rows of q.
            unsafe {
                for group in from..to {
                    narrow.add(tiles, layout, group, STEPS, q.as_ptr().add(group * GROUP), k);
                }
                narrow.write(first, sums);
            }
            from = to;
        }
        if whole * GROUP < k {
            let mut narrow = Narrow::<D, R, T>::new();
            let steps = (k - whole * GROUP).div_ceil(DEPTH);
            // SAFETY: the tiles have the steps up to k, and the tails are whole groups.
            unsafe {
                narrow.add(tiles, layout, whole, steps, tails.as_ptr().cast(), GROUP);
                narrow.write(first, sums);
            }
        }
    }
}

/// Sums of R rows × T tiles, in registers.
struct Narrow<D, const R: usize, const T: usize> {
    sums: [[[__m256i; HALVES]; T]; R],
    dot: std::marker::PhantomData<D>,
}

impl<D: Dot, const R: usize, const T: usize> Narrow<D, R, T> {
    #[inline(always)]
    fn new() -> Self {
        // SAFETY: AVX is there by the promise of whoever calls `panel`.
        let zero = unsafe { _mm256_setzero_si256() };
        Self { sums: [[[zero; HALVES]; T]; R], dot: std::marker::PhantomData }
    }

    /// Adds the first `steps` steps of a group; the rows of `q` lie `stride` apart.
    ///
    /// # Safety
    /// As [`panel`]; the tiles have these steps, and `q` has as many fours in each row.
    #[inline(always)]
    unsafe fn add(
        &mut self,
        tiles: [*const u8; T],
        layout: Layout,
        group: usize,
        steps: usize,
        q: *const i8,
        stride: usize,
    ) {
        for s in 0..steps {
            for (t, tile) in tiles.into_iter().enumerate() {
                for half in 0..HALVES {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let weights = load(layout, tile, (group, s), half);
                        for r in 0..R {
                            let four = q.add(r * stride + s * DEPTH).cast::<i32>().read_unaligned();
                            let sums = &mut self.sums[r][t][half];
                            *sums = D::add(*sums, weights, _mm256_set1_epi32(four));
                        }
                    }
                }
            }
        }
    }

    /// Adds the sums to those in memory, of the tiles from `first` on.
    ///
    /// # Safety
    /// As [`panel`].
    #[inline(always)]
    unsafe fn write(self, first: usize, sums: &mut [[i32; PANEL]]) {
        for (r, row) in sums.iter_mut().enumerate().take(R) {
            for (i, sums) in row[first * TILE..][..T * TILE].chunks_exact_mut(LANES).enumerate() {
                let at = sums.as_mut_ptr().cast::<__m256i>();
                // SAFETY: eight sums, read and written unaligned.
                unsafe {
                    let wide = D::widen(self.sums[r][i / HALVES][i % HALVES]);
                    _mm256_storeu_si256(at, _mm256_add_epi32(_mm256_loadu_si256(at), wide));
                }
            }
        }
    }
}
