//! A persistent pool of threads that share the numbered tasks of one job at a time.
//!
//! How a job is cut into tasks never depends on the number of threads, so neither do results; which worker runs which
//! task does. One word of state holds everything workers and caller agree on:
//!
//! ```text
//! bits 63..32        bit 31             bits 30..0
//! number of the job  open to workers    workers inside it
//! ```
//!
//! The caller works on the job as worker 0, closes it when no task is left, and waits only for those who had entered: a
//! worker that wakes up late costs nothing.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long an idle worker, or a caller waiting for the last task, polls before it sleeps.
const SPIN: Duration = Duration::from_micros(40);

const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;

thread_local! {
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

/// A fixed set of threads; worker 0 is whoever calls [`Pool::run`]. Dropping the pool ends and joins the others.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    one_job_at_a_time: Mutex<()>,
}

struct Shared {
    state: AtomicU64,
    /// The next task to be handed out.
    next: AtomicUsize,
    /// Written only while the job is closed with nobody inside, read only by those inside.
    job: UnsafeCell<Option<Job>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stop: AtomicBool,
}

// SAFETY: `job` is the only field that is not Sync; the protocol of `state` orders its one writer and its readers.
unsafe impl Sync for Shared {}
// SAFETY: the task a job points to is Sync, and outlives everybody's stay inside the job.
unsafe impl Send for Shared {}

#[derive(Clone)]
struct Job {
    tasks: usize,
    task: *const (dyn Fn(usize, usize) + Sync),
    caller: Thread,
}

impl Pool {
    /// A pool of `threads` workers, the caller included (at least one; fewer than asked if the system refuses threads).
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
            stop: AtomicBool::new(false),
        });
        let spawn = |worker| {
            let shared = Arc::clone(&shared);
            let builder = thread::Builder::new().name(format!("kernels-{worker}"));
            builder.spawn(move || shared.work(worker)).ok()
        };
        let workers = (1..threads).map_while(spawn).collect();
        Pool { shared, workers, one_job_at_a_time: Mutex::new(()) }
    }

    /// The number of workers, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(t, worker)` once for each `t` in `0..tasks` and returns when all are done.
    ///
    /// # Panics
    /// With the first panic of a task, after every worker has stopped (tasks not yet begun are dropped; the pool stays
    /// usable), and when called from inside a task.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        assert!(
            !IN_TASK.get(),
            "Pool::run was called from inside a task of a pool: run the inner work serially"
        );
        if tasks == 0 {
            return;
        }
        let _inside = InTask::enter();
        if tasks == 1 || self.workers.is_empty() {
            (0..tasks).for_each(|t| task(t, 0));
            return;
        }
        let turn = lock(&self.one_job_at_a_time);
        self.publish(tasks, task);
        self.shared.take_part(tasks, task, 0);
        self.shared.close();
        let panic = lock(&self.shared.panic).take();
        drop(turn);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    fn publish(&self, tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        // SAFETY: only the lifetime changes. `run` does not return before everybody is out of the job.
        let task = unsafe {
            std::mem::transmute::<&(dyn Fn(usize, usize) + Sync), &'static (dyn Fn(usize, usize) + Sync)>(
                task,
            )
        };
        let job = Job { tasks, task, caller: thread::current() };
        // SAFETY: the last job was closed and left by all, and this thread holds the turn.
        unsafe { *self.shared.job.get() = Some(job) };
        self.shared.next.store(0, Ordering::Relaxed);
        let number = (self.shared.state.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        self.shared.state.store(number << 32 | OPEN, Ordering::Release);
        let helpers = self.workers.len().min(tasks - 1);
        self.workers[..helpers].iter().for_each(|w| w.thread().unpark());
    }

    /// Cuts `rows` rows into blocks of `block` and runs `f(rows of the block, those rows of `parts`)` for each.
    ///
    /// # Panics
    /// If a slice in `parts` does not have exactly `rows` rows or `block` is 0, and as [`Pool::run`].
    pub fn for_rows<P: Partition>(
        &self,
        rows: usize,
        block: usize,
        parts: P,
        f: impl Fn(Range<usize>, P::Part) + Sync,
    ) {
        self.for_rows_of(rows, block, parts, &|range, part, _| f(range, part));
    }

    /// [`Pool::for_rows`] with a scratch value for each worker. What `f` finds in it is what an arbitrary earlier block left.
    ///
    /// # Panics
    /// As [`Pool::for_rows`], and if `scratch` holds fewer values than the pool has workers.
    pub fn for_rows_with<S: Send, P: Partition>(
        &self,
        rows: usize,
        block: usize,
        scratch: &mut PerWorker<S>,
        parts: P,
        f: impl Fn(&mut S, Range<usize>, P::Part) + Sync,
    ) {
        assert!(scratch.0.len() >= self.threads(), "PerWorker has fewer values than the pool has workers");
        let scratch = SharedMut(scratch.0.as_mut_ptr());
        self.for_rows_of(rows, block, parts, &|range, part, worker| {
            // SAFETY: in bounds by the assertion; a worker runs one task at a time, so nobody else holds this value.
            let own = unsafe { &mut (*scratch.get().add(worker)).0 };
            f(own, range, part);
        });
    }

    fn for_rows_of<P: Partition>(
        &self,
        rows: usize,
        block: usize,
        parts: P,
        f: &(dyn Fn(Range<usize>, P::Part, usize) + Sync),
    ) {
        assert!(block > 0, "a block has at least one row");
        parts.check(rows, rows.div_ceil(block));
        self.run(rows.div_ceil(block), &|t, worker| {
            let range = t * block..rows.min((t + 1) * block);
            // SAFETY: `check` found `rows` rows, and the blocks of the tasks are disjoint.
            let part = unsafe { parts.part(range.clone(), t) };
            f(range, part, worker);
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches the panics of its tasks, so it ends well.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(&self, worker: usize) {
        IN_TASK.set(true);
        let mut last = 0;
        while let Some(job) = self.enter(&mut last) {
            // SAFETY: the caller keeps the task alive until this worker has left the job.
            self.take_part(job.tasks, unsafe { &*job.task }, worker);
            let before = self.state.fetch_sub(1, Ordering::AcqRel);
            if before & INSIDE == 1 && before & OPEN == 0 {
                job.caller.unpark();
            }
        }
    }

    /// Waits for a job other than the one numbered `last` and enters it; `None` when the pool ends.
    fn enter(&self, last: &mut u64) -> Option<Job> {
        let mut idle = Idle::new();
        loop {
            if self.stop.load(Ordering::Acquire) {
                return None;
            }
            let state = self.state.load(Ordering::Relaxed);
            if state & OPEN == 0 || state >> 32 == *last {
                idle.wait();
                continue;
            }
            if self
                .state
                .compare_exchange_weak(state, state + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
            {
                *last = state >> 32;
                // SAFETY: inside the job, which is therefore not being written.
                return unsafe { (*self.job.get()).clone() };
            }
        }
    }

    fn take_part(&self, tasks: usize, task: &(dyn Fn(usize, usize) + Sync), worker: usize) {
        let all = || {
            loop {
                let t = self.next.fetch_add(1, Ordering::Relaxed);
                if t >= tasks {
                    break;
                }
                task(t, worker);
            }
        };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(all)) {
            self.next.store(tasks, Ordering::Relaxed);
            lock(&self.panic).get_or_insert(payload);
        }
    }

    fn close(&self) {
        let mut state = self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut idle = Idle::new();
        while state & INSIDE != 0 {
            idle.wait();
            state = self.state.load(Ordering::Acquire);
        }
    }
}

/// Polls for a while, then sleeps until somebody unparks the thread.
struct Idle {
    polls: u32,
    since: Option<Instant>,
}

impl Idle {
    fn new() -> Idle {
        Idle { polls: 0, since: None }
    }

    fn wait(&mut self) {
        self.polls += 1;
        if self.polls.is_multiple_of(32) {
            let since = *self.since.get_or_insert_with(Instant::now);
            if since.elapsed() >= SPIN {
                thread::park();
                return;
            }
        }
        std::hint::spin_loop();
    }
}

/// Marks this thread as inside a task until dropped.
struct InTask;

impl InTask {
    fn enter() -> InTask {
        IN_TASK.set(true);
        InTask
    }
}

impl Drop for InTask {
    fn drop(&mut self) {
        IN_TASK.set(false);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pointer that tasks may share because each touches a part of its own.
pub(crate) struct SharedMut<T>(pub(crate) *mut T);

impl<T> SharedMut<T> {
    /// The pointer; a method, so that closures capture the whole (Sync) value.
    pub(crate) fn get(&self) -> *mut T {
        self.0
    }
}

// SAFETY: whoever dereferences the pointer promises disjoint parts; sharing the address itself is harmless.
unsafe impl<T: Send> Sync for SharedMut<T> {}

/// One scratch value for each worker of a pool.
pub struct PerWorker<S>(Vec<Padded<S>>);

/// A value on cache lines of its own.
#[repr(align(128))]
struct Padded<S>(S);

impl<S> PerWorker<S> {
    /// Values for `threads` workers.
    pub fn new(threads: usize, mut make: impl FnMut() -> S) -> PerWorker<S> {
        PerWorker((0..threads).map(|_| Padded(make())).collect())
    }

    /// All values, in the order of the workers.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut S> {
        self.0.iter_mut().map(|padded| &mut padded.0)
    }
}

/// What [`Pool::for_rows`] can cut into blocks of rows: [`Rows`], [`PerBlock`], `()` and tuples of them.
///
/// # Safety
/// `check(rows, blocks)` returns only if `part` is sound for every range within `0..rows` and every block in `0..blocks`,
/// and the parts of two blocks are disjoint.
pub unsafe trait Partition: Sync {
    /// The rows of one block: `&mut [T]` for [`Rows`].
    type Part;

    /// Panics unless there are exactly `rows` rows, cut into `blocks` blocks.
    fn check(&self, rows: usize, blocks: usize);

    /// The rows of `range`, which is the block of that number.
    ///
    /// # Safety
    /// `range` and `block` lie within what `check` accepted, and overlap no other ever asked for.
    unsafe fn part(&self, range: Range<usize>, block: usize) -> Self::Part;
}

/// A mutable matrix of contiguous rows, to be handed out to tasks in blocks of rows.
pub struct Rows<'a, T> {
    data: *mut T,
    len: usize,
    width: usize,
    life: PhantomData<&'a mut [T]>,
}

impl<'a, T: Send> Rows<'a, T> {
    /// `data` as rows of `width` elements.
    pub fn new(data: &'a mut [T], width: usize) -> Rows<'a, T> {
        Rows { data: data.as_mut_ptr(), len: data.len(), width, life: PhantomData }
    }
}

// SAFETY: sharing a `Rows` only allows `part`, whose contract keeps the parts disjoint; they move to other threads.
unsafe impl<T: Send> Sync for Rows<'_, T> {}

// SAFETY: `check` compares the lengths; the parts of disjoint ranges are disjoint sub-slices.
unsafe impl<'a, T: Send> Partition for Rows<'a, T> {
    type Part = &'a mut [T];

    fn check(&self, rows: usize, _: usize) {
        let wanted = rows.checked_mul(self.width);
        assert!(wanted == Some(self.len), "{} elements are not {rows} rows of {}", self.len, self.width);
    }

    unsafe fn part(&self, range: Range<usize>, _: usize) -> &'a mut [T] {
        // SAFETY: within `len` by the contract, and no other part overlaps.
        unsafe {
            std::slice::from_raw_parts_mut(self.data.add(range.start * self.width), range.len() * self.width)
        }
    }
}

/// One row for each block, however many rows the block has: partial results, to be reduced in the order of the blocks.
pub struct PerBlock<'a, T>(Rows<'a, T>);

impl<'a, T: Send> PerBlock<'a, T> {
    /// `data` as rows of `width` elements, one a block.
    pub fn new(data: &'a mut [T], width: usize) -> PerBlock<'a, T> {
        PerBlock(Rows::new(data, width))
    }
}

// SAFETY: row i of the inner rows belongs to block i alone.
unsafe impl<'a, T: Send> Partition for PerBlock<'a, T> {
    type Part = &'a mut [T];

    fn check(&self, _: usize, blocks: usize) {
        self.0.check(blocks, blocks);
    }

    unsafe fn part(&self, _: Range<usize>, block: usize) -> &'a mut [T] {
        // SAFETY: block is below the number that `check` accepted, and no other block has this row.
        unsafe { self.0.part(block..block + 1, block) }
    }
}

/// A matrix cut into equal rectangles, one for each block: those side by side first, then the next below.
pub struct Grid<'a, T> {
    data: *mut T,
    len: usize,
    width: usize,
    rows: usize,
    cols: usize,
    life: PhantomData<&'a mut [T]>,
}

impl<'a, T: Send> Grid<'a, T> {
    /// `data` as rows of `width` elements, cut into rectangles of `rows` × `cols`.
    ///
    /// # Panics
    /// If the rectangles do not fill the matrix.
    pub fn new(data: &'a mut [T], width: usize, (rows, cols): (usize, usize)) -> Grid<'a, T> {
        let fills = width.is_multiple_of(cols) && data.len().is_multiple_of(rows * width);
        assert!(fills, "{} rows of {width} are not rectangles of {rows} × {cols}", data.len() / width.max(1));
        Grid { data: data.as_mut_ptr(), len: data.len(), width, rows, cols, life: PhantomData }
    }
}

/// One rectangle of a [`Grid`].
pub struct Rectangle<'a, T> {
    first: *mut T,
    stride: usize,
    rows: usize,
    cols: usize,
    life: PhantomData<&'a mut [T]>,
}

impl<T> Rectangle<'_, T> {
    /// The elements of row `row`, counted from the rectangle's first.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: rows of a rectangle lie within the matrix and are nobody else's.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.stride), self.cols) }
    }
}

// SAFETY: sharing a `Grid` only allows `part`, whose contract keeps the parts disjoint; they move to other threads.
unsafe impl<T: Send> Sync for Grid<'_, T> {}

// SAFETY: `check` counts the rectangles; those of different blocks are disjoint, and a rectangle hands out its own rows only.
unsafe impl<'a, T: Send> Partition for Grid<'a, T> {
    type Part = Rectangle<'a, T>;

    fn check(&self, _: usize, blocks: usize) {
        let there = self.len / (self.rows * self.cols);
        assert!(there == blocks, "{there} rectangles are not {blocks} blocks");
    }

    unsafe fn part(&self, _: Range<usize>, block: usize) -> Rectangle<'a, T> {
        let across = self.width / self.cols;
        let from = block / across * self.rows * self.width + block % across * self.cols;
        let (rows, cols, stride) = (self.rows, self.cols, self.width);
        Rectangle { first: self.data.wrapping_add(from), stride, rows, cols, life: PhantomData }
    }
}

// SAFETY: there is nothing to share.
unsafe impl Partition for () {
    type Part = ();

    fn check(&self, _: usize, _: usize) {}

    unsafe fn part(&self, _: Range<usize>, _: usize) {}
}

macro_rules! partition_tuple {
    ($($name:ident $index:tt),+) => {
        // SAFETY: each element keeps the contract.
        unsafe impl<$($name: Partition),+> Partition for ($($name,)+) {
            type Part = ($($name::Part,)+);

            fn check(&self, rows: usize, blocks: usize) {
                $(self.$index.check(rows, blocks);)+
            }

            unsafe fn part(&self, range: Range<usize>, block: usize) -> Self::Part {
                // SAFETY: the caller's promise, passed on to each element.
                unsafe { ($(self.$index.part(range.clone(), block),)+) }
            }
        }
    };
}

partition_tuple!(A 0);
partition_tuple!(A 0, B 1);
partition_tuple!(A 0, B 1, C 2);
partition_tuple!(A 0, B 1, C 2, D 3);
partition_tuple!(A 0, B 1, C 2, D 3, E 4);
partition_tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
