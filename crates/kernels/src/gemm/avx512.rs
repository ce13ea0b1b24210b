//! `avx512-f32-14x32`, `avx512-bfp16-14x32`: 28 of the 32 registers hold C, two hold a row of B, one a broadcast element of A.
//!
//! A depth step is 28 FMAs, 14 broadcasts and 2 loads: 14 cycles on two FMA ports, whatever the front end is left with.

use std::arch::x86_64::*;

use super::bfp::Integer;
use super::blocks::STRIDE;
use super::kernel::{Ahead, Arithmetic, Float, GemmKernel, Pairs, Step, Strided, Tile};
use super::pack::{Element, Panel, Source, Typed, gather};
use crate::isa::Isa;
use crate::quantize::ROUNDER;

const MR: usize = 14;
const NR: usize = 32;

/// Floats of A fetched ahead of their use, about 16 depth steps.
const AHEAD: usize = 16 * MR;

/// The kernel of this file.
pub struct Avx512;

impl GemmKernel for Avx512 {
    fn name(&self) -> &'static str {
        "avx512-f32-14x32"
    }

    fn isa(&self) -> Isa {
        Isa::Avx512
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

impl Integer for Avx512 {
    const NAME: &'static str = "avx512-bfp16-14x32";

    unsafe fn multiply_codes(&self, a: &[f32], b: &[f32], tile: Tile, ahead: &mut Ahead) {
        // SAFETY: the caller's promise.
        unsafe { of_rows::<Pairs>(a, b, tile, ahead) }
    }

    unsafe fn transpose_floats(&self, panel: &Panel, source: &Source<f32>, packed: &mut [f32]) {
        for lane in (0..source.width).step_by(16) {
            // SAFETY: the caller's promise.
            unsafe { transpose_codes(panel, source, lane, packed) }
        }
    }

    unsafe fn pair_floats(&self, panel: &Panel, source: &Source<f32>, packed: &mut [f32]) {
        for lane in (0..source.lanes).step_by(16) {
            // SAFETY: the caller's promise.
            unsafe { pair_rounded(panel, source, lane, packed) }
        }
    }

    unsafe fn pair_codes(&self, source: &Source<i8>, packed: &mut [f32]) {
        for lane in (0..source.lanes).step_by(16) {
            // SAFETY: the caller's promise.
            unsafe { pair_codes(source, lane, packed) }
        }
    }
}

/// [`multiply`] for the rows of the tile.
unsafe fn of_rows<S: Step<__m512>>(a: &[f32], b: &[f32], tile: Tile, ahead: &mut Ahead) {
    debug_assert!(a.len() / MR == b.len() / NR && tile.cols <= NR);
    let with = match tile.rows {
        1 => multiply::<S, 1>,
        2 => multiply::<S, 2>,
        3 => multiply::<S, 3>,
        4 => multiply::<S, 4>,
        5 => multiply::<S, 5>,
        6 => multiply::<S, 6>,
        7 => multiply::<S, 7>,
        8 => multiply::<S, 8>,
        9 => multiply::<S, 9>,
        10 => multiply::<S, 10>,
        11 => multiply::<S, 11>,
        12 => multiply::<S, 12>,
        13 => multiply::<S, 13>,
        14 => multiply::<S, 14>,
        rows => unreachable!("a tile of {rows} rows"),
    };
    // SAFETY: the caller's promise.
    unsafe { with(a, b, tile, ahead) }
}

/// The first `n` of 16 lanes.
fn first(n: usize) -> __mmask16 {
    if n >= 16 { !0 } else { (1 << n) - 1 }
}

impl Step<__m512> for Float {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn add(sum: __m512, a: __m512, b: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, sum)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn value(sum: __m512, _: *const f32, _: __m512) -> __m512 {
        sum
    }
}

impl Step<__m512> for Pairs {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn add(sum: __m512, a: __m512, b: __m512) -> __m512 {
        let bits = |v| _mm512_castps_si512(v);
        _mm512_castsi512_ps(_mm512_dpwssd_epi32(bits(sum), bits(a), bits(b)))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn value(sum: __m512, row: *const f32, cols: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        let row = unsafe { _mm512_set1_ps(*row) };
        _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_castps_si512(sum)), row), cols)
    }
}

/// Sums a tile over the panels' depth.
///
/// # Safety
/// As [`GemmKernel::multiply`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn multiply<S: Step<__m512>, const R: usize>(a: &[f32], b: &[f32], tile: Tile, ahead: &mut Ahead) {
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    let depth = b.len() / NR;
    let (mut pa, mut pb) = (a.as_ptr(), b.as_ptr());
    // The lines of the next tile of C, and what is ahead, are fetched a few at a time: a burst of them would hold up the loads
    // of A. A row that does not begin with a line has one more.
    let stretch = (depth / (2 * R)).max(1);
    let mut left = depth;
    let mut line = 0;
    while left > 0 {
        let next = tile.next.wrapping_add(line / 2 * tile.stride + line % 2 * 16);
        line += 1;
        _mm_prefetch::<_MM_HINT_T0>(next.cast());
        _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(15).cast());
        ahead.fetch();
        let steps = stretch.min(left);
        left -= steps;
        for _ in 0..steps {
            // SAFETY: as many steps as the panels are deep.
            unsafe {
                let row = [_mm512_loadu_ps(pb), _mm512_loadu_ps(pb.add(16))];
                _mm_prefetch::<_MM_HINT_T0>(pa.wrapping_add(AHEAD).cast());
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*pa.add(i));
                    sums[0] = S::add(sums[0], x, row[0]);
                    sums[1] = S::add(sums[1], x, row[1]);
                }
                pa = pa.add(MR);
                pb = pb.add(NR);
            }
        }
    }
    let masks = [first(tile.cols), first(tile.cols.saturating_sub(16))];
    let (rows, cols) = tile.units;
    debug_assert!(cols.is_empty() || rows.len() >= tile.rows && cols.len() == NR);
    let cols = match cols {
        [] => [_mm512_setzero_ps(); 2],
        // SAFETY: units are of whole panels.
        cols => unsafe { [_mm512_loadu_ps(cols.as_ptr()), _mm512_loadu_ps(cols.as_ptr().add(16))] },
    };
    let rows = rows.as_ptr();
    for (i, sums) in sums.iter().enumerate() {
        for (half, (&sum, &mask)) in sums.iter().zip(&masks).enumerate() {
            let c = tile.c.wrapping_add(i * tile.stride + 16 * half);
            // SAFETY: the mask keeps to the tile's columns.
            unsafe {
                let old = if tile.accumulate { _mm512_maskz_loadu_ps(mask, c) } else { _mm512_setzero_ps() };
                let sum = S::value(sum, rows.wrapping_add(i), cols[half]);
                _mm512_mask_storeu_ps(c, mask, _mm512_add_ps(old, sum));
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
        7 => multiply_in_place::<7, LANE>,
        8 => multiply_in_place::<8, LANE>,
        9 => multiply_in_place::<9, LANE>,
        10 => multiply_in_place::<10, LANE>,
        11 => multiply_in_place::<11, LANE>,
        12 => multiply_in_place::<12, LANE>,
        13 => multiply_in_place::<13, LANE>,
        14 => multiply_in_place::<14, LANE>,
        rows => unreachable!("a tile of {rows} rows"),
    };
    // SAFETY: the caller's promise.
    unsafe { with(a, b, depth, tile) }
}

/// Sums a tile over operands that are not packed; the lanes of A are LANE apart.
///
/// # Safety
/// As [`GemmKernel::multiply_in_place`].
#[target_feature(enable = "avx512f")]
unsafe fn multiply_in_place<const R: usize, const LANE: usize>(
    a: Strided,
    b: Strided,
    depth: usize,
    tile: Tile,
) {
    let masks = [first(tile.cols), first(tile.cols.saturating_sub(16))];
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    let (mut pa, mut pb) = (a.first, b.first);
    for _ in 0..depth {
        // SAFETY: the masks keep to the lanes of B, and A has R lanes, over `depth` steps.
        unsafe {
            let row =
                [_mm512_maskz_loadu_ps(masks[0], pb), _mm512_maskz_loadu_ps(masks[1], pb.wrapping_add(16))];
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*pa.add(i * LANE));
                sums[0] = _mm512_fmadd_ps(x, row[0], sums[0]);
                sums[1] = _mm512_fmadd_ps(x, row[1], sums[1]);
            }
        }
        pa = pa.wrapping_add(a.depth);
        pb = pb.wrapping_add(b.depth);
    }
    for (i, sums) in sums.iter().enumerate() {
        for (half, (&sum, &mask)) in sums.iter().zip(&masks).enumerate() {
            let c = tile.c.wrapping_add(i * tile.stride + 16 * half);
            // SAFETY: the mask keeps to the tile's columns.
            unsafe {
                let old = if tile.accumulate { _mm512_maskz_loadu_ps(mask, c) } else { _mm512_setzero_ps() };
                _mm512_mask_storeu_ps(c, mask, _mm512_add_ps(old, sum));
            }
        }
    }
}

/// Elements that can be loaded 16 at a time as f32.
trait Load: Element {
    /// Loads the lanes of `mask`, zeros elsewhere.
    ///
    /// # Safety
    /// AVX-512 F, BW and VL; the elements of `mask` are readable.
    unsafe fn load(from: *const Self, mask: __mmask16) -> __m512;
}

impl Load for f32 {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(from: *const f32, mask: __mmask16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
}

impl Load for i8 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load(from: *const i8, mask: __mmask16) -> __m512 {
        // SAFETY: the caller's promise.
        let codes = unsafe { _mm_maskz_loadu_epi8(mask, from) };
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack<T: Load>(source: &Source<T>, packed: &mut [f32]) {
    if source.lanes == 0 || source.depth == 0 {
        packed.fill(0.0);
    } else if source.lane_stride == 1 {
        // SAFETY: `resolve` checked the bounds.
        unsafe { copy(source, packed) }
    } else if source.depth_stride == 1 {
        for lane in (0..source.width).step_by(16) {
            // SAFETY: `resolve` checked the bounds.
            unsafe { transpose(source, lane, packed) }
        }
    } else {
        gather(source, packed);
    }
}

/// Packs a panel whose lanes are contiguous.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn copy<T: Load>(source: &Source<T>, packed: &mut [f32]) {
    for lane in (0..source.width).step_by(16) {
        let from_mask = first(source.lanes.saturating_sub(lane));
        let to_mask = first(source.width - lane);
        let mut factors = [0.0; 16];
        for (i, factor) in factors.iter_mut().enumerate().take(source.lanes.saturating_sub(lane)) {
            *factor = source.factors.lane(lane + i);
        }
        // SAFETY: 16 floats.
        let factors = unsafe { _mm512_loadu_ps(factors.as_ptr()) };
        for depth in 0..source.depth {
            let from = source.data.as_ptr().wrapping_add(lane + depth * source.depth_stride);
            let to = packed.as_mut_ptr().wrapping_add(lane + depth * source.width);
            // SAFETY: the masks keep to the lanes there are; `resolve` checked the depths.
            unsafe {
                let mut v = T::load(from, from_mask);
                if T::SCALED {
                    v = _mm512_mul_ps(v, factors);
                    v = _mm512_mul_ps(v, _mm512_set1_ps(source.factors.depth(depth)));
                }
                _mm512_mask_storeu_ps(to, to_mask, v);
            }
        }
    }
}

/// Packs 16 lanes, from `lane` on, of a panel whose depths are contiguous.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn transpose<T: Load>(source: &Source<T>, lane: usize, packed: &mut [f32]) {
    let to_mask = first(source.width - lane);
    let lanes = source.lanes.saturating_sub(lane).min(16);
    for depth in (0..source.depth).step_by(16) {
        let steps = (source.depth - depth).min(16);
        let mask = first(steps);
        let along = match source.factors.depth {
            // SAFETY: the slice holds a factor for each depth.
            Some(s) if T::SCALED => unsafe { _mm512_maskz_loadu_ps(mask, s.as_ptr().add(depth)) },
            _ => _mm512_set1_ps(1.0),
        };
        let mut block = [_mm512_setzero_ps(); 16];
        for (i, v) in block.iter_mut().enumerate() {
            if i >= lanes {
                break;
            }
            let from = source.data.as_ptr().wrapping_add((lane + i) * source.lane_stride + depth);
            // SAFETY: the mask keeps to the depths there are.
            *v = unsafe { T::load(from, mask) };
            if T::SCALED {
                *v = _mm512_mul_ps(*v, _mm512_set1_ps(source.factors.lane(lane + i)));
                *v = _mm512_mul_ps(*v, along);
            }
        }
        let block = transposed(block);
        for (i, v) in block.iter().enumerate() {
            if i >= steps {
                break;
            }
            let to = packed.as_mut_ptr().wrapping_add(lane + (depth + i) * source.width);
            // SAFETY: the mask keeps to the panel's width.
            unsafe { _mm512_mask_storeu_ps(to, to_mask, *v) }
        }
    }
}

/// 16×16 transposition: pairs of rows, pairs of pairs, then the 128-bit quarters.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(r: [__m512; 16]) -> [__m512; 16] {
    let mut pairs = [_mm512_setzero_ps(); 16];
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    // quads[4g + c] holds in its quarter q the column 4q + c of rows 4g .. 4g + 3.
    let mut quads = [_mm512_setzero_ps(); 16];
    for g in 0..4 {
        let p = [0, 1, 2, 3].map(|i| pairs[4 * g + i]);
        quads[4 * g] = _mm512_shuffle_ps::<0b01_00_01_00>(p[0], p[2]);
        quads[4 * g + 1] = _mm512_shuffle_ps::<0b11_10_11_10>(p[0], p[2]);
        quads[4 * g + 2] = _mm512_shuffle_ps::<0b01_00_01_00>(p[1], p[3]);
        quads[4 * g + 3] = _mm512_shuffle_ps::<0b11_10_11_10>(p[1], p[3]);
    }
    let mut out = [_mm512_setzero_ps(); 16];
    for c in 0..4 {
        let [a, b, d, e] = [0, 1, 2, 3].map(|g| quads[4 * g + c]);
        let low_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
        let low_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
        let high_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(d, e);
        let high_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(d, e);
        out[c] = _mm512_shuffle_f32x4::<0b10_00_10_00>(low_even, high_even);
        out[4 + c] = _mm512_shuffle_f32x4::<0b10_00_10_00>(low_odd, high_odd);
        out[8 + c] = _mm512_shuffle_f32x4::<0b11_01_11_01>(low_even, high_even);
        out[12 + c] = _mm512_shuffle_f32x4::<0b11_01_11_01>(low_odd, high_odd);
    }
    out
}

/// The nearest integers in the low half of each lane, half to even.
#[inline]
#[target_feature(enable = "avx512f")]
fn nearest(x: __m512, step: __m512) -> __m512i {
    _mm512_castps_si512(_mm512_add_ps(_mm512_mul_ps(x, step), _mm512_set1_ps(ROUNDER)))
}

/// Packs the codes of 16 lanes, from `lane` on, of a panel of floats whose depths adjoin.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn transpose_codes(panel: &Panel, source: &Source<f32>, lane: usize, packed: &mut [f32]) {
    let to_mask = first(source.width - lane);
    let lanes = source.lanes.saturating_sub(lane).min(16);
    let low_words = _mm512_slli_epi16::<1>(counting());
    for depth in (0..source.depth).step_by(32) {
        let left = source.depth - depth;
        let masks = [first(left), first(left.saturating_sub(16))];
        let mut block = [_mm512_setzero_ps(); 16];
        for (i, v) in block.iter_mut().enumerate().take(lanes) {
            let from = source.data.as_ptr().wrapping_add((lane + i) * source.lane_stride + depth);
            let step = _mm512_set1_ps(panel.steps[lane + i]);
            // SAFETY: the masks keep to the depths there are; `resolve` checked the bounds.
            let [low, high] = unsafe {
                [
                    _mm512_maskz_loadu_ps(masks[0], from),
                    _mm512_maskz_loadu_ps(masks[1], from.wrapping_add(16)),
                ]
            };
            let (low, high) = (nearest(low, step), nearest(high, step));
            *v = _mm512_castsi512_ps(_mm512_permutex2var_epi16(low, low_words, high));
        }
        let slots = left.div_ceil(2).min(16);
        for (i, v) in transposed(block).iter().enumerate().take(slots) {
            let to = packed.as_mut_ptr().wrapping_add(lane + (depth / 2 + i) * source.width);
            // SAFETY: the mask keeps to the panel's width.
            unsafe { _mm512_mask_storeu_ps(to, to_mask, *v) }
        }
    }
}

/// 0, 1, … 31 in words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn counting() -> __m512i {
    let words: [i16; 32] = std::array::from_fn(|i| i as i16);
    // SAFETY: 32 words.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

/// Packs 16 lanes, from `lane` on, of a panel of codes whose lanes adjoin.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pair_codes(source: &Source<i8>, lane: usize, packed: &mut [f32]) {
    let mask = first(source.lanes - lane);
    let codes = |depth: usize| {
        let from = source.data.as_ptr().wrapping_add(lane + depth * source.depth_stride);
        // SAFETY: the mask keeps to the lanes there are; `resolve` checked the depths.
        unsafe { _mm_maskz_loadu_epi8(mask, from) }
    };
    for (slot, row) in packed.chunks_exact_mut(source.width).enumerate() {
        let depth = 2 * slot;
        let low = codes(depth);
        let high = if depth + 1 < source.depth { codes(depth + 1) } else { _mm_setzero_si128() };
        let bytes = _mm256_set_m128i(_mm_unpackhi_epi8(low, high), _mm_unpacklo_epi8(low, high));
        let pairs = _mm512_castsi512_ps(_mm512_cvtepi8_epi16(bytes));
        // SAFETY: the mask keeps to the panel's width.
        unsafe { _mm512_mask_storeu_ps(row.as_mut_ptr().add(lane), mask, pairs) }
    }
}

/// Packs the codes of 16 lanes, from `lane` on, of a panel of floats whose lanes adjoin.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn pair_rounded(panel: &Panel, source: &Source<f32>, lane: usize, packed: &mut [f32]) {
    let mask = first(source.lanes - lane);
    // SAFETY: a step for each lane there is.
    let steps = unsafe { _mm512_maskz_loadu_ps(mask, panel.steps.as_ptr().add(lane)) };
    let codes = |depth: usize| {
        let from = source.data.as_ptr().wrapping_add(lane + depth * source.depth_stride);
        // SAFETY: the mask keeps to the lanes there are; `resolve` checked the depths.
        let values = unsafe { _mm512_maskz_loadu_ps(mask, from) };
        nearest(values, _mm512_mul_ps(steps, _mm512_set1_ps(panel.along(depth))))
    };
    for (slot, row) in packed.chunks_exact_mut(source.width).enumerate() {
        let depth = 2 * slot;
        let high = if depth + 1 < source.depth { codes(depth + 1) } else { _mm512_setzero_si512() };
        let pair = _mm512_mask_blend_epi16(0xaaaa_aaaa, codes(depth), _mm512_slli_epi32::<16>(high));
        // SAFETY: the mask keeps to the panel's width.
        unsafe { _mm512_mask_storeu_ps(row.as_mut_ptr().add(lane), mask, _mm512_castsi512_ps(pair)) }
    }
}
