//! How a matrix lies in memory: f32 or int8 codes with scales, any strides.

use std::ops::Range;

use super::kernel::Runs;

/// The elements behind a [`View`].
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// Plain single precision.
    F32(&'a [f32]),
    /// Element (i, j) is `codes[…]` times the scale of its row or column.
    I8 {
        /// The integer codes.
        codes: &'a [i8],
        /// What one step of a code is worth.
        scale: Scale<'a>,
    },
}

/// The factor from integer codes to values.
#[derive(Clone, Copy, Debug)]
pub enum Scale<'a> {
    /// One factor for the whole matrix.
    One(f32),
    /// A factor for each row of the view.
    PerRow(&'a [f32]),
    /// A factor for each column of the view; transposing a view turns rows into columns.
    PerCol(&'a [f32]),
}

/// A matrix to be read: element (i, j) lies at `i·row_stride + j·col_stride`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The elements.
    pub data: Data<'a>,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements from one row to the next.
    pub row_stride: usize,
    /// Elements from one column to the next.
    pub col_stride: usize,
}

impl<'a> View<'a> {
    /// A contiguous row-major (rows, cols) matrix.
    pub fn f32(data: &'a [f32], rows: usize, cols: usize) -> View<'a> {
        View { data: Data::F32(data), rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// A contiguous row-major (rows, cols) matrix of codes; `Scale::PerRow` holds `rows` factors.
    pub fn i8(codes: &'a [i8], scale: Scale<'a>, rows: usize, cols: usize) -> View<'a> {
        View { data: Data::I8 { codes, scale }, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The same elements with other strides, as for a block of columns of a wider matrix.
    pub fn strided(self, row_stride: usize, col_stride: usize) -> View<'a> {
        View { row_stride, col_stride, ..self }
    }

    /// The transposed matrix.
    pub fn t(self) -> View<'a> {
        let data = match self.data {
            Data::I8 { codes, scale: Scale::PerRow(s) } => Data::I8 { codes, scale: Scale::PerCol(s) },
            Data::I8 { codes, scale: Scale::PerCol(s) } => Data::I8 { codes, scale: Scale::PerRow(s) },
            other => other,
        };
        View {
            data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// Panics unless every element and scale lies within its slice.
    pub(super) fn check(&self) {
        if self.rows == 0 || self.cols == 0 {
            return;
        }
        let down = (self.rows - 1).checked_mul(self.row_stride);
        let along = (self.cols - 1).checked_mul(self.col_stride);
        let last = down.zip(along).and_then(|(d, a)| d.checked_add(a));
        let (len, scales) = match self.data {
            Data::F32(data) => (data.len(), true),
            Data::I8 { codes, scale } => (codes.len(), self.has_scales(scale)),
        };
        assert!(last.is_some_and(|last| last < len), "{len} elements are too few for {}", self.shape());
        assert!(scales, "too few scales for {}", self.shape());
    }

    /// Takes the factors along its columns, if it has any, away, for the other operand to carry.
    pub(super) fn hand_over(&mut self, along: &mut Option<&'a [f32]>) {
        if let Data::I8 { codes, scale: Scale::PerCol(factors) } = self.data {
            self.data = Data::I8 { codes, scale: Scale::One(1.0) };
            *along = Some(factors);
        }
    }

    /// Whether the elements are int8 codes with at most a factor for each row.
    pub(super) fn is_codes(&self) -> bool {
        matches!(self.data, Data::I8 { scale: Scale::One(_) | Scale::PerRow(_), .. })
    }

    /// The memory of a block, for fetching it in advance.
    pub(super) fn ahead(&self, rows: Range<usize>, cols: Range<usize>) -> Runs {
        let first = rows.start * self.row_stride + cols.start * self.col_stride;
        let (run, size) = match self.data {
            Data::F32(data) => (data.as_ptr().wrapping_add(first).cast::<u8>(), size_of::<f32>()),
            Data::I8 { codes, .. } => (codes.as_ptr().wrapping_add(first).cast(), size_of::<i8>()),
        };
        if self.row_stride <= self.col_stride {
            Runs::new(run, self.col_stride * size, cols.len(), rows.len() * self.row_stride * size)
        } else {
            Runs::new(run, self.row_stride * size, rows.len(), cols.len() * self.col_stride * size)
        }
    }

    fn has_scales(&self, scale: Scale) -> bool {
        match scale {
            Scale::One(_) => true,
            Scale::PerRow(s) => s.len() >= self.rows,
            Scale::PerCol(s) => s.len() >= self.cols,
        }
    }

    fn shape(&self) -> String {
        format!("({}, {}) of strides {}, {}", self.rows, self.cols, self.row_stride, self.col_stride)
    }
}
