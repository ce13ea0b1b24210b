//! `*-bfp16-*`: block floating point. Within a block of K each lane (a row of A, a column of B) is rounded to integer
//! codes with one factor, and codes are multiplied and summed exactly in i32 by instructions for pairs of 16-bit numbers,
//! twice as fast as single precision. int8 operands are codes already and lose nothing.
//!
//! Two floats are rounded to 12 bits and a sign each, in blocks of at most 128 of K; a float beside an int8 operand to 15 bits
//! and a sign, in blocks of at most 384: so no sum can overflow. The error of an element is at most half a step, 1/8190
//! or 1/65534 of the largest magnitude of its lane in the block. All kernels give the same bits.

use super::kernel::{Ahead, Arithmetic, GemmKernel, Strided, Tile};
use super::pack::{Factors, Panel, Source, Typed};
use super::view::View;
use crate::isa::Isa;
use crate::multiversion;
use crate::quantize::ROUNDER;

/// Depths packed at a time.
pub(super) const STRIP: usize = 64;
/// Most lanes of a panel.
const WIDTH_MAX: usize = 32;
/// Lanes measured at a time: four 512-bit registers.
const LANES: usize = 64;
/// Magnitudes below are taken for zero: their codes' factor would not be finite.
const SMALLEST: f32 = 1e-30;

/// Multiplies panels of codes in registers.
pub trait Integer: GemmKernel {
    /// The name of the block-floating-point kernel.
    const NAME: &'static str;

    /// As [`GemmKernel::multiply`], of panels of codes.
    ///
    /// # Safety
    /// As there.
    unsafe fn multiply_codes(&self, a: &[f32], b: &[f32], tile: Tile, ahead: &mut Ahead);

    /// Packs a panel of floats whose depths adjoin.
    ///
    /// # Safety
    /// The machine has the kernel's instructions.
    unsafe fn transpose_floats(&self, panel: &Panel, source: &Source<f32>, packed: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe { transpose(self, panel, source, packed) }
    }

    /// Packs a panel of floats whose lanes adjoin.
    ///
    /// # Safety
    /// The machine has the kernel's instructions.
    unsafe fn pair_floats(&self, panel: &Panel, source: &Source<f32>, packed: &mut [f32]) {
        pair_floats(panel, source, packed);
    }

    /// Packs a panel of codes whose lanes adjoin.
    ///
    /// # Safety
    /// The machine has the kernel's instructions.
    unsafe fn pair_codes(&self, source: &Source<i8>, packed: &mut [f32]) {
        pair_codes(source, packed);
    }
}

/// Block floating point on the instructions of a single-precision kernel.
pub struct Bfp<K>(pub K);

impl<K: Integer> GemmKernel for Bfp<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn isa(&self) -> Isa {
        self.0.isa()
    }

    fn tile(&self) -> (usize, usize) {
        self.0.tile()
    }

    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::Bfp16
    }

    unsafe fn pack(&self, panel: &Panel, packed: &mut [f32]) {
        if panel.lanes.len() < panel.width || panel.depth.is_empty() {
            packed.fill(0.0);
        }
        if panel.lanes.is_empty() || panel.depth.is_empty() {
            return;
        }
        let (lanes_adjoin, depths_adjoin) = (panel.view.row_stride == 1, panel.view.col_stride == 1);
        match panel.resolve() {
            // SAFETY: the caller's promise.
            Typed::F32(source) if lanes_adjoin => unsafe { self.0.pair_floats(panel, &source, packed) },
            // SAFETY: the caller's promise.
            Typed::I8(source) if lanes_adjoin && panel.exact => unsafe { self.0.pair_codes(&source, packed) },
            // SAFETY: the caller's promise.
            Typed::F32(source) if depths_adjoin && panel.along.is_none() => unsafe {
                self.0.transpose_floats(panel, &source, packed);
            },
            Typed::F32(source) => gather(panel, packed, |lane, depth| source.value(lane, depth)),
            Typed::I8(source) if panel.exact => {
                let codes = Source { factors: Factors::NONE, ..source };
                gather(panel, packed, |lane, depth| codes.value(lane, depth));
            }
            Typed::I8(source) => gather(panel, packed, |lane, depth| source.value(lane, depth)),
        }
    }

    unsafe fn multiply(&self, a: &[f32], b: &[f32], tile: Tile, ahead: &mut Ahead) {
        // SAFETY: the caller's promise.
        unsafe { self.0.multiply_codes(a, b, tile, ahead) }
    }

    unsafe fn multiply_in_place(&self, _: Strided, _: Strided, _: usize, _: Tile) {
        unreachable!("codes are always packed");
    }
}

/// The codes of a few lanes, one lane after the other; two neighbours are a slot.
#[repr(align(64))]
struct Codes([i16; WIDTH_MAX * STRIP]);

/// Rounds lane after lane, and turns the slots as the single-precision kernel turns floats.
///
/// # Safety
/// The machine has the kernel's instructions.
unsafe fn transpose<K: Integer + ?Sized>(
    kernel: &K,
    panel: &Panel,
    source: &Source<f32>,
    packed: &mut [f32],
) {
    let slots = source.depth.div_ceil(2);
    let mut codes = Codes([0; WIDTH_MAX * STRIP]);
    for (lane, codes) in codes.0.chunks_exact_mut(2 * slots).take(source.lanes).enumerate() {
        let values = &source.data[lane * source.lane_stride..][..source.depth];
        round(values, panel.steps[lane], &mut codes[..source.depth]);
    }
    let len = source.lanes * slots;
    // SAFETY: two i16 have the size of an f32, the array is aligned for it, and any bits are a value of either.
    let slots_of_lanes = unsafe { std::slice::from_raw_parts(codes.0.as_ptr().cast::<f32>(), len) };
    let view = View::f32(slots_of_lanes, source.lanes, slots);
    let turned = Panel { lanes: 0..source.lanes, depth: 0..slots, ..Panel::plain(view, panel.width) };
    // SAFETY: the caller's promise.
    unsafe { kernel.pack(&turned, packed) }
}

/// How deep a block of K may be, and the largest codes of A and B.
pub(super) struct Levels {
    pub depth: usize,
    pub a: f32,
    pub b: f32,
}

impl Levels {
    /// For operands that are codes without a factor along K, or not.
    pub fn of(a_is_exact: bool, b_is_exact: bool) -> Self {
        // 2⁷ · 2⁷ · 384, 2⁷ · 2¹⁵ · 384 and 2¹² · 2¹² · 128 are all less than 2³¹.
        match (a_is_exact, b_is_exact) {
            (true, true) => Self { depth: 384, a: 128.0, b: 128.0 },
            (true, false) => Self { depth: 384, a: 128.0, b: 32767.0 },
            (false, true) => Self { depth: 384, a: 32767.0, b: 128.0 },
            (false, false) => Self { depth: 128, a: 4095.0, b: 4095.0 },
        }
    }
}

/// Writes what one step of the codes of each lane of a block is worth to `units`, and its inverse to `steps`.
/// A lane with a value that is not finite has a unit that is not finite either.
pub(super) fn measure(panel: &Panel, largest: f32, units: &mut [f32], steps: &mut [f32]) {
    let typed = panel.resolve();
    if let (true, Typed::I8(source)) = (panel.exact, &typed) {
        units.iter_mut().enumerate().for_each(|(lane, unit)| *unit = source.factors.lane(lane));
        return steps.fill(1.0);
    }
    let magnitudes = &mut *steps;
    magnitudes.fill(0.0);
    let (lanes_adjoin, depths_adjoin) = (panel.view.row_stride == 1, panel.view.col_stride == 1);
    match typed {
        Typed::F32(source) if lanes_adjoin => {
            let along = panel.along.map_or(&[][..], |along| &along[panel.depth.clone()]);
            raise_rows(source.data, (source.depth, source.depth_stride), along, magnitudes);
        }
        Typed::F32(source) if depths_adjoin && panel.along.is_none() => {
            for (lane, magnitude) in magnitudes.iter_mut().enumerate() {
                *magnitude = largest_of(&source.data[lane * source.lane_stride..][..source.depth]);
            }
        }
        Typed::F32(source) => survey(panel, magnitudes, |lane, depth| source.value(lane, depth)),
        Typed::I8(source) => survey(panel, magnitudes, |lane, depth| source.value(lane, depth)),
    }
    for (unit, step) in units.iter_mut().zip(steps) {
        let magnitude = *step;
        (*unit, *step) =
            if magnitude < SMALLEST { (0.0, 0.0) } else { (magnitude / largest, largest / magnitude) };
    }
}

/// [`measure`]s magnitudes whatever the strides.
fn survey(panel: &Panel, magnitudes: &mut [f32], value: impl Fn(usize, usize) -> f32) {
    for (lane, magnitude) in magnitudes.iter_mut().enumerate() {
        for depth in 0..panel.depth.len() {
            *magnitude = larger(*magnitude, value(lane, depth) * panel.along(depth));
        }
    }
}

/// Packs whatever the strides.
fn gather(panel: &Panel, packed: &mut [f32], value: impl Fn(usize, usize) -> f32) {
    for (slot, row) in packed.chunks_exact_mut(panel.width).enumerate() {
        for (lane, slot_of_lane) in row[..panel.lanes.len()].iter_mut().enumerate() {
            let code = |depth| {
                let there = depth < panel.depth.len();
                if there { nearest(value(lane, depth) * (panel.steps[lane] * panel.along(depth))) } else { 0 }
            };
            *slot_of_lane = slot_of(code(2 * slot), code(2 * slot + 1));
        }
    }
}

/// Packs a panel of floats whose lanes adjoin.
fn pair_floats(panel: &Panel, source: &Source<f32>, packed: &mut [f32]) {
    for (slot, row) in packed.chunks_exact_mut(panel.width).enumerate() {
        let values = |depth: usize| &source.data[depth * source.depth_stride..][..source.lanes];
        let first = (values(2 * slot), panel.along(2 * slot));
        // The depth beyond the last counts for nothing.
        let second = if 2 * slot + 1 < source.depth {
            (values(2 * slot + 1), panel.along(2 * slot + 1))
        } else {
            (first.0, 0.0)
        };
        round_pairs(first.0, first.1, second.0, second.1, panel.steps, row);
    }
}

/// Packs a panel of codes whose lanes adjoin.
fn pair_codes(source: &Source<i8>, packed: &mut [f32]) {
    for (slot, row) in packed.chunks_exact_mut(source.width).enumerate() {
        let codes = |depth: usize| &source.data[depth * source.depth_stride..][..source.lanes];
        let second = if 2 * slot + 1 < source.depth { codes(2 * slot + 1) } else { &[] };
        pair(codes(2 * slot), second, row);
    }
}

/// The nearest integer of a number below 2²² in magnitude, in the low bits; half to even.
#[inline(always)]
fn nearest(x: f32) -> u32 {
    (x + ROUNDER).to_bits()
}

/// The larger magnitude; NaN is larger than infinity. `most` is not negative.
#[inline(always)]
fn larger(most: f32, x: f32) -> f32 {
    f32::from_bits(x.abs().to_bits().max(most.to_bits()))
}

/// The codes of two neighbouring depths in one slot.
#[inline(always)]
fn slot_of(first: u32, second: u32) -> f32 {
    f32::from_bits(first & 0xffff | second << 16)
}

multiversion! {
    /// `codes = round(x · step)`.
    fn round(x: &[f32], step: f32, codes: &mut [i16]) {
        assert_eq!(x.len(), codes.len());
        for (x, code) in x.iter().zip(codes) {
            *code = nearest(x * step) as i16;
        }
    }

    /// The slots of two depths, `round(x · (steps · along))`.
    fn round_pairs(a: &[f32], along_a: f32, b: &[f32], along_b: f32, steps: &[f32], slots: &mut [f32]) {
        let n = a.len();
        let (b, steps, slots) = (&b[..n], &steps[..n], &mut slots[..n]);
        for i in 0..n {
            slots[i] = slot_of(nearest(a[i] * (steps[i] * along_a)), nearest(b[i] * (steps[i] * along_b)));
        }
    }

    /// The slots of two depths; `b` may be empty.
    fn pair(a: &[i8], b: &[i8], slots: &mut [f32]) {
        if b.is_empty() {
            slots.iter_mut().zip(a).for_each(|(slot, a)| *slot = slot_of(*a as u32, 0));
        }
        for ((slot, a), b) in slots.iter_mut().zip(a).zip(b) {
            *slot = slot_of(*a as u32, *b as u32);
        }
    }

    /// `magnitudes = max |x · along|` over `depth` rows, `stride` apart, of as many lanes; no `along` is 1.
    fn raise_rows(x: &[f32], rows: (usize, usize), along: &[f32], magnitudes: &mut [f32]) {
        let (depth, stride) = rows;
        for (chunk, magnitudes) in magnitudes.chunks_mut(LANES).enumerate() {
            let mut most = [0.0; LANES];
            let lanes = magnitudes.len();
            for d in 0..depth {
                let row = &x[d * stride + chunk * LANES..][..lanes];
                let factor = if along.is_empty() { 1.0 } else { along[d] };
                // The same twice: with a known length the lanes stay in registers.
                if let Ok(row) = <&[f32; LANES]>::try_from(row) {
                    most.iter_mut().zip(row).for_each(|(most, x)| *most = larger(*most, x * factor));
                } else {
                    most.iter_mut().zip(row).for_each(|(most, x)| *most = larger(*most, x * factor));
                }
            }
            magnitudes.copy_from_slice(&most[..lanes]);
        }
    }

    /// `max |x|`; NaN is larger than infinity.
    fn largest_of(x: &[f32]) -> f32 {
        x.iter().fold(0.0, |most, x| larger(most, *x))
    }
}
