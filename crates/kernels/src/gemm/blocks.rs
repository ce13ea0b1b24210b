//! Products of small blocks of floats, read where they lie: in attention, whose blocks are 64 deep or wide, packing both operands
//! would take as long as multiplying them.

use std::ops::Range;

use super::kernel::{Arithmetic, GemmKernel, Strided, Tile, select};
use super::pack::Panel;
use super::view::{Data, View};

/// Elements from row to row of an A whose depths adjoin: being a constant, it lets the register kernels address all rows
/// of a tile from one register.
pub const STRIDE: usize = 64;

/// What of a block of C is wanted, for some of its rows.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The depths of K to sum over.
    pub depths: Range<usize>,
    /// The columns that matter; what the others hold afterwards is not defined.
    pub cols: Range<usize>,
}

/// Multiplies blocks on the calling thread, without buffers of its own.
#[derive(Clone, Copy)]
pub struct Blocks(&'static dyn GemmKernel);

impl Default for Blocks {
    /// On the best kernel of this machine.
    fn default() -> Blocks {
        Blocks(select(Arithmetic::F32))
    }
}

impl Blocks {
    /// On a single-precision kernel of [`super::KERNELS`].
    ///
    /// # Panics
    /// If this machine lacks the kernel's instructions, or it multiplies codes.
    pub fn with_kernel(kernel: &'static dyn GemmKernel) -> Blocks {
        assert!(kernel.isa().is_supported(), "this machine cannot run {}", kernel.name());
        assert_eq!(kernel.arithmetic(), Arithmetic::F32, "{} multiplies codes", kernel.name());
        Blocks(kernel)
    }

    /// Writes `x` (R, C) transposed to `out` (C, width): `width` is at least R, and what is beyond R becomes 0.
    ///
    /// # Panics
    /// If `x` does not fit its slice, or `out` is not (C, width).
    pub fn transpose(&self, x: View, width: usize, out: &mut [f32]) {
        x.check();
        assert!(x.rows <= width && out.len() == x.cols * width, "({}, {width}) is not `out`", x.cols);
        // SAFETY: the kernel's instructions are there.
        unsafe { self.0.pack(&Panel::plain(x, width), out) }
    }

    /// Rows of a panel of [`Blocks::panels`].
    pub fn panel_rows(&self) -> usize {
        self.0.tile().0
    }

    /// Floats that `rows` rows of `cols` take in panels.
    pub fn panels_len(&self, rows: usize, cols: usize) -> usize {
        rows.next_multiple_of(self.panel_rows()) * cols
    }

    /// Packs `x` (R, C) into `out`: panels of so many rows, column after column of each.
    ///
    /// # Panics
    /// If `x` does not fit its slice, or `out` is shorter than [`Blocks::panels_len`].
    pub fn panels(&self, x: View, out: &mut [f32]) {
        x.check();
        let (len, width) = (self.panels_len(x.rows, x.cols), self.panel_rows());
        for (index, out) in out[..len].chunks_exact_mut((width * x.cols).max(1)).enumerate() {
            let lanes = index * width..x.rows.min((index + 1) * width);
            let panel = Panel { lanes, ..Panel::plain(x, width) };
            // SAFETY: the kernel's instructions are there.
            unsafe { self.0.pack(&panel, out) }
        }
    }

    /// C (+)= A·B of floats: `a` (M, K) with rows that adjoin, or columns that adjoin and rows [`STRIDE`] apart; `b` (K, N) with
    /// columns that adjoin; `c` (M, N) with `ldc` elements from row to row. Of each few rows only what is `wanted` is
    /// computed. Without `accumulate` C is overwritten.
    ///
    /// # Panics
    /// If the operands lie otherwise, or shapes do not fit each other or their slices.
    pub fn multiply(
        &self,
        a: View,
        b: View,
        (c, ldc): (&mut [f32], usize),
        accumulate: bool,
        wanted: impl Fn(Range<usize>) -> Wanted,
    ) {
        a.check();
        let Data::F32(data) = a.data else { panic!("blocks are of floats") };
        assert!(a.row_stride == 1 || a.col_stride == 1 && a.row_stride == STRIDE, "A lies otherwise");
        let (lane, depth) = (a.row_stride, a.col_stride);
        let rows_from = |row| Strided { first: data.as_ptr().wrapping_add(row * lane), lane, depth };
        self.tiles((a.rows, a.cols), rows_from, b, Out { c, ldc, accumulate }, wanted);
    }

    /// [`Blocks::multiply`] of an A (M, K) in [`Blocks::panels`].
    ///
    /// # Panics
    /// As [`Blocks::multiply`].
    pub fn multiply_panels(
        &self,
        (a, m, k): (&[f32], usize, usize),
        b: View,
        (c, ldc): (&mut [f32], usize),
        wanted: impl Fn(Range<usize>) -> Wanted,
    ) {
        assert!(a.len() >= self.panels_len(m, k), "A is shorter than ({m}, {k})");
        let rows_from =
            |row| Strided { first: a.as_ptr().wrapping_add(row * k), lane: 1, depth: self.panel_rows() };
        self.tiles((m, k), rows_from, b, Out { c, ldc, accumulate: false }, wanted);
    }

    /// Computes tile after tile; `rows_from` a row on A has `m` rows of `k`, within its slice.
    fn tiles(
        &self,
        (m, k): (usize, usize),
        rows_from: impl Fn(usize) -> Strided,
        b: View,
        out: Out,
        wanted: impl Fn(Range<usize>) -> Wanted,
    ) {
        b.check();
        let (n, Out { c, ldc, accumulate }) = (b.cols, out);
        let Data::F32(b_data) = b.data else { panic!("blocks are of floats") };
        assert_eq!(k, b.rows, "A has {k} columns, B has {} rows", b.rows);
        assert!(b.col_stride == 1, "B lies otherwise");
        assert!(m == 0 || n <= ldc && (m - 1) * ldc + n <= c.len(), "C is smaller than ({m}, {n})");
        let (mr, nr) = self.0.tile();
        // A panel of B stays in the nearest cache while the rows of A pass by.
        for col in (0..n).step_by(nr) {
            for row in (0..m).step_by(mr) {
                let rows = row..m.min(row + mr);
                let Wanted { depths, cols } = wanted(rows.clone());
                assert!(depths.end <= k, "more is wanted than there is");
                if cols.start >= col + nr || cols.end <= col {
                    continue;
                }
                let a = rows_from(row);
                let a = Strided { first: a.first.wrapping_add(depths.start * a.depth), ..a };
                let first = b_data.as_ptr().wrapping_add(depths.start * b.row_stride + col);
                let b = Strided { first, lane: b.col_stride, depth: b.row_stride };
                let c = c.as_mut_ptr().wrapping_add(row * ldc + col);
                let (rows, cols) = (rows.len(), nr.min(n - col));
                let tile = Tile { c, stride: ldc, rows, cols, accumulate, next: c, units: (&[], &[]) };
                // SAFETY: the callers and the assertions found all lanes and depths of the tile inside the slices, and C is
                // borrowed for writing.
                unsafe { self.0.multiply_in_place(a, b, depths.len(), tile) }
            }
        }
    }
}

struct Out<'a> {
    c: &'a mut [f32],
    ldc: usize,
    accumulate: bool,
}
