//! `scalar-f32-4x8`: plain Rust, the yardstick of the others.

use super::kernel::{Ahead, GemmKernel, Tile};
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

    unsafe fn pack(&self, panel: &Panel, packed: &mut [f32]) {
        match panel.resolve(packed) {
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
        for (row, sums) in sums[..tile.rows].iter().enumerate() {
            // SAFETY: the caller owns `rows` rows of `cols` elements, `stride` apart.
            let c = unsafe { std::slice::from_raw_parts_mut(tile.c.add(row * tile.stride), tile.cols) };
            for (c, sum) in c.iter_mut().zip(sums) {
                *c = if tile.accumulate { *c + sum } else { *sum };
            }
        }
    }
}
