//! AVX2: `vpmaddubsw` multiplies 32 unsigned weights by 32 signed activations and adds twos in 16 bits.
//!
//! ```text
//! two products of at most 2·128 give at most 512 a step: 63 steps fit in 16 bits, then `vpmaddwd` by ones widens
//! registers: 1 row × 8 columns of 16-bit sums; the 32-bit sums are in memory (L1)
//! ```

use super::two_bit::{GROUP, GROUP_BYTES, TILE, TILES, tile_len};
use super::{DEPTH, PANEL, STEP, TernaryKernel, bytes};
use crate::isa::Isa;
use std::arch::x86_64::{
    __m256i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256,
    _mm256_cvtepu8_epi16, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_srl_epi16,
    _mm256_storeu_si256,
};

/// Sums of one register of 32 bits.
const LANES: usize = 8;
const REGISTERS: usize = PANEL / LANES;
/// Steps after which the 16-bit sums are widened: 512·63 < 2^15.
const STEPS: usize = 63;
/// Groups of four steps after which they are widened.
const GROUPS: usize = STEPS / 4;

/// The AVX2 kernel.
pub struct Avx2;

impl TernaryKernel for Avx2 {
    fn name(&self) -> &'static str {
        "avx2-i8-ternary"
    }

    fn isa(&self) -> Isa {
        Isa::Avx2
    }

    fn panel(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        assert!(self.isa().is_supported(), "this machine lacks AVX2");
        assert!(packed.len() == k.div_ceil(DEPTH) * STEP && q.len() == sums.len() * k);
        for (row, sums) in sums.iter_mut().enumerate() {
            let q = q[row * k..][..k].chunks(STEPS * DEPTH);
            for (q, packed) in q.zip(packed.chunks(STEPS * STEP)) {
                // SAFETY: AVX2 is there; the chunk holds a step of weights for each four of q.
                unsafe { run(packed, q, sums) };
            }
        }
    }

    fn panel_two_bit(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        assert!(self.isa().is_supported(), "this machine lacks AVX2");
        assert!(packed.len() == TILES * tile_len(k) && q.len() == sums.len() * k);
        for (row, sums) in sums.iter_mut().enumerate() {
            for (run, q) in q[row * k..][..k].chunks(GROUPS * GROUP).enumerate() {
                let from = run * GROUPS * GROUP_BYTES;
                // SAFETY: AVX2 is there; every tile holds a group of weights for each sixteen of q.
                unsafe { run_two_bit(&packed[from..], tile_len(k), q, sums) };
            }
        }
    }

    fn panel_bytes(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        assert!(self.isa().is_supported(), "this machine lacks AVX2");
        assert!(packed.len() == TILES * bytes::tile_len(k) && q.len() == sums.len() * k);
        for (q, sums) in q.chunks_exact(k.max(1)).zip(sums) {
            // SAFETY: AVX2 is there; lengths as asserted above.
            unsafe { row_bytes(packed, k, q, sums) };
        }
    }
}

/// One row over bytes of any value: 16-bit products cannot hold them, so weights and activations are widened first.
///
/// # Safety
/// AVX2 is there; `packed` is four tiles of ⌈k/4⌉ steps, `q` one row of k.
#[target_feature(enable = "avx2")]
unsafe fn row_bytes(packed: &[u8], k: usize, q: &[i8], sums: &mut [i32; PANEL]) {
    for (tile, sums) in sums.chunks_exact_mut(TILE).enumerate() {
        let steps = packed[tile * bytes::tile_len(k)..].chunks_exact(bytes::STEP);
        // Each register: twos of products of four columns.
        let mut totals = [_mm256_setzero_si256(); TILE / 4];
        for (q, step) in q.chunks(DEPTH).zip(steps) {
            let mut four = [0i16; DEPTH];
            four.iter_mut().zip(q).for_each(|(wide, q)| *wide = i16::from(*q));
            let four = _mm256_set1_epi64x(i64::from_le_bytes(std::array::from_fn(|i| {
                four[i / 2].to_le_bytes()[i % 2]
            })));
            for (i, total) in totals.iter_mut().enumerate() {
                // SAFETY: a step is 64 bytes.
                let weights = unsafe { _mm_loadu_si128(step.as_ptr().add(16 * i).cast()) };
                *total = _mm256_add_epi32(*total, _mm256_madd_epi16(_mm256_cvtepu8_epi16(weights), four));
            }
        }
        for (total, sums) in totals.into_iter().zip(sums.chunks_exact_mut(4)) {
            let mut twos = [0i32; LANES];
            // SAFETY: eight sums.
            unsafe { _mm256_storeu_si256(twos.as_mut_ptr().cast(), total) };
            sums.iter_mut().zip(twos.chunks_exact(2)).for_each(|(sum, two)| *sum += two[0] + two[1]);
        }
    }
}

/// Adds at most `GROUPS` groups of one row.
///
/// # Safety
/// AVX2 is there; `packed` holds ⌈q.len()/16⌉ groups at each of four distances of `tile_len`.
#[target_feature(enable = "avx2")]
unsafe fn run_two_bit(packed: &[u8], tile_len: usize, q: &[i8], sums: &mut [i32; PANEL]) {
    let mut narrow = [_mm256_setzero_si256(); REGISTERS];
    let low = _mm256_set1_epi8(3);
    for (group, q) in q.chunks(GROUP).enumerate() {
        let mut padded = [0i8; GROUP];
        padded[..q.len()].copy_from_slice(q);
        for (s, four) in padded.chunks_exact(DEPTH).enumerate() {
            let four = _mm256_set1_epi32(i32::from_le_bytes(std::array::from_fn(|i| four[i] as u8)));
            let shift = _mm_cvtsi32_si128(2 * s as i32);
            for (j, narrow) in narrow.iter_mut().enumerate() {
                let (tile, half) = (j * LANES / TILE, j * LANES % TILE);
                let at = tile * tile_len + group * GROUP_BYTES + half * DEPTH;
                // SAFETY: the group lies inside its tile, and its half is 32 bytes.
                let four_codes = unsafe { _mm256_loadu_si256(packed.as_ptr().add(at).cast()) };
                let weights = _mm256_and_si256(_mm256_srl_epi16(four_codes, shift), low);
                *narrow = _mm256_add_epi16(*narrow, _mm256_maddubs_epi16(weights, four));
            }
        }
    }
    // SAFETY: AVX2 is there.
    unsafe { widen(&narrow, sums) };
}

/// Adds at most `STEPS` steps of one row.
///
/// # Safety
/// AVX2 is there; `packed` holds ⌈q.len()/4⌉ steps.
#[target_feature(enable = "avx2")]
unsafe fn run(packed: &[u8], q: &[i8], sums: &mut [i32; PANEL]) {
    let mut narrow = [_mm256_setzero_si256(); REGISTERS];
    for (step, q) in q.chunks(DEPTH).enumerate() {
        let mut four = [0u8; DEPTH];
        four.iter_mut().zip(q).for_each(|(byte, q)| *byte = *q as u8);
        let four = _mm256_set1_epi32(i32::from_le_bytes(four));
        for (j, narrow) in narrow.iter_mut().enumerate() {
            // SAFETY: step < ⌈q.len()/4⌉, so its 256 bytes are in `packed`.
            let weights =
                unsafe { _mm256_loadu_si256(packed.as_ptr().add(step * STEP + j * LANES * DEPTH).cast()) };
            *narrow = _mm256_add_epi16(*narrow, _mm256_maddubs_epi16(weights, four));
        }
    }
    // SAFETY: AVX2 is there.
    unsafe { widen(&narrow, sums) };
}

/// Adds pairs of 16-bit sums to the 32-bit sums of their columns.
///
/// # Safety
/// AVX2 is there.
#[target_feature(enable = "avx2")]
unsafe fn widen(narrow: &[__m256i; REGISTERS], sums: &mut [i32; PANEL]) {
    let ones = _mm256_set1_epi16(1);
    for (j, narrow) in narrow.iter().enumerate() {
        let at = sums[j * LANES..][..LANES].as_mut_ptr().cast::<__m256i>();
        // SAFETY: eight sums, read and written unaligned.
        unsafe {
            let wide = _mm256_madd_epi16(*narrow, ones);
            _mm256_storeu_si256(at, _mm256_add_epi32(_mm256_loadu_si256(at), wide));
        }
    }
}
