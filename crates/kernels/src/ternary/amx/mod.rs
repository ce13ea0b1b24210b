//! AMX int8: `tdpbsud` multiplies 16 rows of 64 signed activations by 64 unsigned weights of 16 columns at once. For eight
//! rows and more (prefill, batches); fewer go to AVX-512 VNNI, which reads two-bit weights as they lie.
//!
//! ```text
//! tiles, more than 16 rows: 2 × 2 of sums, 2 of activations, 2 of weights; else 1 × 4 of sums, 1 of activations, 1 of weights
//! a tile of weights is 16 steps of one tile of a panel: the layouts that VNNI reads are the one `tdpbsud` wants
//! ```
//!
//! **Never run on hardware by us yet.** The tests interpret the very instructions that are assembled ([`tiles`]) on a model
//! of the tile registers; and before its first use the kernel multiplies on the processor itself and compares with the
//! scalar kernel ([`detect`]): if it differs, AVX-512 VNNI is used.

mod detect;
#[cfg(test)]
mod model;
mod tiles;

use super::avx512vnni::Avx512Vnni;
use super::layout::Layout;
use super::two_bit::{TILE, TILES};
use super::{DEPTH, PANEL, TernaryKernel, bytes};
use tiles::{Config, Operands, Program, TILE_BYTES, TILE_K, TILE_ROWS};

/// Rows from which tiles are worth their loading: half of one.
const ROWS_MIN: usize = 8;
/// Rows of two tiles.
const ROWS: usize = 2 * TILE_ROWS;

/// The AMX kernel.
pub struct Amx;

impl TernaryKernel for Amx {
    fn name(&self) -> &'static str {
        "amx-i8-ternary"
    }

    fn is_supported(&self) -> bool {
        Avx512Vnni.is_supported() && detect::is_usable()
    }

    fn two_bit_rows_max(&self) -> usize {
        ROWS_MIN - 1
    }

    fn panel(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        match sums.len() < ROWS_MIN {
            true => Avx512Vnni.panel(packed, k, q, sums),
            false => self.multiply(Panel { packed, layout: Layout::Steps, k }, q, sums),
        }
    }

    fn panel_two_bit(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        Avx512Vnni.panel_two_bit(packed, k, q, sums);
    }

    fn panel_bytes(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        match sums.len() < ROWS_MIN {
            true => Avx512Vnni.panel_bytes(packed, k, q, sums),
            false => self.multiply(Panel { packed, layout: Layout::Tiles, k }, q, sums),
        }
    }
}

impl Amx {
    fn multiply(&self, panel: Panel, q: &[i8], sums: &mut [[i32; PANEL]]) {
        assert!(self.is_supported(), "this machine lacks AMX");
        // SAFETY: the instructions are there and permitted; `multiply` gives operands that fit its configuration.
        multiply(|program, operands| unsafe { tiles::run(program, operands) }, panel, q, sums);
    }
}

/// A panel of weights at one byte each, k deep.
#[derive(Clone, Copy)]
struct Panel<'a> {
    packed: &'a [u8],
    /// [`Layout::Steps`] or [`Layout::Tiles`]
    layout: Layout,
    k: usize,
}

impl Panel<'_> {
    /// Bytes from one step of four k to the next: what `tileloadd` calls the stride.
    fn step(&self) -> usize {
        self.layout.at(0, 1)
    }

    /// The weights behind the last whole tile, zeros behind them: four tiles of 16 steps.
    fn rest(&self) -> [[u8; TILE_BYTES]; TILES] {
        let mut rest = [[0; TILE_BYTES]; TILES];
        let from = self.k / TILE_K * TILE_K / DEPTH;
        for (t, tile) in rest.iter_mut().enumerate() {
            let steps = self.packed[t * self.layout.tile_stride(self.k)..].chunks(self.step()).skip(from);
            for (into, step) in
                tile.chunks_exact_mut(bytes::STEP).zip(steps.take(self.k.div_ceil(DEPTH) - from))
            {
                into.copy_from_slice(&step[..bytes::STEP]);
            }
        }
        rest
    }
}

/// Adds the products of rows `q (rows, k)` to `sums (rows, 64)`, by programs that `execute` runs: the processor, or in
/// tests the model. Its operands are always those that the program may read and write.
fn multiply(execute: impl Fn(Program, &Operands), panel: Panel, q: &[i8], sums: &mut [[i32; PANEL]]) {
    let Panel { packed, layout, k } = panel;
    assert!(packed.len() == layout.panel_len(k) && q.len() == sums.len() * k);
    let (whole, last) = (k / TILE_K, k % TILE_K);
    let rest = (last > 0).then(|| panel.rest());
    for (block, sums) in sums.chunks_mut(ROWS).enumerate() {
        let q = &q[block * ROWS * k..][..sums.len() * k];
        let (program, columns) =
            if sums.len() > TILE_ROWS { (Program::TwoByTwo, 2) } else { (Program::OneByFour, 4) };
        let config = Config::new(sums.len());
        let mut q_rest = [[0i8; TILE_K]; ROWS];
        for (into, q) in q_rest.iter_mut().zip(q.chunks_exact(k.max(1))) {
            into[..last].copy_from_slice(&q[whole * TILE_K..]);
        }
        for first in (0..TILES).step_by(columns) {
            let c = sums.as_mut_ptr().cast::<i32>().wrapping_add(first * TILE);
            if whole > 0 {
                let b = packed.as_ptr().wrapping_add(first * layout.tile_stride(k));
                let b = (b, layout.tile_stride(k), panel.step());
                execute(program, &Operands::new(&config, c, (q.as_ptr(), k), b, whole));
            }
            if let Some(rest) = &rest {
                let b = (rest[first].as_ptr(), TILE_BYTES, bytes::STEP);
                execute(program, &Operands::new(&config, c, (q_rest.as_ptr().cast(), TILE_K), b, 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scalar::Scalar;
    use super::*;
    use proptest::prelude::*;

    fn draw(len: usize, seed: &mut u64) -> Vec<u8> {
        let next = |_| {
            *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (*seed >> 33) as u8
        };
        (0..len).map(next).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]
        #[test]
        fn the_model_of_the_tiles_gives_the_scalar_sums(rows in 1usize..70, k in 0usize..300, seed: u64) {
            let mut seed = seed;
            let q: Vec<i8> = draw(rows * k, &mut seed).into_iter().map(|q| q as i8).collect();
            for layout in [Layout::Steps, Layout::Tiles] {
                let packed = draw(layout.panel_len(k), &mut seed);
                let mut expected = vec![[seed as i32; PANEL]; rows];
                let mut sums = expected.clone();
                match layout {
                    Layout::Steps => Scalar.panel(&packed, k, &q, &mut expected),
                    _ => Scalar.panel_bytes(&packed, k, &q, &mut expected),
                }
                multiply(model::run, Panel { packed: &packed, layout, k }, &q, &mut sums);
                prop_assert!(sums == expected);
            }
        }
    }

    #[test]
    fn it_steps_aside_when_a_product_is_wrong() {
        assert!(detect::agrees_with_scalar(model::run));
        let wrong = |program, operands: &Operands| {
            model::run(program, operands);
            // SAFETY: the first sum of the block.
            unsafe { *operands.c[0] += 1 };
        };
        assert!(!detect::agrees_with_scalar(wrong));
        assert!(!detect::agrees_with_scalar(|_, _| ()));
    }
}
