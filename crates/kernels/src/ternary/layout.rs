//! Where a panel's weights lie, for the kernels that read all three forms with one loop.

use super::two_bit::{GROUP_BYTES, TILES, tile_len};
use super::{DEPTH, STEP, bytes};

/// How a panel keeps its weights.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    /// one byte each, a step of all columns after the other
    Steps,
    /// one byte each, a tile after the other
    Tiles,
    /// two bits each, a tile after the other
    TwoBit,
}

impl Layout {
    /// Bytes of a panel of `k`.
    pub(super) fn panel_len(self, k: usize) -> usize {
        match self {
            Layout::Steps => k.div_ceil(DEPTH) * STEP,
            Layout::Tiles | Layout::TwoBit => TILES * self.tile_stride(k),
        }
    }

    /// Bytes from one tile to the next.
    pub(super) fn tile_stride(self, k: usize) -> usize {
        match self {
            Layout::Steps => bytes::STEP,
            Layout::Tiles => bytes::tile_len(k),
            Layout::TwoBit => tile_len(k),
        }
    }

    /// Where step `s` of a group lies in its tile; at two bits, the four steps of a group share their bytes.
    #[inline(always)]
    pub(super) fn at(self, group: usize, s: usize) -> usize {
        match self {
            Layout::Steps => (4 * group + s) * STEP,
            Layout::Tiles => (4 * group + s) * bytes::STEP,
            Layout::TwoBit => group * GROUP_BYTES,
        }
    }
}
