//! The tile programs: assembly text that the compiler assembles and the tests interpret, so that both run the same
//! instructions; and what they read and write.
//!
//! A program configures the tiles, adds all its products to the sums in memory and releases the tiles: nothing lives in
//! them between two calls.

use std::arch::asm;

/// Rows of a tile.
pub(super) const TILE_ROWS: usize = 16;
/// k of a tile: 64 bytes a row.
pub(super) const TILE_K: usize = 64;
/// Bytes of a tile.
pub(super) const TILE_BYTES: usize = TILE_ROWS * TILE_K;
/// Bytes from one row of sums to the next.
const C_STRIDE: usize = super::PANEL * size_of::<i32>();

/// What `ldtilecfg` reads: palette 1, and bytes a row and rows of each tile. Sums are tiles 0–3, activations 4 and 5,
/// weights 6 and 7 (Intel SDM volume 1, table 18-2).
#[repr(C, align(64))]
pub(super) struct Config {
    pub palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    pub row_bytes: [u16; 16],
    pub rows: [u8; 16],
}

impl Config {
    /// For 1 to 32 rows of activations: the upper ones in the tiles of the first row, those beyond 16 in the second's.
    pub(super) fn new(rows: usize) -> Self {
        let upper = rows.min(TILE_ROWS) as u8;
        // One row of tiles has all four tiles of sums.
        let lower = if rows > TILE_ROWS { (rows - TILE_ROWS) as u8 } else { upper };
        let (mut row_bytes, mut of) = ([0; 16], [0; 16]);
        row_bytes[..8].fill(TILE_K as u16);
        of[..8].copy_from_slice(&[upper, upper, lower, lower, upper, lower, 16, 16]);
        Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows: of }
    }
}

/// Which block of tiles of sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// 17 to 32 rows, 32 columns
    TwoByTwo,
    /// up to 16 rows, 64 columns
    OneByFour,
}

/// What a program reads and writes; pointers and strides in bytes.
pub(super) struct Operands<'a> {
    pub config: &'a Config,
    /// sums of the first and of the seventeenth row
    pub c: [*mut i32; 2],
    /// activations of the first and of the seventeenth row
    pub a: [*const i8; 2],
    pub a_stride: usize,
    /// weights of up to four tiles side by side
    pub b: [*const u8; 4],
    pub b_stride: usize,
    /// tiles along k, at least one
    pub steps: usize,
}

impl<'a> Operands<'a> {
    /// Of a block of sums `c`, activations `(first, stride)`, and weights `(first tile, distance of tiles, stride)`.
    pub(super) fn new(
        config: &'a Config,
        c: *mut i32,
        (a, a_stride): (*const i8, usize),
        (b, tile, b_stride): (*const u8, usize, usize),
        steps: usize,
    ) -> Self {
        Self {
            config,
            c: [c, c.wrapping_byte_add(TILE_ROWS * C_STRIDE)],
            a: [a, a.wrapping_add(TILE_ROWS * a_stride)],
            a_stride,
            b: std::array::from_fn(|t| b.wrapping_add(t * tile)),
            b_stride,
            steps,
        }
    }
}

macro_rules! lines {
    ($($line:literal)*) => { concat!($($line, "\n"),*) };
}

/// 2 × 2 tiles of sums: 4 loads for 4 products.
macro_rules! two_by_two {
    () => {
        lines! {
            "ldtilecfg [{config}]"
            "tileloadd tmm0, [{c0} + {c_stride}*1]"
            "tileloadd tmm1, [{c0} + {c_stride}*1 + 64]"
            "tileloadd tmm2, [{c1} + {c_stride}*1]"
            "tileloadd tmm3, [{c1} + {c_stride}*1 + 64]"
            "2:"
            "tileloadd tmm4, [{a0} + {a_stride}*1]"
            "tileloadd tmm6, [{b0} + {b_stride}*1]"
            "tdpbsud tmm0, tmm4, tmm6"
            "tileloadd tmm7, [{b1} + {b_stride}*1]"
            "tdpbsud tmm1, tmm4, tmm7"
            "tileloadd tmm5, [{a1} + {a_stride}*1]"
            "tdpbsud tmm2, tmm5, tmm6"
            "tdpbsud tmm3, tmm5, tmm7"
            "add {a0}, 64"
            "add {a1}, 64"
            "add {b0}, {b_step}"
            "add {b1}, {b_step}"
            "dec {steps}"
            "jnz 2b"
            "tilestored [{c0} + {c_stride}*1], tmm0"
            "tilestored [{c0} + {c_stride}*1 + 64], tmm1"
            "tilestored [{c1} + {c_stride}*1], tmm2"
            "tilestored [{c1} + {c_stride}*1 + 64], tmm3"
            "tilerelease"
        }
    };
}

/// 1 × 4 tiles of sums: 5 loads for 4 products, but four sums that do not wait for each other.
macro_rules! one_by_four {
    () => {
        lines! {
            "ldtilecfg [{config}]"
            "tileloadd tmm0, [{c0} + {c_stride}*1]"
            "tileloadd tmm1, [{c0} + {c_stride}*1 + 64]"
            "tileloadd tmm2, [{c0} + {c_stride}*1 + 128]"
            "tileloadd tmm3, [{c0} + {c_stride}*1 + 192]"
            "2:"
            "tileloadd tmm4, [{a0} + {a_stride}*1]"
            "tileloadd tmm6, [{b0} + {b_stride}*1]"
            "tdpbsud tmm0, tmm4, tmm6"
            "tileloadd tmm7, [{b1} + {b_stride}*1]"
            "tdpbsud tmm1, tmm4, tmm7"
            "tileloadd tmm6, [{b2} + {b_stride}*1]"
            "tdpbsud tmm2, tmm4, tmm6"
            "tileloadd tmm7, [{b3} + {b_stride}*1]"
            "tdpbsud tmm3, tmm4, tmm7"
            "add {a0}, 64"
            "add {b0}, {b_step}"
            "add {b1}, {b_step}"
            "add {b2}, {b_step}"
            "add {b3}, {b_step}"
            "dec {steps}"
            "jnz 2b"
            "tilestored [{c0} + {c_stride}*1], tmm0"
            "tilestored [{c0} + {c_stride}*1 + 64], tmm1"
            "tilestored [{c0} + {c_stride}*1 + 128], tmm2"
            "tilestored [{c0} + {c_stride}*1 + 192], tmm3"
            "tilerelease"
        }
    };
}

/// A program's text and the values of its operands, for the tests' interpreter.
#[cfg(test)]
pub(super) fn listing(program: Program, operands: &Operands) -> (&'static str, Vec<(&'static str, usize)>) {
    let Operands { config, c, a, a_stride, b, b_stride, steps } = operands;
    let text = match program {
        Program::TwoByTwo => two_by_two!(),
        Program::OneByFour => one_by_four!(),
    };
    let values = vec![
        ("config", std::ptr::from_ref::<Config>(config) as usize),
        ("c0", c[0] as usize),
        ("c1", c[1] as usize),
        ("c_stride", C_STRIDE),
        ("a0", a[0] as usize),
        ("a1", a[1] as usize),
        ("a_stride", *a_stride),
        ("b0", b[0] as usize),
        ("b1", b[1] as usize),
        ("b2", b[2] as usize),
        ("b3", b[3] as usize),
        ("b_stride", *b_stride),
        ("b_step", TILE_ROWS * b_stride),
        ("steps", *steps),
    ];
    (text, values)
}

/// Runs a program on the processor.
///
/// # Safety
/// AMX int8 is there and the system permits its use. With the rows of the configuration, sums of them, 64·steps bytes of
/// each row of activations, and 16·steps rows of 64 bytes of each tile of weights that the program uses can be accessed.
pub(super) unsafe fn run(program: Program, operands: &Operands) {
    let Operands { config, c, a, a_stride, b, b_stride, steps } = *operands;
    let b_step = TILE_ROWS * b_stride;
    // SAFETY: the caller's promise; tiles are released at the end.
    unsafe {
        match program {
            Program::TwoByTwo => asm!(
                two_by_two!(),
                config = in(reg) config,
                c0 = in(reg) c[0], c1 = in(reg) c[1], c_stride = in(reg) C_STRIDE,
                a0 = inout(reg) a[0] => _, a1 = inout(reg) a[1] => _, a_stride = in(reg) a_stride,
                b0 = inout(reg) b[0] => _, b1 = inout(reg) b[1] => _, b_stride = in(reg) b_stride,
                b_step = in(reg) b_step, steps = inout(reg) steps => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            ),
            Program::OneByFour => asm!(
                one_by_four!(),
                config = in(reg) config,
                c0 = in(reg) c[0], c_stride = in(reg) C_STRIDE,
                a0 = inout(reg) a[0] => _, a_stride = in(reg) a_stride,
                b0 = inout(reg) b[0] => _, b1 = inout(reg) b[1] => _, b2 = inout(reg) b[2] => _,
                b3 = inout(reg) b[3] => _, b_stride = in(reg) b_stride,
                b_step = in(reg) b_step, steps = inout(reg) steps => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            ),
        }
    }
}
