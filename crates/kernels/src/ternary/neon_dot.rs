//! NEON with the dot-product extension of ARMv8.2: `sdot` multiplies 16 signed weights by four signed activations, four
//! times over, and adds fours of them.
//!
//! ```text
//! registers: 4 rows × 1 tile (2 rows × 2, 1 × 4) = 16 of sums, 4 of a row's sixteen activations each, 1 of weights
//! ```
//!
//! The intrinsics of `sdot` are unstable, so it is written in assembly. Compiled for `aarch64-unknown-linux-musl` and run
//! under emulation (QEMU), where all tests of this crate pass; never run, and so never timed, on a processor by us yet.

use super::layout::Layout;
use super::two_bit::{GROUP, TILE, TILES};
use super::{DEPTH, PANEL, TernaryKernel, sum};
use std::arch::aarch64::{
    int8x16_t, int32x4_t, vaddq_s32, vandq_u8, vdupq_n_s32, vdupq_n_u8, veorq_u8, vld1q_s8, vld1q_s32,
    vld1q_u8, vreinterpretq_s8_u8, vshrq_n_u8, vst1q_s32,
};
use std::arch::{asm, is_aarch64_feature_detected};

/// Sums of one register.
const LANES: usize = 4;
/// Registers of a tile.
const QUARTERS: usize = TILE / LANES;
/// Steps of `DEPTH` k in a group.
const STEPS: usize = GROUP / DEPTH;
/// Rows of one pass over the weights.
const ROWS: usize = 4;

/// The NEON dot-product kernel.
pub struct NeonDot;

impl TernaryKernel for NeonDot {
    fn name(&self) -> &'static str {
        "neondot-i8-ternary"
    }

    fn is_supported(&self) -> bool {
        is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod")
    }

    fn panel(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        self.multiply(packed, Layout::Steps, k, q, sums);
    }

    fn panel_two_bit(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        self.multiply(packed, Layout::TwoBit, k, q, sums);
    }

    /// A byte b is read as the signed b − 128, and `128·Σ q` added.
    fn panel_bytes(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        self.multiply(packed, Layout::Tiles, k, q, sums);
        for (q, sums) in q.chunks_exact(k.max(1)).zip(sums) {
            let missing = 128 * sum(q);
            sums.iter_mut().for_each(|sum| *sum += missing);
        }
    }
}

impl NeonDot {
    fn multiply(&self, packed: &[u8], layout: Layout, k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        assert!(self.is_supported(), "this machine lacks the NEON dot product");
        assert!(packed.len() == layout.panel_len(k) && q.len() == sums.len() * k);
        for (block, sums) in sums.chunks_mut(ROWS).enumerate() {
            let q = &q[block * ROWS * k..][..sums.len() * k];
            // SAFETY: the instructions are there; lengths as asserted above. Each arm is compiled for its layout.
            unsafe {
                match layout {
                    Layout::Steps => blocks(packed, Layout::Steps, k, q, sums),
                    Layout::Tiles => blocks(packed, Layout::Tiles, k, q, sums),
                    Layout::TwoBit => blocks(packed, Layout::TwoBit, k, q, sums),
                }
            }
        }
    }
}

/// At most `ROWS` rows.
///
/// # Safety
/// As [`rows`].
#[inline(always)]
unsafe fn blocks(packed: &[u8], layout: Layout, k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
    // SAFETY: the caller's promise.
    unsafe {
        match sums.len() {
            1 => rows::<1, 4>(packed, layout, k, q, sums),
            2 => rows::<2, 2>(packed, layout, k, q, sums),
            3 => rows::<3, 1>(packed, layout, k, q, sums),
            _ => rows::<4, 1>(packed, layout, k, q, sums),
        }
    }
}

/// Adds the products of R rows, T tiles at a time.
///
/// # Safety
/// NEON and its dot product are there, `packed` is [`Layout::panel_len`] long, `q` R rows of k, `sums` R rows.
#[target_feature(enable = "neon,dotprod")]
unsafe fn rows<const R: usize, const T: usize>(
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
    for first in (0..TILES).step_by(T) {
        let tiles =
            std::array::from_fn(|t| packed.as_ptr().wrapping_add((first + t) * layout.tile_stride(k)));
        let mut totals = [[[vdupq_n_s32(0); QUARTERS]; T]; R];
        // SAFETY: whole groups of the tiles and of the rows of q; then what is left, from padded rows.
        unsafe {
            for group in 0..whole {
                let q = std::array::from_fn(|r| vld1q_s8(q.as_ptr().add(r * k + group * GROUP)));
                add(&mut totals, tiles, layout, group, STEPS, q);
            }
            if whole * GROUP < k {
                let q = std::array::from_fn(|r| vld1q_s8(tails[r].as_ptr()));
                add(&mut totals, tiles, layout, whole, (k - whole * GROUP).div_ceil(DEPTH), q);
            }
        }
        for (totals, sums) in totals.iter().zip(&mut *sums) {
            let sums = sums[first * TILE..].chunks_exact_mut(LANES);
            for (total, sums) in totals.as_flattened().iter().zip(sums) {
                // SAFETY: four sums.
                unsafe { vst1q_s32(sums.as_mut_ptr(), vaddq_s32(vld1q_s32(sums.as_ptr()), *total)) };
            }
        }
    }
}

/// Adds the first `steps` steps of a group of T tiles.
///
/// # Safety
/// The instructions are there, and the tiles have these steps in this layout.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn add<const R: usize, const T: usize>(
    totals: &mut [[[int32x4_t; QUARTERS]; T]; R],
    tiles: [*const u8; T],
    layout: Layout,
    group: usize,
    steps: usize,
    q: [int8x16_t; R],
) {
    for (t, tile) in tiles.into_iter().enumerate() {
        for quarter in 0..QUARTERS {
            for s in 0..steps {
                // SAFETY: the caller's promise.
                let weights = unsafe { load(layout, tile, (group, s), quarter) };
                for (totals, q) in totals.iter_mut().zip(q) {
                    let total = &mut totals[t][quarter];
                    *total = match s {
                        0 => dot::<0>(*total, weights, q),
                        1 => dot::<1>(*total, weights, q),
                        2 => dot::<2>(*total, weights, q),
                        _ => dot::<3>(*total, weights, q),
                    };
                }
            }
        }
    }
}

/// Weights of step `s` of a group for four columns: codes as they are, bytes less 128.
///
/// # Safety
/// NEON is there, and `tile` has that step in this layout.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load(layout: Layout, tile: *const u8, (group, s): (usize, usize), quarter: usize) -> int8x16_t {
    // SAFETY: the caller's promise.
    let loaded = unsafe { vld1q_u8(tile.add(layout.at(group, s) + quarter * LANES * DEPTH)) };
    let lowered = match s {
        0 => loaded,
        1 => vshrq_n_u8::<2>(loaded),
        2 => vshrq_n_u8::<4>(loaded),
        _ => vshrq_n_u8::<6>(loaded),
    };
    vreinterpretq_s8_u8(match layout {
        Layout::Steps => loaded,
        Layout::Tiles => veorq_u8(loaded, vdupq_n_u8(0x80)),
        Layout::TwoBit => vandq_u8(lowered, vdupq_n_u8(3)),
    })
}

/// `sums[j] += Σ_i weights[4j + i]·q[4S + i]`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot<const S: i32>(sums: int32x4_t, weights: int8x16_t, q: int8x16_t) -> int32x4_t {
    let mut sums = sums;
    // SAFETY: one instruction on registers, which the function is compiled for.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {q:v}.4b[{s}]",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            q = in(vreg) q,
            s = const S,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
