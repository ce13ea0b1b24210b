//! `avx2-f32-6x16`, `avx2-bfp16-6x16`: 12 of the 16 registers hold C, two hold a row of B, one or two a broadcast element of A.

use std::arch::x86_64::*;

use super::bfp::Integer;
use super::blocks::STRIDE;
use super::kernel::{Ahead, Arithmetic, Float, GemmKernel, Pairs, Step, Strided, Tile};
use super::pack::{Element, Panel, Source, Typed, gather};
use crate::isa::Isa;

const MR: usize = 6;
const NR: usize = 16;

/// The kernel of this file.
pub struct Avx2;

impl GemmKernel for Avx2 {
    fn name(&self) -> &'static str {
        "avx2-f32-6x16"
    }

    fn isa(&self) -> Isa {
        Isa::Avx2
    }

    fn tile(&self) -> (usize, usize) {
        (MR, NR)
    }

    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::F32
    }

    unsafe fn pack(&self, panel: &Panel, packed: &mut [f32]) {
        assert_eq!(packed.len(), panel.depth.len() * panel.width);
        match panel.resolve() {
            // SAFETY: the caller's promise.
            Typed::F32(source) => unsafe { pack(&source, packed) },
            // SAFETY: the caller's promise.
            Typed::I8(source) => unsafe { pack(&source, packed) },
        }
    }

    unsafe fn multiply(&self, a: &[f32], b: &[f32], tile: Tile, ahead: &mut Ahead) {
        // SAFETY: the caller's promise.
        unsafe { of_rows::<Float>(a, b, tile, ahead) }
    }

    unsafe fn multiply_in_place(&self, a: Strided, b: Strided, depth: usize, tile: Tile) {
        debug_assert!(b.lane == 1 && (a.lane == 1 || a.lane == STRIDE));
        let with = if a.lane == 1 { of_rows_in_place::<1> } else { of_rows_in_place::<STRIDE> };
        // SAFETY: the caller's promise.
        unsafe { with(a, b, depth, tile) }
    }
}

impl Integer for Avx2 {
    const NAME: &'static str = "avx2-bfp16-6x16";

    unsafe fn multiply_codes(&self, a: &[f32], b: &[f32], tile: Tile, ahead: &mut Ahead) {
        // SAFETY: the caller's promise.
        unsafe { of_rows::<Pairs>(a, b, tile, ahead) }
    }
}

/// [`multiply`] for the rows of the tile.
unsafe fn of_rows<S: Step<__m256>>(a: &[f32], b: &[f32], tile: Tile, ahead: &mut Ahead) {
    debug_assert!(a.len() / MR == b.len() / NR && tile.cols <= NR);
    let with = match tile.rows {
        1 => multiply::<S, 1>,
        2 => multiply::<S, 2>,
        3 => multiply::<S, 3>,
        4 => multiply::<S, 4>,
        5 => multiply::<S, 5>,
        6 => multiply::<S, 6>,
        rows => unreachable!("a tile of {rows} rows"),
    };
    // SAFETY: the caller's promise.
    unsafe { with(a, b, tile, ahead) }
}

/// A mask for the first `n` of 8 lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn first(n: usize) -> __m256i {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(8) as i32), lanes)
}

impl Step<__m256> for Float {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn add(sum: __m256, a: __m256, b: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, sum)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn value(sum: __m256, _: *const f32, _: __m256) -> __m256 {
        sum
    }
}

impl Step<__m256> for Pairs {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn add(sum: __m256, a: __m256, b: __m256) -> __m256 {
        let bits = |v| _mm256_castps_si256(v);
        _mm256_castsi256_ps(_mm256_add_epi32(bits(sum), _mm256_madd_epi16(bits(a), bits(b))))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn value(sum: __m256, row: *const f32, cols: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        let row = unsafe { _mm256_set1_ps(*row) };
        _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_castps_si256(sum)), row), cols)
    }
}

/// Sums a tile over the panels' depth.
///
/// # Safety
/// As [`GemmKernel::multiply`].
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply<S: Step<__m256>, const R: usize>(a: &[f32], b: &[f32], tile: Tile, ahead: &mut Ahead) {
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    let depth = b.len() / NR;
    let (mut pa, mut pb) = (a.as_ptr(), b.as_ptr());
    let stretch = (depth / (2 * R)).max(1);
    let mut left = depth;
    let mut line = 0;
    while left > 0 {
        let next = tile.next.wrapping_add(line / 2 * tile.stride + line % 2 * 8);
        line += 1;
        _mm_prefetch::<_MM_HINT_T0>(next.cast());
        _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(7).cast());
        ahead.fetch();
        let steps = stretch.min(left);
        left -= steps;
        for _ in 0..steps {
            // SAFETY: as many steps as the panels are deep.
            unsafe {
                let row = [_mm256_loadu_ps(pb), _mm256_loadu_ps(pb.add(8))];
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*pa.add(i));
                    sums[0] = S::add(sums[0], x, row[0]);
                    sums[1] = S::add(sums[1], x, row[1]);
                }
                pa = pa.add(MR);
                pb = pb.add(NR);
            }
        }
    }
    let masks = [first(tile.cols), first(tile.cols.saturating_sub(8))];
    let (rows, cols) = tile.units;
    debug_assert!(cols.is_empty() || rows.len() >= tile.rows && cols.len() == NR);
    let cols = match cols {
        [] => [_mm256_setzero_ps(); 2],
        // SAFETY: units are of whole panels.
        cols => unsafe { [_mm256_loadu_ps(cols.as_ptr()), _mm256_loadu_ps(cols.as_ptr().add(8))] },
    };
    let rows = rows.as_ptr();
    for (i, sums) in sums.iter().enumerate() {
        for (half, (&sum, &mask)) in sums.iter().zip(&masks).enumerate() {
            let c = tile.c.wrapping_add(i * tile.stride + 8 * half);
            // SAFETY: the mask keeps to the tile's columns.
            unsafe {
                let old = if tile.accumulate { _mm256_maskload_ps(c, mask) } else { _mm256_setzero_ps() };
                let sum = S::value(sum, rows.wrapping_add(i), cols[half]);
                _mm256_maskstore_ps(c, mask, _mm256_add_ps(old, sum));
            }
        }
    }
}

/// [`multiply_in_place`] for the rows of the tile.
unsafe fn of_rows_in_place<const LANE: usize>(a: Strided, b: Strided, depth: usize, tile: Tile) {
    let with = match tile.rows {
        1 => multiply_in_place::<1, LANE>,
        2 => multiply_in_place::<2, LANE>,
        3 => multiply_in_place::<3, LANE>,
        4 => multiply_in_place::<4, LANE>,
        5 => multiply_in_place::<5, LANE>,
        6 => multiply_in_place::<6, LANE>,
        rows => unreachable!("a tile of {rows} rows"),
    };
    // SAFETY: the caller's promise.
    unsafe { with(a, b, depth, tile) }
}

/// Sums a tile over operands that are not packed; the lanes of A are LANE apart.
///
/// # Safety
/// As [`GemmKernel::multiply_in_place`].
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply_in_place<const R: usize, const LANE: usize>(
    a: Strided,
    b: Strided,
    depth: usize,
    tile: Tile,
) {
    let masks = [first(tile.cols), first(tile.cols.saturating_sub(8))];
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    let (mut pa, mut pb) = (a.first, b.first);
    for _ in 0..depth {
        // SAFETY: the masks keep to the lanes of B, and A has R lanes, over `depth` steps.
        unsafe {
            let row = [_mm256_maskload_ps(pb, masks[0]), _mm256_maskload_ps(pb.wrapping_add(8), masks[1])];
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = _mm256_set1_ps(*pa.add(i * LANE));
                sums[0] = _mm256_fmadd_ps(x, row[0], sums[0]);
                sums[1] = _mm256_fmadd_ps(x, row[1], sums[1]);
            }
        }
        pa = pa.wrapping_add(a.depth);
        pb = pb.wrapping_add(b.depth);
    }
    for (i, sums) in sums.iter().enumerate() {
        for (half, (&sum, &mask)) in sums.iter().zip(&masks).enumerate() {
            let c = tile.c.wrapping_add(i * tile.stride + 8 * half);
            // SAFETY: the mask keeps to the tile's columns.
            unsafe {
                let old = if tile.accumulate { _mm256_maskload_ps(c, mask) } else { _mm256_setzero_ps() };
                _mm256_maskstore_ps(c, mask, _mm256_add_ps(old, sum));
            }
        }
    }
}

/// Elements that can be loaded 8 at a time as f32.
trait Load: Element {
    /// # Safety
    /// AVX2; 8 elements are readable.
    unsafe fn load(from: *const Self) -> __m256;
}

impl Load for f32 {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }
}

impl Load for i8 {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load(from: *const i8) -> __m256 {
        // SAFETY: the caller's promise.
        let codes = unsafe { _mm_loadl_epi64(from.cast()) };
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes))
    }
}

/// Loads up to 8 elements; the first lanes are them, the others zero.
#[inline]
#[target_feature(enable = "avx2")]
fn load_some<T: Load>(from: &[T]) -> __m256 {
    let mut eight = [T::default(); 8];
    let from = if from.len() >= 8 {
        &from[..8]
    } else {
        eight[..from.len()].copy_from_slice(from);
        &eight[..]
    };
    // SAFETY: 8 elements.
    unsafe { T::load(from.as_ptr()) }
}

#[target_feature(enable = "avx2")]
unsafe fn pack<T: Load>(source: &Source<T>, packed: &mut [f32]) {
    if source.lanes == 0 || source.depth == 0 {
        packed.fill(0.0);
    } else if source.lane_stride == 1 {
        (0..source.width).step_by(8).for_each(|lane| copy(source, lane, packed));
    } else if source.depth_stride == 1 {
        (0..source.width).step_by(8).for_each(|lane| transpose(source, lane, packed));
    } else {
        gather(source, packed);
    }
}

/// Packs 8 lanes, from `lane` on, of a panel whose lanes are contiguous.
#[inline]
#[target_feature(enable = "avx2")]
fn copy<T: Load>(source: &Source<T>, lane: usize, packed: &mut [f32]) {
    let lanes = source.lanes.saturating_sub(lane).min(8);
    let mut factors = [0.0; 8];
    factors[..lanes].iter_mut().enumerate().for_each(|(i, f)| *f = source.factors.lane(lane + i));
    let factors = load_some(&factors);
    let mask = first(source.width - lane);
    for (depth, row) in packed.chunks_exact_mut(source.width).enumerate() {
        let from = depth * source.depth_stride + lane;
        let mut v =
            if lanes == 0 { _mm256_setzero_ps() } else { load_some(&source.data[from..from + lanes]) };
        if T::SCALED {
            v = _mm256_mul_ps(_mm256_mul_ps(v, factors), _mm256_set1_ps(source.factors.depth(depth)));
        }
        // SAFETY: the mask keeps to the row.
        unsafe { _mm256_maskstore_ps(row[lane..].as_mut_ptr(), mask, v) }
    }
}

/// Packs 8 lanes, from `lane` on, of a panel whose depths are contiguous.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose<T: Load>(source: &Source<T>, lane: usize, packed: &mut [f32]) {
    let lanes = source.lanes.saturating_sub(lane).min(8);
    let mask = first(source.width - lane);
    for depth in (0..source.depth).step_by(8) {
        let steps = (source.depth - depth).min(8);
        let along = match source.factors.depth {
            Some(s) => load_some(&s[depth..depth + steps]),
            None => _mm256_set1_ps(1.0),
        };
        let mut block = [_mm256_setzero_ps(); 8];
        for (i, v) in block[..lanes].iter_mut().enumerate() {
            let from = (lane + i) * source.lane_stride + depth;
            *v = load_some(&source.data[from..from + steps]);
            if T::SCALED {
                *v = _mm256_mul_ps(*v, _mm256_set1_ps(source.factors.lane(lane + i)));
                *v = _mm256_mul_ps(*v, along);
            }
        }
        let block = transposed(block);
        let rows = packed[depth * source.width..].chunks_exact_mut(source.width);
        for (row, v) in rows.zip(&block[..steps]) {
            // SAFETY: the mask keeps to the row.
            unsafe { _mm256_maskstore_ps(row[lane..].as_mut_ptr(), mask, *v) }
        }
    }
}

/// 8×8 transposition: pairs of rows, pairs of pairs, then the 128-bit halves.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(r: [__m256; 8]) -> [__m256; 8] {
    let mut out = [_mm256_setzero_ps(); 8];
    let mut quads = [_mm256_setzero_ps(); 8];
    for g in 0..2 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| r[4 * g + i]);
        let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (low2, high2) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        quads[4 * g] = _mm256_shuffle_ps::<0b01_00_01_00>(low, low2);
        quads[4 * g + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(low, low2);
        quads[4 * g + 2] = _mm256_shuffle_ps::<0b01_00_01_00>(high, high2);
        quads[4 * g + 3] = _mm256_shuffle_ps::<0b11_10_11_10>(high, high2);
    }
    for c in 0..4 {
        out[c] = _mm256_permute2f128_ps::<0x20>(quads[c], quads[4 + c]);
        out[4 + c] = _mm256_permute2f128_ps::<0x31>(quads[c], quads[4 + c]);
    }
    out
}
