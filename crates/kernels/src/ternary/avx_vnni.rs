//! AVX-VNNI: `vpdpbusd` on 256 bits multiplies 32 unsigned weights by 32 signed activations and adds fours of them; for
//! processors that have it without AVX-512.

use super::layout::Layout;
use super::ymm::{self, Dot};
use super::{PANEL, TernaryKernel};
use crate::isa::Isa;
use std::arch::x86_64::{__m256i, _mm256_dpbusd_avx_epi32};

/// The AVX-VNNI kernel.
pub struct AvxVnni;

impl TernaryKernel for AvxVnni {
    fn name(&self) -> &'static str {
        "avxvnni-i8-ternary"
    }

    fn is_supported(&self) -> bool {
        Isa::Avx2.is_supported() && is_x86_feature_detected!("avxvnni")
    }

    fn panel(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        self.multiply(packed, Layout::Steps, k, q, sums);
    }

    fn panel_two_bit(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        self.multiply(packed, Layout::TwoBit, k, q, sums);
    }

    fn panel_bytes(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        self.multiply(packed, Layout::Tiles, k, q, sums);
    }
}

impl AvxVnni {
    fn multiply(&self, packed: &[u8], layout: Layout, k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        assert!(self.is_supported(), "this machine lacks AVX-VNNI");
        assert!(packed.len() == layout.panel_len(k) && q.len() == sums.len() * k);
        // SAFETY: the instructions are there; lengths as asserted above.
        unsafe { compiled(packed, layout, k, q, sums) }
    }
}

/// 32-bit sums from the start.
struct Vnni;

impl Dot for Vnni {
    const GROUPS: usize = usize::MAX;

    #[inline(always)]
    unsafe fn add(sums: __m256i, weights: __m256i, four: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_dpbusd_avx_epi32(sums, weights, four) }
    }

    #[inline(always)]
    unsafe fn widen(sums: __m256i) -> __m256i {
        sums
    }
}

/// # Safety
/// AVX-VNNI is there; lengths as [`ymm::panel`] wants them.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn compiled(packed: &[u8], layout: Layout, k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
    // SAFETY: the caller's promise.
    unsafe { ymm::panel::<Vnni>(packed, layout, k, q, sums) }
}
