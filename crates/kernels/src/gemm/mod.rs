//! Matrix product C (+)= A·B of floats on packed operands, in single precision or block floating point, after BLIS (Van Zee and van de Geijn, 2015).
//!
//! B is packed once, by all threads. Then each task owns a block of C: for a few blocks of K after the others it packs its
//! rows of A (they stay in L2), and for one panel of B after the other (it stays in L1) it runs over its panels of A. Meanwhile
//! it asks memory for what comes next: a panel of B, a tile of C, the source of the next rows of A.
//! The blocks depend on the shape and the kernel alone, and each element of C is summed by one task in the order of K:
//! the number of threads changes no bit.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bfp;
mod blocks;
// Fetching ahead is written for x86-64 alone.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod kernel;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod pack;
mod scalar;
mod view;

use std::ops::Range;

pub use blocks::{Blocks, STRIDE, Wanted};
use kernel::Runs;
pub use kernel::{Ahead, Arithmetic, GemmKernel, KERNELS, Strided, Tile, select};
pub use pack::Panel;
pub use view::{Data, Scale, View};

use crate::memory::wish_for_huge_pages;
use crate::pool::{Pool, SharedMut};
use bfp::Levels;

/// Deepest block of K in single precision: a panel of B of this depth is 48 KB at most, in L1 or close by.
const DEPTH_MAX: usize = 384;
/// Most panels of A in a task: 170 KB at most, in L2. Half as many where there are few tasks.
const PANELS_MAX: usize = 8;
/// Slots of a lane of A that are packed at a time, as whole blocks of K: a tile of C is read and written that much less often.
const GROUP: usize = 256;
/// Most columns of C in a task.
const COLS_MAX: usize = 2048;
/// Tasks to aim for, so that 16 threads have about equal shares …
const TASKS_MAX: usize = 48;
/// … but no task is cut to fewer multiplications than this.
const TASK_WORK: usize = 1 << 21;
/// Panels of B in a task of packing.
const B_PANELS: usize = 4;
/// Depths packed at a time where lanes are contiguous.
const STRIP: usize = 32;

/// Most lanes that are measured together: a block of A, or a task of packing B.
const LANES_MAX: usize = 128;

/// Packing buffers, which only grow, and the kernel they are packed for.
pub struct Workspace {
    kernel: &'static dyn GemmKernel,
    b: Buffer,
    /// One block for each worker.
    a: Buffer,
    /// What codes of B are worth: one for each lane and block of K.
    b_units: Buffer,
    /// The same of A, one block for each worker.
    a_units: Buffer,
    /// N, K and the depth of the blocks of the B that is packed.
    packed: Option<(usize, usize, usize)>,
}

impl Default for Workspace {
    /// For single precision.
    fn default() -> Workspace {
        Workspace::new(Arithmetic::F32)
    }
}

impl Workspace {
    /// An empty workspace for the best kernel of this machine.
    pub fn new(arithmetic: Arithmetic) -> Workspace {
        Workspace::with_kernel(select(arithmetic))
    }

    /// An empty workspace for a kernel of [`KERNELS`].
    ///
    /// # Panics
    /// If this machine lacks the kernel's instructions.
    pub fn with_kernel(kernel: &'static dyn GemmKernel) -> Workspace {
        assert!(kernel.isa().is_supported(), "this machine cannot run {}", kernel.name());
        let [a, b, a_units, b_units] = Default::default();
        Workspace { kernel, b, a, b_units, a_units, packed: None }
    }

    /// Makes room for products (M, K)·(K, N) on `threads` threads, so that they do not allocate.
    pub fn reserve(&mut self, threads: usize, m: usize, n: usize, k: usize) {
        // Blocks of codes are at least as deep as those of two floats, and take the less room the deeper they are.
        let depth = match self.kernel.arithmetic() {
            Arithmetic::F32 => DEPTH_MAX,
            Arithmetic::Bfp16 => Levels::of(false, false).depth,
        };
        self.grow(threads, &Plan::new(self.kernel, (m, n, k), depth));
        self.grow(threads, &Plan::new(self.kernel, (m, n, k), DEPTH_MAX));
    }

    fn grow(&mut self, threads: usize, plan: &Plan) {
        self.b.grow(plan.packed_b());
        self.a.grow(plan.packed_a() * threads);
        self.b_units.grow(plan.units(plan.lanes_of_b() * plan.blocks()));
        self.a_units.grow(plan.units_of_a() * threads);
    }
}

/// C (+)= A·B on all threads of the pool: `a` (M, K), `b` (K, N), `c` (M, N) with `ldc` elements from row to row.
/// Without `accumulate` C is overwritten. The result does not depend on the number of threads.
///
/// # Panics
/// If the shapes do not fit each other or their slices.
pub fn gemm(pool: &Pool, ws: &mut Workspace, a: View, b: View, c: &mut [f32], ldc: usize, accumulate: bool) {
    multiply(Some(pool), ws, a, b, Out { c, ldc, accumulate, repack: true });
}

/// [`gemm`] with the same B, unchanged, as in the last call with this workspace: it is packed already. Only the rows of A
/// may be more or fewer.
///
/// # Panics
/// As [`gemm`], and if the last B had another shape.
pub fn gemm_again(
    pool: &Pool,
    ws: &mut Workspace,
    a: View,
    b: View,
    c: &mut [f32],
    ldc: usize,
    accumulate: bool,
) {
    multiply(Some(pool), ws, a, b, Out { c, ldc, accumulate, repack: false });
}

/// [`gemm`] on the calling thread alone, for use inside a task; gives the same bits.
///
/// # Panics
/// As [`gemm`].
pub fn gemm_serial(ws: &mut Workspace, a: View, b: View, c: &mut [f32], ldc: usize, accumulate: bool) {
    multiply(None, ws, a, b, Out { c, ldc, accumulate, repack: true });
}

struct Out<'a> {
    c: &'a mut [f32],
    ldc: usize,
    accumulate: bool,
    /// B is not yet packed.
    repack: bool,
}

fn multiply(pool: Option<&Pool>, ws: &mut Workspace, a: View, b: View, out: Out) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "A has {k} columns, B has {} rows", b.rows);
    a.check();
    b.check();
    if m == 0 || n == 0 {
        return;
    }
    assert!(n <= out.ldc && (m - 1) * out.ldc + n <= out.c.len(), "C is smaller than ({m}, {n})");
    if k == 0 {
        if !out.accumulate {
            out.c.chunks_mut(out.ldc).take(m).for_each(|row| row[..n].fill(0.0));
        }
        return;
    }
    let workers = pool.map_or(1, Pool::threads);
    let (a, b, depth) = Operand::pair(ws.kernel.arithmetic(), a, b.t());
    let plan = Plan::new(ws.kernel, (m, n, k), depth);
    let shape = Some((n, k, plan.depth));
    assert!(out.repack || ws.packed == shape, "the last B was another than ({k}, {n})");
    ws.packed = shape;
    ws.grow(workers, &plan);
    let call = Call {
        plan,
        kernel: ws.kernel,
        a,
        b,
        workers,
        packed_a: SharedMut(ws.a.as_mut_ptr()),
        packed_b: SharedMut(ws.b.as_mut_ptr()),
        units_a: SharedMut(ws.a_units.as_mut_ptr()),
        units_b: SharedMut(ws.b_units.as_mut_ptr()),
        c: SharedMut(out.c.as_mut_ptr()),
        ldc: out.ldc,
        accumulate: out.accumulate,
    };
    let run = |tasks, task: &(dyn Fn(usize, usize) + Sync)| match pool {
        Some(pool) => pool.run(tasks, task),
        None => (0..tasks).for_each(|t| task(t, 0)),
    };
    if out.repack {
        run(call.plan.b_tasks(), &|task, _| call.pack_b(task));
    }
    run(call.plan.c_tasks(), &|task, worker| call.block(task, worker));
}

/// One operand, lanes × depth, and how it is packed.
struct Operand<'a> {
    view: View<'a>,
    /// Factors along K that the other operand handed over.
    along: Option<&'a [f32]>,
    /// Codes that stay as they are.
    exact: bool,
    /// The largest code of what is rounded.
    largest: f32,
}

impl<'a> Operand<'a> {
    /// A and Bᵀ, and how deep a block of K may be. In block floating point int8 operands stay as they are: their factors
    /// along K go to the other operand.
    fn pair(arithmetic: Arithmetic, a: View<'a>, b: View<'a>) -> (Self, Self, usize) {
        let plain = |view| Operand { view, along: None, exact: false, largest: 0.0 };
        let (mut a, mut b) = (plain(a), plain(b));
        if arithmetic == Arithmetic::F32 {
            return (a, b, DEPTH_MAX);
        }
        b.view.hand_over(&mut a.along);
        if a.along.is_none() {
            a.view.hand_over(&mut b.along);
        }
        for operand in [&mut a, &mut b] {
            operand.exact = operand.along.is_none() && operand.view.is_codes();
        }
        let levels = Levels::of(a.exact, b.exact);
        (a.largest, b.largest) = (levels.a, levels.b);
        (a, b, levels.depth)
    }

    fn panel<'b>(
        &'b self,
        lanes: Range<usize>,
        depth: Range<usize>,
        width: usize,
        steps: &'b [f32],
    ) -> Panel<'b> {
        Panel { view: self.view, lanes, depth, width, steps, along: self.along, exact: self.exact }
    }
}

/// How a product is cut up; depends on its shape and the kernel only.
struct Plan {
    arithmetic: Arithmetic,
    m: usize,
    n: usize,
    k: usize,
    mr: usize,
    nr: usize,
    /// K in a block.
    depth: usize,
    /// K in the blocks of which A is packed at a time, a multiple of `depth`.
    group: usize,
    /// Tasks above each other.
    down: usize,
    /// Most rows of C in a task, a multiple of MR.
    rows: usize,
    /// Columns of C in a task, a multiple of NR.
    cols: usize,
}

impl Plan {
    fn new(kernel: &dyn GemmKernel, (m, n, k): (usize, usize, usize), depth_max: usize) -> Plan {
        let (mr, nr) = kernel.tile();
        let depth = even(k, k.div_ceil(depth_max), 16);
        let work = m.saturating_mul(n).saturating_mul(k);
        let tasks = TASKS_MAX.min(work / TASK_WORK).max(1);
        let across = n.div_ceil(COLS_MAX);
        let panels = m.div_ceil(mr);
        let down = tasks.div_ceil(across).clamp(1, panels.div_ceil(PANELS_MAX / 2));
        let down = down.max(panels.div_ceil(PANELS_MAX));
        // Several are an even number, for even shares.
        let down = if down > 1 { down.next_multiple_of(2).min(panels) } else { 1 };
        let (rows, cols) = (panels.div_ceil(down) * mr, even(n, across, nr));
        let arithmetic = kernel.arithmetic();
        let mut plan = Plan { arithmetic, m, n, k, mr, nr, depth, group: depth, down, rows, cols };
        plan.group = depth * (GROUP / plan.slots(depth)).max(1);
        plan
    }

    /// Slots of a lane that is `depth` deep.
    fn slots(&self, depth: usize) -> usize {
        match self.arithmetic {
            Arithmetic::F32 => depth,
            Arithmetic::Bfp16 => depth.div_ceil(2),
        }
    }

    /// Blocks of K of which A is packed at a time.
    fn blocks_of_group(&self) -> usize {
        self.group.min(self.k).div_ceil(self.depth)
    }

    fn packed_a(&self) -> usize {
        self.blocks_of_group() * self.rows * self.slots(self.depth)
    }

    fn units_of_a(&self) -> usize {
        self.units(self.blocks_of_group() * self.rows)
    }

    fn packed_b(&self) -> usize {
        self.lanes_of_b() * self.slots(self.k)
    }

    fn lanes_of_b(&self) -> usize {
        self.n.next_multiple_of(self.nr)
    }

    /// Blocks of K.
    fn blocks(&self) -> usize {
        self.k.div_ceil(self.depth)
    }

    /// Tasks of packing B: a few panels each, all depths.
    fn b_tasks(&self) -> usize {
        self.n.div_ceil(self.nr * B_PANELS)
    }

    fn c_tasks(&self) -> usize {
        self.down * self.n.div_ceil(self.cols)
    }

    /// The rows of the tasks that are `index`-th from above.
    fn rows_of(&self, index: usize) -> Range<usize> {
        let panels = self.m.div_ceil(self.mr);
        let first = |index: usize| (index * panels / self.down * self.mr).min(self.m);
        first(index)..first(index + 1)
    }

    /// The panels of B of the tasks that are `index`-th from the left.
    fn panels_of(&self, index: usize) -> Range<usize> {
        let first = index * self.cols;
        first / self.nr..self.n.min(first + self.cols).div_ceil(self.nr)
    }

    /// Blocks of K one after the other.
    fn depths(&self, of: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let (end, depth) = (of.end, self.depth);
        of.clone().step_by(depth).map(move |start| start..end.min(start + depth))
    }

    fn groups(&self) -> impl Iterator<Item = Range<usize>> {
        (0..self.k).step_by(self.group).map(|start| start..self.k.min(start + self.group))
    }

    /// Packed codes of A and their units, block of K by block.
    fn blocks_of_a<'a>(
        &self,
        (packed, units): (&'a mut [f32], &'a mut [f32]),
    ) -> impl Iterator<Item = (&'a mut [f32], &'a mut [f32])> + use<'a> {
        let (codes, lanes) = (self.rows * self.slots(self.depth), self.units(self.rows));
        let units = units.chunks_mut(lanes.max(1));
        // Without units there is nothing to share.
        packed.chunks_exact_mut(codes).zip(units.chain(std::iter::repeat_with(|| &mut [][..])))
    }

    /// The panel of B, and the block of K, that a task multiplies by after these.
    fn after(
        &self,
        panel: usize,
        depth: &Range<usize>,
        group: &Range<usize>,
        panels: &Range<usize>,
    ) -> (usize, Range<usize>) {
        let block = |start: usize| start..self.k.min(start + self.depth);
        if depth.end < group.end {
            (panel, block(depth.end))
        } else if panel + 1 < panels.end {
            (panel + 1, block(group.start))
        } else {
            (panels.start, block(if group.end < self.k { group.end } else { 0 }))
        }
    }

    /// Where panel `panel` of B lies: all panels of one block of K, then those of the next.
    fn panel_of_b(&self, panel: usize, depth: &Range<usize>) -> usize {
        self.lanes_of_b() * self.slots(depth.start) + panel * self.nr * self.slots(depth.len())
    }

    /// Units of so many lanes: none in single precision.
    fn units(&self, lanes: usize) -> usize {
        match self.arithmetic {
            Arithmetic::F32 => 0,
            Arithmetic::Bfp16 => lanes,
        }
    }

    /// Where the units of panel `panel` of B lie.
    fn units_of_b(&self, panel: usize, depth: &Range<usize>) -> usize {
        self.units(self.lanes_of_b() * (depth.start / self.depth) + panel * self.nr)
    }
}

/// The size of `parts` nearly equal parts of `len`, rounded up to a multiple of `unit`.
fn even(len: usize, parts: usize, unit: usize) -> usize {
    len.div_ceil(parts.max(1)).next_multiple_of(unit)
}

/// One product under way.
struct Call<'a> {
    plan: Plan,
    kernel: &'static dyn GemmKernel,
    a: Operand<'a>,
    /// Bᵀ, (N, K).
    b: Operand<'a>,
    workers: usize,
    packed_a: SharedMut<f32>,
    packed_b: SharedMut<f32>,
    units_a: SharedMut<f32>,
    units_b: SharedMut<f32>,
    c: SharedMut<f32>,
    ldc: usize,
    accumulate: bool,
}

impl Call<'_> {
    fn pack_b(&self, task: usize) {
        let plan = &self.plan;
        let lanes = task * B_PANELS * plan.nr..plan.n.min((task + 1) * B_PANELS * plan.nr);
        let padded = lanes.len().next_multiple_of(plan.nr);
        for depth in plan.depths(&(0..plan.k)) {
            let at = plan.panel_of_b(task * B_PANELS, &depth);
            let len = padded * plan.slots(depth.len());
            // SAFETY: the panels of the tasks are disjoint parts of the reserved buffer.
            let packed = unsafe { std::slice::from_raw_parts_mut(self.packed_b.get().add(at), len) };
            let at = plan.units_of_b(task * B_PANELS, &depth);
            // SAFETY: as above.
            let units =
                unsafe { std::slice::from_raw_parts_mut(self.units_b.get().add(at), plan.units(padded)) };
            self.pack(&self.b, lanes.clone(), depth, plan.nr, packed, units);
        }
    }

    /// Packs the panels of a block one after the other. Where lanes adjoin it advances through all panels in short
    /// strips of depth: a whole panel would touch a page for each depth.
    fn pack(
        &self,
        operand: &Operand,
        lanes: Range<usize>,
        depth: Range<usize>,
        width: usize,
        packed: &mut [f32],
        units: &mut [f32],
    ) {
        let plan = &self.plan;
        let mut steps = [0.0; LANES_MAX];
        let steps = &mut steps[..units.len()];
        if let Some((units, beyond)) = units.split_at_mut_checked(lanes.len()) {
            let panel = operand.panel(lanes.clone(), depth.clone(), lanes.len(), &[]);
            bfp::measure(&panel, operand.largest, units, &mut steps[..lanes.len()]);
            beyond.fill(0.0);
        }
        let strip = match plan.arithmetic {
            Arithmetic::Bfp16 => bfp::STRIP,
            Arithmetic::F32 if operand.view.row_stride == 1 => STRIP,
            Arithmetic::F32 => depth.len(),
        };
        for start in depth.clone().step_by(strip) {
            let depths = start..depth.end.min(start + strip);
            let at = plan.slots(start - depth.start) * width;
            let len = plan.slots(depths.len()) * width;
            let panels = packed.chunks_exact_mut(width * plan.slots(depth.len()));
            for (first, packed) in lanes.clone().step_by(width).zip(panels) {
                let own = first..lanes.end.min(first + width);
                let steps = steps.get(first - lanes.start..own.end - lanes.start).unwrap_or_default();
                let panel = operand.panel(own, depths.clone(), width, steps);
                // SAFETY: the workspace asserted the instructions.
                unsafe { self.kernel.pack(&panel, &mut packed[at..at + len]) }
            }
        }
    }

    /// Computes one block of C.
    fn block(&self, task: usize, worker: usize) {
        let plan = &self.plan;
        let (rows, panels) = (plan.rows_of(task % plan.down), plan.panels_of(task / plan.down));
        // SAFETY: a worker has one task at a time, and `reserve` made a block for each worker.
        let packed = unsafe {
            std::slice::from_raw_parts_mut(self.packed_a.get().add(worker * plan.packed_a()), plan.packed_a())
        };
        let (at, len) = (worker * plan.units_of_a(), plan.units_of_a());
        // SAFETY: as above.
        let units = unsafe { std::slice::from_raw_parts_mut(self.units_a.get().add(at), len) };
        let padded = rows.len().next_multiple_of(plan.mr);
        let tiles = padded / plan.mr;
        for group in plan.groups() {
            for (depth, (packed, units)) in plan.depths(&group).zip(plan.blocks_of_a((packed, units))) {
                let len = padded.min(units.len());
                self.pack(&self.a, rows.clone(), depth, plan.mr, packed, &mut units[..len]);
            }
            let calls = panels.len() * plan.depths(&group).count();
            let source = self.ahead(task, &rows, &group).spread(calls * tiles * 2 * plan.mr);
            let mut ahead = Ahead { source, ..Ahead::NONE };
            for panel in panels.clone() {
                for (depth, a) in plan.depths(&group).zip(plan.blocks_of_a((packed, units))) {
                    let next = plan.after(panel, &depth, &group, &panels);
                    ahead.panel = self.panel_ahead(next.clone()).spread(tiles * 2 * plan.mr);
                    self.column(&rows, (panel, next.0), &depth, (a.0, a.1), &mut ahead);
                }
            }
        }
    }

    /// What this worker will probably pack next: the next blocks of K, or the first of the task after those of the others.
    fn ahead(&self, task: usize, rows: &Range<usize>, group: &Range<usize>) -> Runs {
        let plan = &self.plan;
        if group.end < plan.k {
            return self.a.view.ahead(rows.clone(), group.end..plan.k.min(group.end + group.len()));
        }
        let task = task + self.workers;
        if task >= plan.c_tasks() || plan.rows_of(task % plan.down) == *rows {
            return Runs::NONE;
        }
        self.a.view.ahead(plan.rows_of(task % plan.down), 0..plan.group.min(plan.k))
    }

    /// The memory of a panel of B.
    fn panel_ahead(&self, (panel, depth): (usize, Range<usize>)) -> Runs {
        let plan = &self.plan;
        let first = self.packed_b.get().wrapping_add(plan.panel_of_b(panel, &depth));
        Runs::new(first.cast(), 0, 1, plan.nr * plan.slots(depth.len()) * size_of::<f32>())
    }

    /// The tiles of a block below one panel of B; then come those of `next`.
    fn column(
        &self,
        rows: &Range<usize>,
        (panel, next): (usize, usize),
        depth: &Range<usize>,
        (packed, units): (&[f32], &[f32]),
        ahead: &mut Ahead,
    ) {
        let plan = &self.plan;
        let (first, slots) = (panel * plan.nr, plan.slots(depth.len()));
        let at = plan.panel_of_b(panel, depth);
        // SAFETY: packed before, in another `run`; nobody writes it now.
        let b = unsafe { std::slice::from_raw_parts(self.packed_b.get().add(at), plan.nr * slots) };
        let at = plan.units_of_b(panel, depth);
        // SAFETY: as above.
        let b_units = unsafe { std::slice::from_raw_parts(self.units_b.get().add(at), plan.units(plan.nr)) };
        for (row, a) in rows.clone().step_by(plan.mr).zip(packed.chunks_exact(plan.mr * slots)) {
            let a_units = units.get(row - rows.start..).unwrap_or_default();
            let at = |row, panel| self.c.get().wrapping_add(row * self.ldc + panel * plan.nr);
            let below = row + plan.mr;
            let tile = Tile {
                c: at(row, panel),
                next: if below < rows.end { at(below, panel) } else { at(rows.start, next) },
                stride: self.ldc,
                rows: plan.mr.min(rows.end - row),
                cols: plan.nr.min(plan.n - first),
                accumulate: self.accumulate || depth.start > 0,
                units: (a_units, b_units),
            };
            // SAFETY: the tile lies within C, in the block of this task alone; the panels have equal depth.
            unsafe { self.kernel.multiply(a, b, tile, ahead) }
        }
    }
}

/// A cache-line-aligned buffer of f32 that only grows.
#[derive(Default)]
struct Buffer(Vec<Line>);

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

impl Buffer {
    fn grow(&mut self, len: usize) {
        let lines = len.div_ceil(16);
        if lines > self.0.len() {
            self.0.reserve_exact(lines - self.0.len());
            wish_for_huge_pages(self.0.spare_capacity_mut());
            self.0.resize(lines, Line([0.0; 16]));
        }
    }

    fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }
}
