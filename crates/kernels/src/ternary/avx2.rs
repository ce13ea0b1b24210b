//! AVX2: `vpmaddubsw` multiplies 32 unsigned weights by 32 signed activations and adds twos in 16 bits.
//!
//! Two products of at most 2·128 give at most 512 a step: 63 steps fit in 16 bits, then `vpmaddwd` by ones widens.

use super::layout::Layout;
use super::two_bit::{TILE, TILES};
use super::ymm::{self, Dot, LANES};
use super::{DEPTH, PANEL, TernaryKernel, bytes};
use crate::isa::Isa;
use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi16, _mm256_add_epi32, _mm256_cvtepu8_epi16, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_storeu_si256,
};

/// The AVX2 kernel.
pub struct Avx2;

impl TernaryKernel for Avx2 {
    fn name(&self) -> &'static str {
        "avx2-i8-ternary"
    }

    fn is_supported(&self) -> bool {
        Isa::Avx2.is_supported()
    }

    fn panel(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        self.multiply(packed, Layout::Steps, k, q, sums);
    }

    fn panel_two_bit(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        self.multiply(packed, Layout::TwoBit, k, q, sums);
    }

    fn panel_bytes(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        assert!(self.is_supported(), "this machine lacks AVX2");
        assert!(packed.len() == TILES * bytes::tile_len(k) && q.len() == sums.len() * k);
        for (q, sums) in q.chunks_exact(k.max(1)).zip(sums) {
            // SAFETY: AVX2 is there; lengths as asserted above.
            unsafe { row_bytes(packed, k, q, sums) };
        }
    }
}

impl Avx2 {
    fn multiply(&self, packed: &[u8], layout: Layout, k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        assert!(self.is_supported(), "this machine lacks AVX2");
        assert!(packed.len() == layout.panel_len(k) && q.len() == sums.len() * k);
        // SAFETY: AVX2 is there; lengths as asserted above.
        unsafe { compiled(packed, layout, k, q, sums) }
    }
}

/// 16-bit sums of weights of at most 2.
struct Maddubs;

impl Dot for Maddubs {
    const GROUPS: usize = 63 / 4;

    #[inline(always)]
    unsafe fn add(sums: __m256i, weights: __m256i, four: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_add_epi16(sums, _mm256_maddubs_epi16(weights, four)) }
    }

    #[inline(always)]
    unsafe fn widen(sums: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_madd_epi16(sums, _mm256_set1_epi16(1)) }
    }
}

/// # Safety
/// AVX2 is there; lengths as [`ymm::panel`] wants them.
#[target_feature(enable = "avx2")]
unsafe fn compiled(packed: &[u8], layout: Layout, k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
    // SAFETY: the caller's promise.
    unsafe { ymm::panel::<Maddubs>(packed, layout, k, q, sums) }
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
