//! What a register kernel is, and the list of them.

use super::bfp;
use super::pack::Panel;
use crate::isa::Isa;

/// What a product is summed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// single precision
    F32,
    /// block floating point: 16-bit codes with a factor for each lane of a block of K, summed exactly in i32
    Bfp16,
}

impl Arithmetic {
    /// Bytes that an element of an operand takes when it is packed.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bfp16 => 2,
        }
    }
}

/// Packs panels and multiplies two of them in registers. Names are `{arch}-{type}-{MR}x{NR}`.
///
/// Packed elements are slots of four bytes: one f32, or the codes of two neighbouring depths, the first in the low half.
pub trait GemmKernel: Sync {
    /// The kernel's name.
    fn name(&self) -> &'static str;

    /// The instructions it needs.
    fn isa(&self) -> Isa;

    /// Rows and columns of C held in registers, (MR, NR): the widths of the panels of A and B.
    fn tile(&self) -> (usize, usize);

    /// What its products are summed in.
    fn arithmetic(&self) -> Arithmetic;

    /// Packs one panel into `packed` (slots of its depth, width).
    ///
    /// # Safety
    /// The machine has `self.isa()`.
    unsafe fn pack(&self, panel: &Panel, packed: &mut [f32]);

    /// C (+)= A·B for a panel `a` (slots, MR) and a panel `b` (slots, NR); fetches what is `ahead` on the way.
    ///
    /// # Safety
    /// The machine has `self.isa()`; `a` and `b` are whole panels of equal depth; the tile is at most (MR, NR) and nobody
    /// else reads or writes its elements.
    unsafe fn multiply(&self, a: &[f32], b: &[f32], tile: Tile, ahead: &mut Ahead);

    /// C (+)= A·B over `depth` for operands of floats that are not packed: the lanes of `b` adjoin; those of `a` adjoin, or are
    /// [`super::STRIDE`] apart. For kernels of single precision.
    ///
    /// # Safety
    /// The machine has `self.isa()`; the tile's rows are lanes of `a`, its columns lanes of `b`, readable over `depth`; the tile
    /// is at most (MR, NR) and nobody else reads or writes its elements.
    unsafe fn multiply_in_place(&self, a: Strided, b: Strided, depth: usize, tile: Tile);
}

/// An operand, lanes × depth, where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Strided {
    /// Its first element.
    pub first: *const f32,
    /// Elements from lane to lane.
    pub lane: usize,
    /// Elements from depth to depth.
    pub depth: usize,
}

/// The part of C that one register kernel writes.
#[derive(Clone, Copy, Debug)]
pub struct Tile<'a> {
    /// Its first element.
    pub c: *mut f32,
    /// Elements from one row to the next.
    pub stride: usize,
    /// Rows, at most MR.
    pub rows: usize,
    /// Columns, at most NR.
    pub cols: usize,
    /// Add to what is there (else overwrite).
    pub accumulate: bool,
    /// The first element of the tile after this one, whose lines are fetched meanwhile.
    pub next: *const f32,
    /// What one step of a code of A and of B is worth, (MR) and (NR); empty in single precision.
    pub units: (&'a [f32], &'a [f32]),
}

/// Memory that will be wanted soon, to be fetched line by line between other work.
#[derive(Clone, Debug)]
pub struct Ahead {
    /// The source of the next block of A.
    pub(super) source: Runs,
    /// The next panel of B.
    pub(super) panel: Runs,
}

impl Ahead {
    /// Nothing to fetch.
    pub const NONE: Ahead = Ahead { source: Runs::NONE, panel: Runs::NONE };

    /// Fetches the next lines into L2, if any are left.
    #[inline(always)]
    pub(super) fn fetch(&mut self) {
        self.source.fetch();
        self.panel.fetch();
    }
}

/// Runs of lines at equal distances.
#[derive(Clone, Debug)]
pub(super) struct Runs {
    run: *const u8,
    distance: usize,
    runs: usize,
    /// From the first byte of a run to that of its last line.
    bytes: usize,
    at: usize,
    /// Lines to fetch at a time.
    rate: usize,
}

impl Runs {
    pub const NONE: Runs = Runs { run: std::ptr::null(), distance: 0, runs: 0, bytes: 0, at: 0, rate: 0 };

    /// `runs` runs of `bytes` bytes from `run` on, `distance` bytes apart. A run that does not begin with a line has one more.
    pub fn new(run: *const u8, distance: usize, runs: usize, bytes: usize) -> Runs {
        let aligned = (run.addr() | distance).is_multiple_of(LINE);
        let bytes = if aligned { bytes } else { bytes + LINE - 1 };
        Runs { run, distance, runs, bytes, at: 0, rate: 1 }
    }

    /// The same memory, fetched in `times` times.
    pub fn spread(self, times: usize) -> Runs {
        let lines = self.runs * self.bytes.div_ceil(LINE);
        Runs { rate: lines.div_ceil(times.max(1)), ..self }
    }

    #[inline(always)]
    fn fetch(&mut self) {
        for _ in 0..self.rate {
            if self.runs == 0 {
                return;
            }
            fetch_into_l2(self.run.wrapping_add(self.at));
            self.at += LINE;
            if self.at >= self.bytes {
                self.at = 0;
                self.run = self.run.wrapping_add(self.distance);
                self.runs -= 1;
            }
        }
    }
}

#[inline(always)]
fn fetch_into_l2(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; it reads nothing, whatever the address. SSE is part of the target.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// What a slot of A and one of B add to a sum, in vector registers `V`.
pub(super) trait Step<V> {
    /// # Safety
    /// The machine has the kernel's instructions.
    unsafe fn add(sum: V, a: V, b: V) -> V;

    /// A sum as floats, given what codes of its row and of its columns are worth.
    ///
    /// # Safety
    /// The machine has the kernel's instructions; `row` is a unit, if codes have units.
    unsafe fn value(sum: V, row: *const f32, cols: V) -> V;
}

/// One f32 a slot.
pub(super) struct Float;

/// Two 16-bit codes a slot, summed in i32.
pub(super) struct Pairs;

/// Every kernel compiled in, the plainest first; a machine can run those whose `isa()` it supports.
pub static KERNELS: &[&dyn GemmKernel] = &[
    &super::scalar::Scalar,
    &bfp::Bfp(super::scalar::Scalar),
    #[cfg(target_arch = "x86_64")]
    &super::avx2::Avx2,
    #[cfg(target_arch = "x86_64")]
    &bfp::Bfp(super::avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    &super::avx512::Avx512,
    #[cfg(target_arch = "x86_64")]
    &bfp::Bfp(super::avx512::Avx512),
];

/// The best kernel of this machine.
pub fn select(arithmetic: Arithmetic) -> &'static dyn GemmKernel {
    let fits = |kernel: &&&dyn GemmKernel| kernel.arithmetic() == arithmetic && kernel.isa().is_supported();
    KERNELS.iter().copied().rev().find(|kernel| fits(&kernel)).expect("the scalar kernels run everywhere")
}
