//! AVX-512 VNNI: `vpdpbusd` multiplies 64 unsigned weights by 64 signed activations and adds fours of them.
//!
//! ```text
//! registers: 6 rows × 4 columns of 16 sums = 24, 4 of weights, 1 of a row's four activations, broadcast
//! ```

use super::two_bit::{GROUP, GROUP_BYTES, TILES, tile_len};
use super::{DEPTH, PANEL, STEP, TernaryKernel, bytes};
use crate::isa::Isa;
use std::arch::x86_64::{
    __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_add_epi32, _mm512_and_si512, _mm512_dpbusd_epi32,
    _mm512_loadu_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_srai_epi32,
    _mm512_srli_epi32, _mm512_storeu_si512,
};

/// Sums of one register.
const LANES: usize = 16;
const REGISTERS: usize = PANEL / LANES;
const ROWS: usize = 6;
/// Rows that meet two-bit weights at a time.
const TWO_BIT_ROWS: usize = 12;
/// Bytes ahead in each tile that are asked for: about the time memory takes at the speed that it delivers.
const AHEAD: usize = 2048;

/// The AVX-512 VNNI kernel.
pub struct Avx512Vnni;

impl TernaryKernel for Avx512Vnni {
    fn name(&self) -> &'static str {
        "avx512vnni-i8-ternary"
    }

    fn is_supported(&self) -> bool {
        Isa::Avx512.is_supported()
    }

    fn panel(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        assert!(packed.len() == k.div_ceil(DEPTH) * STEP);
        multiply::<STEP>(packed, LANES * DEPTH, k, q, sums);
    }

    fn panel_bytes(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        assert!(packed.len() == TILES * bytes::tile_len(k));
        multiply::<{ bytes::STEP }>(packed, bytes::tile_len(k), k, q, sums);
    }

    fn panel_two_bit(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        assert!(self.is_supported(), "this machine lacks AVX-512 VNNI");
        assert!(packed.len() == TILES * tile_len(k) && q.len() == sums.len() * k);
        let rows = even(sums.len(), TWO_BIT_ROWS);
        for (block, sums) in sums.chunks_mut(rows).enumerate() {
            let q = &q[block * rows * k..][..sums.len() * k];
            // SAFETY: the instructions are there; lengths as asserted above.
            unsafe {
                match sums.len() {
                    1 => row_two_bit(packed, k, q, &mut sums[0]),
                    2 => rows_two_bit::<2, 4>(packed, k, q, sums),
                    3 => rows_two_bit::<3, 4>(packed, k, q, sums),
                    4 => rows_two_bit::<4, 4>(packed, k, q, sums),
                    5 => rows_two_bit::<5, 4>(packed, k, q, sums),
                    6 => rows_two_bit::<6, 2>(packed, k, q, sums),
                    7 => rows_two_bit::<7, 2>(packed, k, q, sums),
                    8 => rows_two_bit::<8, 2>(packed, k, q, sums),
                    9 => rows_two_bit::<9, 2>(packed, k, q, sums),
                    10 => rows_two_bit::<10, 2>(packed, k, q, sums),
                    11 => rows_two_bit::<11, 2>(packed, k, q, sums),
                    _ => rows_two_bit::<12, 2>(packed, k, q, sums),
                }
            }
        }
    }
}

/// The size of equal parts of `rows`, none above `most`.
fn even(rows: usize, most: usize) -> usize {
    rows.div_ceil(rows.div_ceil(most).max(1)).max(1)
}

/// One row: the four codes of a byte are masked where they lie, and summed apart as 1, 4, 16 and 64 times their value.
/// A sum has k/4 products of at most 128·128: 2^31 holds them for k < 2^19.
///
/// # Safety
/// AVX-512 VNNI is there; `packed` is four tiles of ⌈k/16⌉ groups, `q` one row of k.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn row_two_bit(packed: &[u8], k: usize, q: &[i8], sums: &mut [i32; PANEL]) {
    let tile_len = tile_len(k);
    let mask = [3u8, 0x0c, 0x30, 0xc0].map(|mask| _mm512_set1_epi8(mask as i8));
    let mut totals = [[_mm512_setzero_si512(); 4]; TILES];
    let mut group = |group: usize, q: *const i8| {
        // Behind a tile's end comes the tile beside it, which is being read already: go on in the next panel.
        let inside = group * GROUP_BYTES + AHEAD < tile_len;
        let ahead = if inside { AHEAD } else { AHEAD + (TILES - 1) * tile_len };
        // SAFETY: sixteen of q, and the group of every tile, are there by the caller's promise.
        unsafe {
            let fours: [__m512i; 4] =
                std::array::from_fn(|s| _mm512_set1_epi32(q.add(s * DEPTH).cast::<i32>().read_unaligned()));
            for (tile, totals) in totals.iter_mut().enumerate() {
                let at = packed.as_ptr().add(tile * tile_len + group * GROUP_BYTES);
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(ahead).cast());
                let codes = _mm512_loadu_si512(at.cast());
                for (s, total) in totals.iter_mut().enumerate() {
                    *total = _mm512_dpbusd_epi32(*total, _mm512_and_si512(codes, mask[s]), fours[s]);
                }
            }
        }
    };
    for at in 0..k / GROUP {
        group(at, q[at * GROUP..].as_ptr());
    }
    if !k.is_multiple_of(GROUP) {
        group(k / GROUP, tail(q).as_ptr());
    }
    for (totals, sums) in totals.iter().zip(sums.chunks_exact_mut(LANES)) {
        let low = _mm512_add_epi32(totals[0], _mm512_srai_epi32::<2>(totals[1]));
        let high = _mm512_add_epi32(_mm512_srai_epi32::<4>(totals[2]), _mm512_srai_epi32::<6>(totals[3]));
        // SAFETY: sixteen sums.
        unsafe {
            let old = _mm512_loadu_si512(sums.as_ptr().cast());
            _mm512_storeu_si512(sums.as_mut_ptr().cast(), _mm512_add_epi32(old, _mm512_add_epi32(low, high)));
        }
    }
}

/// Several rows: the codes of T tiles at a time are shifted to the bottom of their bytes once, and meet all rows. Many rows
/// take two tiles, few four: R·T sums, T registers of bytes, T of codes, a mask and a row's activations are in registers.
///
/// # Safety
/// AVX-512 VNNI is there; `packed` is four tiles of ⌈k/16⌉ groups, `q` R rows of k, `sums` R rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn rows_two_bit<const R: usize, const T: usize>(
    packed: &[u8],
    k: usize,
    q: &[i8],
    sums: &mut [[i32; PANEL]],
) {
    let tile_len = tile_len(k);
    let low = _mm512_set1_epi8(3);
    let tails: [[i8; GROUP]; R] = std::array::from_fn(|row| tail(&q[row * k..][..k]));
    for first in (0..TILES).step_by(T) {
        let mut totals = [[_mm512_setzero_si512(); T]; R];
        let mut group = |group: usize, q: [*const i8; R]| {
            // SAFETY: sixteen of each row of q, and the group of every tile, are there by the caller's promise.
            unsafe {
                let codes: [__m512i; T] = std::array::from_fn(|tile| {
                    let at = packed.as_ptr().add((first + tile) * tile_len + group * GROUP_BYTES);
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                    _mm512_loadu_si512(at.cast())
                });
                for s in 0..4 {
                    let weights = codes.map(|codes| _mm512_and_si512(lower(codes, s), low));
                    for (totals, q) in totals.iter_mut().zip(q) {
                        accumulate(totals, &weights, q.add(s * DEPTH).cast::<i32>().read_unaligned());
                    }
                }
            }
        };
        // One call: the sums stay in registers only where it is inlined.
        for at in 0..k.div_ceil(GROUP) {
            let (q, stride) =
                if at < k / GROUP { (q[at * GROUP..].as_ptr(), k) } else { (tails.as_ptr().cast(), GROUP) };
            group(at, std::array::from_fn(|row| q.wrapping_add(row * stride)));
        }
        write(&totals, first, sums);
    }
}

/// Moves the codes of step `s` to the bottom of their bytes.
#[inline]
#[target_feature(enable = "avx512f")]
fn lower(codes: __m512i, s: usize) -> __m512i {
    match s {
        0 => codes,
        1 => _mm512_srli_epi32::<2>(codes),
        2 => _mm512_srli_epi32::<4>(codes),
        _ => _mm512_srli_epi32::<6>(codes),
    }
}

/// What is left of a row behind its last whole group, with zeros behind.
fn tail(q: &[i8]) -> [i8; GROUP] {
    let rest = &q[q.len() / GROUP * GROUP..];
    let mut padded = [0; GROUP];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

/// Adds the products of a panel of bytes: `S` from one step of four k to the next, `register` from the first sixteen
/// columns to the next; whoever calls has compared the length of `packed` with them.
fn multiply<const S: usize>(packed: &[u8], register: usize, k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
    assert!(Isa::Avx512.is_supported(), "this machine lacks AVX-512 VNNI");
    assert!(q.len() == sums.len() * k);
    for (block, sums) in sums.chunks_mut(ROWS).enumerate() {
        let q = &q[block * ROWS * k..][..sums.len() * k];
        // SAFETY: the instructions are there; lengths as asserted above and by the caller.
        unsafe {
            match sums.len() {
                1 => rows::<1, S>(packed, register, k, q, sums),
                2 => rows::<2, S>(packed, register, k, q, sums),
                3 => rows::<3, S>(packed, register, k, q, sums),
                4 => rows::<4, S>(packed, register, k, q, sums),
                5 => rows::<5, S>(packed, register, k, q, sums),
                _ => rows::<6, S>(packed, register, k, q, sums),
            }
        }
    }
}

/// # Safety
/// AVX-512 VNNI is there; `packed` holds ⌈k/4⌉ steps of four registers at the strides, `q` R rows of k, `sums` R rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn rows<const R: usize, const S: usize>(
    packed: &[u8],
    register: usize,
    k: usize,
    q: &[i8],
    sums: &mut [[i32; PANEL]],
) {
    let mut totals = [[_mm512_setzero_si512(); REGISTERS]; R];
    let tails: [[i8; GROUP]; R] = std::array::from_fn(|row| tail(&q[row * k..][..k]));
    for at in 0..k / GROUP {
        // SAFETY: four steps of a whole group, and sixteen of each row of q.
        unsafe {
            let q: [*const i8; R] = std::array::from_fn(|row| q.as_ptr().add(row * k + at * GROUP));
            let weights: [*const u8; REGISTERS] =
                std::array::from_fn(|j| packed.as_ptr().add(j * register + 4 * at * S));
            for s in 0..4 {
                step::<R>(
                    &mut totals,
                    weights.map(|weights| weights.add(s * S)),
                    q.map(|q| q.add(s * DEPTH)),
                );
            }
        }
    }
    let whole = k / GROUP * 4;
    for s in whole..k.div_ceil(DEPTH) {
        // SAFETY: a step of the rest, and four of each padded tail.
        unsafe {
            let weights = std::array::from_fn(|j| packed.as_ptr().add(j * register + s * S));
            let q = std::array::from_fn(|row| tails[row].as_ptr().add((s - whole) * DEPTH));
            step::<R>(&mut totals, weights, q);
        }
    }
    write(&totals, 0, sums);
}

/// Adds one step of four k.
///
/// # Safety
/// AVX-512 VNNI is there, 64 bytes can be read at each of `weights`, and four at each of `q`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn step<const R: usize>(
    totals: &mut [[__m512i; REGISTERS]; R],
    weights: [*const u8; REGISTERS],
    q: [*const i8; R],
) {
    let weights = weights.map(|at| {
        _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
        // SAFETY: the caller's promise; a prefetch reads nothing.
        unsafe { _mm512_loadu_si512(at.cast()) }
    });
    for (totals, q) in totals.iter_mut().zip(q) {
        // SAFETY: the caller's promise.
        accumulate(totals, &weights, unsafe { q.cast::<i32>().read_unaligned() });
    }
}

/// Adds the sums of T tiles, from `first` on, to those in memory.
#[inline]
#[target_feature(enable = "avx512f")]
fn write<const R: usize, const T: usize>(
    totals: &[[__m512i; T]; R],
    first: usize,
    sums: &mut [[i32; PANEL]],
) {
    for (totals, sums) in totals.iter().zip(sums) {
        for (total, sums) in totals.iter().zip(sums.chunks_exact_mut(LANES).skip(first)) {
            // SAFETY: sixteen sums.
            unsafe {
                let old = _mm512_loadu_si512(sums.as_ptr().cast());
                _mm512_storeu_si512(sums.as_mut_ptr().cast(), _mm512_add_epi32(old, *total));
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn accumulate<const T: usize>(totals: &mut [__m512i; T], weights: &[__m512i; T], four: i32) {
    let four = _mm512_set1_epi32(four);
    for (total, weights) in totals.iter_mut().zip(weights) {
        *total = _mm512_dpbusd_epi32(*total, *weights, four);
    }
}
