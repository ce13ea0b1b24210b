//! A steady step appends its line without touching the heap. Alone in its program: the counter sees every thread.

use journal::metrics::{Step, Writer};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn appending_a_step_does_not_allocate() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::open_at(&folder.path().join("metrics.jsonl"), 0).unwrap();
    let number = -1.234_567_890_123_456_7e-300;
    let step = Step { step: u64::MAX, tokens: u64::MAX, loss: number, lr: number, ..Step::default() };
    let mut allocations = usize::MAX;
    // The test harness may allocate in its own thread meanwhile: one quiet round of several is proof.
    for _ in 0..8 {
        let region = Region::new(HEAP);
        (0..100).for_each(|_| writer.append(&step).unwrap());
        let change = region.change();
        allocations = allocations.min(change.allocations + change.reallocations);
    }
    assert_eq!(allocations, 0);
}
