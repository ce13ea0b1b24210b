//! AVX-512 VNNI: `vpdpbusd` multiplies 64 unsigned weights by 64 signed activations and adds fours of them.
//!
//! ```text
//! registers: 6 rows × 4 columns of 16 sums = 24, 4 of weights, 1 of a row's four activations, broadcast
//! ```

use super::{DEPTH, PANEL, STEP, TernaryKernel};
use crate::isa::Isa;
use std::arch::x86_64::{
    __m512i, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_storeu_si512,
};

/// Sums of one register.
const LANES: usize = 16;
const REGISTERS: usize = PANEL / LANES;
const ROWS: usize = 6;

/// The AVX-512 VNNI kernel.
pub struct Avx512Vnni;

impl TernaryKernel for Avx512Vnni {
    fn name(&self) -> &'static str {
        "avx512vnni-i8-ternary"
    }

    fn isa(&self) -> Isa {
        Isa::Avx512
    }

    fn panel(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        assert!(self.isa().is_supported(), "this machine lacks AVX-512 VNNI");
        assert!(packed.len() == k.div_ceil(DEPTH) * STEP && q.len() == sums.len() * k);
        for (block, sums) in sums.chunks_mut(ROWS).enumerate() {
            let q = &q[block * ROWS * k..][..sums.len() * k];
            // SAFETY: the instructions are there; lengths as asserted above.
            unsafe {
                match sums.len() {
                    1 => rows::<1>(packed, k, q, sums),
                    2 => rows::<2>(packed, k, q, sums),
                    3 => rows::<3>(packed, k, q, sums),
                    4 => rows::<4>(packed, k, q, sums),
                    5 => rows::<5>(packed, k, q, sums),
                    _ => rows::<6>(packed, k, q, sums),
                }
            }
        }
    }
}

/// # Safety
/// AVX-512 VNNI is there; `packed` holds ⌈k/4⌉ steps, `q` R rows of k, `sums` R rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn rows<const R: usize>(packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
    let whole = k / DEPTH;
    // SAFETY: every address below lies within the slices, by the caller's promise.
    unsafe {
        let mut totals = [[_mm512_set1_epi32(0); REGISTERS]; R];
        for (totals, sums) in totals.iter_mut().zip(&*sums) {
            for (j, total) in totals.iter_mut().enumerate() {
                *total = _mm512_loadu_si512(sums.as_ptr().add(j * LANES).cast());
            }
        }
        for step in 0..whole {
            let weights = load(packed.as_ptr().add(step * STEP));
            for (r, totals) in totals.iter_mut().enumerate() {
                let four = q.as_ptr().add(r * k + step * DEPTH).cast::<i32>().read_unaligned();
                accumulate(totals, &weights, four);
            }
        }
        if !k.is_multiple_of(DEPTH) {
            let weights = load(packed.as_ptr().add(whole * STEP));
            for (r, totals) in totals.iter_mut().enumerate() {
                let mut four = [0u8; DEPTH];
                for (byte, q) in four.iter_mut().zip(&q[r * k + whole * DEPTH..(r + 1) * k]) {
                    *byte = *q as u8;
                }
                accumulate(totals, &weights, i32::from_le_bytes(four));
            }
        }
        for (totals, sums) in totals.iter().zip(sums) {
            for (j, total) in totals.iter().enumerate() {
                _mm512_storeu_si512(sums.as_mut_ptr().add(j * LANES).cast(), *total);
            }
        }
    }
}

/// # Safety
/// AVX-512 is there and 256 bytes can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn load(from: *const u8) -> [__m512i; REGISTERS] {
    // SAFETY: the caller's promise.
    std::array::from_fn(|j| unsafe { _mm512_loadu_si512(from.add(j * LANES * DEPTH).cast()) })
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn accumulate(totals: &mut [__m512i; REGISTERS], weights: &[__m512i; REGISTERS], four: i32) {
    let four = _mm512_set1_epi32(four);
    for (total, weights) in totals.iter_mut().zip(weights) {
        *total = _mm512_dpbusd_epi32(*total, *weights, four);
    }
}
