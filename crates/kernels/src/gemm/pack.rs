//! Packing: a block of an operand copied into micro-panels, the order in which the register kernels read.
//!
//! Both operands are seen as *lanes × depth*: the lanes of A are its rows, those of B its columns (B is packed as Bᵀ);
//! depth is K. A panel of `width` lanes becomes
//!
//! ```text
//! depth 0: lane 0, lane 1, … lane width−1
//! depth 1: lane 0, …
//! ```
//!
//! with zeros where the matrix has no more lanes. Codes become f32 here; in block floating point floats become codes
//! ([`super::bfp`]).

use std::ops::Range;

use super::view::{Data, Scale, View};

/// One micro-panel to be packed.
#[derive(Clone, Debug)]
pub struct Panel<'a> {
    /// The operand: rows are lanes, columns are depth.
    pub view: View<'a>,
    /// The lanes of the panel, at most `width`.
    pub lanes: Range<usize>,
    /// The depths of the panel.
    pub depth: Range<usize>,
    /// Lanes of a full panel.
    pub width: usize,
    /// Block floating point: the factor of each lane of the panel from values to codes.
    pub steps: &'a [f32],
    /// Block floating point: factors that the other operand handed over, one for each depth of the view.
    pub along: Option<&'a [f32]>,
    /// Block floating point: the elements are codes already, and stay as they are.
    pub exact: bool,
}

/// An element type that packing turns into f32.
pub(super) trait Element: Copy + Default {
    /// Whether it has factors. What has none is moved without arithmetic: a slot of codes may have the bits of a NaN.
    const SCALED: bool;

    fn value(self) -> f32;
}

impl Element for f32 {
    const SCALED: bool = false;

    #[inline(always)]
    fn value(self) -> f32 {
        self
    }
}

impl Element for i8 {
    const SCALED: bool = true;

    #[inline(always)]
    fn value(self) -> f32 {
        f32::from(self)
    }
}

/// The factors of a panel: one for all, and one for each lane or one for each depth.
#[derive(Clone, Copy)]
pub(super) struct Factors<'a> {
    pub all: f32,
    /// For lanes from the panel's first.
    pub lanes: Option<&'a [f32]>,
    /// For depths from the panel's first.
    pub depth: Option<&'a [f32]>,
}

impl Factors<'_> {
    pub const NONE: Self = Self { all: 1.0, lanes: None, depth: None };

    #[inline(always)]
    pub fn lane(&self, lane: usize) -> f32 {
        self.lanes.map_or(self.all, |s| s[lane])
    }

    #[inline(always)]
    pub fn depth(&self, depth: usize) -> f32 {
        self.depth.map_or(1.0, |s| s[depth])
    }
}

/// A panel of one element type, from its first element on.
#[derive(Clone, Copy)]
pub(super) struct Source<'a, T> {
    /// From the panel's first element to the end of the slice.
    pub data: &'a [T],
    pub factors: Factors<'a>,
    pub lanes: usize,
    pub depth: usize,
    pub lane_stride: usize,
    pub depth_stride: usize,
    pub width: usize,
}

impl<T: Element> Source<'_, T> {
    /// The element at (lane, depth), scaled.
    #[inline(always)]
    pub fn value(&self, lane: usize, depth: usize) -> f32 {
        let value = self.data[lane * self.lane_stride + depth * self.depth_stride].value();
        if T::SCALED { value * self.factors.lane(lane) * self.factors.depth(depth) } else { value }
    }
}

/// A panel resolved to its element type.
pub(super) enum Typed<'a> {
    F32(Source<'a, f32>),
    I8(Source<'a, i8>),
}

impl<'a> Panel<'a> {
    /// All of a matrix, lanes × depth, in one panel of single precision.
    pub(super) fn plain(view: View<'a>, width: usize) -> Self {
        let (lanes, depth) = (0..view.rows, 0..view.cols);
        Self { view, lanes, depth, width, steps: &[], along: None, exact: false }
    }

    /// The factor of a depth, counted from the panel's first.
    pub(super) fn along(&self, depth: usize) -> f32 {
        self.along.map_or(1.0, |along| along[self.depth.start + depth])
    }

    /// The panel by element type; checks the bounds of everything a packer will read.
    pub(super) fn resolve(&self) -> Typed<'a> {
        assert!(self.lanes.end <= self.view.rows && self.depth.end <= self.view.cols);
        assert!(self.lanes.len() <= self.width);
        match self.view.data {
            Data::F32(data) => Typed::F32(self.source(data, Factors::NONE)),
            Data::I8 { codes, scale } => Typed::I8(self.source(codes, self.factors(scale))),
        }
    }

    fn factors(&self, scale: Scale<'a>) -> Factors<'a> {
        match scale {
            Scale::One(all) => Factors { all, ..Factors::NONE },
            Scale::PerRow(s) => Factors { lanes: Some(&s[self.lanes.clone()]), ..Factors::NONE },
            Scale::PerCol(s) => Factors { depth: Some(&s[self.depth.clone()]), ..Factors::NONE },
        }
    }

    fn source<T>(&self, data: &'a [T], factors: Factors<'a>) -> Source<'a, T> {
        let View { row_stride, col_stride, .. } = self.view;
        let (lanes, depth) = (self.lanes.len(), self.depth.len());
        let data = if lanes == 0 || depth == 0 {
            &[]
        } else {
            let first = self.lanes.start * row_stride + self.depth.start * col_stride;
            let last = first + (lanes - 1) * row_stride + (depth - 1) * col_stride;
            &data[first..=last]
        };
        let width = self.width;
        Source { data, factors, lanes, depth, lane_stride: row_stride, depth_stride: col_stride, width }
    }
}

/// Packs element by element, whatever the strides.
#[inline(always)]
pub(super) fn gather<T: Element>(source: &Source<T>, packed: &mut [f32]) {
    for (depth, row) in packed.chunks_exact_mut(source.width).enumerate() {
        for (lane, to) in row[..source.lanes].iter_mut().enumerate() {
            *to = source.value(lane, depth);
        }
        row[source.lanes..].fill(0.0);
    }
}
