//! `scalar-f32-4x8`, `scalar-bfp16-4x8`: plain Rust, the yardstick of the others.

use super::bfp::Integer;
use super::kernel::{Ahead, Arithmetic, GemmKernel, Strided, Tile};
use super::pack::{Panel, Typed, gather};
use crate::isa::Isa;

const MR: usize = 4;
const NR: usize = 8;

/// The kernel of this file.
pub struct Scalar;

impl GemmKernel for Scalar {
    fn name(&self) -> &'static str {
        "scalar-f32-4x8"
    }

    fn isa(&self) -> Isa {
        Isa::Scalar
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
            Typed::F32(source) => gather(&source, packed),
            Typed::I8(source) => gather(&source, packed),
        }
    }

    unsafe fn multiply(&self, a: &[f32], b: &[f32], tile: Tile, _: &mut Ahead) {
        let mut sums = [[0.0f32; NR]; MR];
        for (a, b) in a.chunks_exact(MR).zip(b.chunks_exact(NR)) {
            for (sums, a) in sums.iter_mut().zip(a) {
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum += a * b;
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { write(&tile, |row, col| sums[row][col]) }
    }

    unsafe fn multiply_in_place(&self, a: Strided, b: Strided, depth: usize, tile: Tile) {
        let mut sums = [[0.0f32; NR]; MR];
        for d in 0..depth {
            for (row, sums) in sums.iter_mut().enumerate().take(tile.rows) {
                for (col, sum) in sums.iter_mut().enumerate().take(tile.cols) {
                    // SAFETY: the caller's promise.
                    *sum +=
                        unsafe { *a.first.add(row * a.lane + d * a.depth) * *b.first.add(col + d * b.depth) };
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { write(&tile, |row, col| sums[row][col]) }
    }
}

impl Integer for Scalar {
    const NAME: &'static str = "scalar-bfp16-4x8";

    unsafe fn multiply_codes(&self, a: &[f32], b: &[f32], tile: Tile, _: &mut Ahead) {
        let codes = |slot: &f32| [slot.to_bits() as i16, (slot.to_bits() >> 16) as i16].map(i32::from);
        let mut sums = [[0i32; NR]; MR];
        for (a, b) in a.chunks_exact(MR).zip(b.chunks_exact(NR)) {
            for (sums, a) in sums.iter_mut().zip(a.iter().map(codes)) {
                for (sum, b) in sums.iter_mut().zip(b.iter().map(codes)) {
                    *sum += a[0] * b[0] + a[1] * b[1];
                }
            }
        }
        let (rows, cols) = tile.units;
        // SAFETY: the caller's promise.
        unsafe { write(&tile, |row, col| sums[row][col] as f32 * rows[row] * cols[col]) }
    }
}

/// Writes or adds a tile's values.
///
/// # Safety
/// As [`GemmKernel::multiply`].
unsafe fn write(tile: &Tile, value: impl Fn(usize, usize) -> f32) {
    for row in 0..tile.rows {
        // SAFETY: the caller owns `rows` rows of `cols` elements, `stride` apart.
        let c = unsafe { std::slice::from_raw_parts_mut(tile.c.add(row * tile.stride), tile.cols) };
        for (col, c) in c.iter_mut().enumerate() {
            *c = if tile.accumulate { *c + value(row, col) } else { value(row, col) };
        }
    }
}
