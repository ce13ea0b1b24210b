//! The thread pool: every task once, panics, nesting, the safe front end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use kernels::pool::{Grid, PerWorker, Pool, Rows};
use proptest::prelude::*;

#[test]
fn every_task_runs_once_in_many_short_jobs() {
    for threads in [1, 2, 3, 5] {
        let pool = Pool::new(threads);
        assert_eq!(pool.threads(), threads);
        let counts: Vec<AtomicUsize> = (0..17).map(|_| AtomicUsize::new(0)).collect();
        let jobs = 3000;
        for job in 0..jobs {
            pool.run(job % 18, &|t, worker| {
                assert!(worker < threads);
                counts[t].fetch_add(1, Ordering::Relaxed);
            });
        }
        for (t, count) in counts.iter().enumerate() {
            let wanted = (0..jobs).filter(|job| job % 18 > t).count();
            assert_eq!(count.load(Ordering::Relaxed), wanted, "task {t} of {threads} threads");
        }
    }
}

#[test]
fn sleeping_workers_wake_up() {
    let pool = Pool::new(3);
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(2));
        let sum = AtomicUsize::new(0);
        pool.run(100, &|t, _| {
            std::hint::black_box((0..2000).sum::<usize>());
            sum.fetch_add(t, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 4950);
    }
}

#[test]
fn callers_on_several_threads_take_turns() {
    let pool = Pool::new(2);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let mut x = [0usize; 9];
                    pool.for_rows(9, 2, Rows::new(&mut x, 1), |rows, x| {
                        x.copy_from_slice(&rows.collect::<Vec<_>>())
                    });
                    assert_eq!(x, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
                }
            });
        }
    });
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_stays_usable() {
    for threads in [1, 2, 4] {
        let pool = Pool::new(threads);
        for bad in [0, 7, 63] {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(64, &|t, _| assert!(t != bad, "task {t} fails"));
            }));
            let payload = result.expect_err("the panic was lost");
            assert_eq!(payload.downcast_ref::<String>(), Some(&format!("task {bad} fails")));
            let done = AtomicUsize::new(0);
            pool.run(64, &|_, _| _ = done.fetch_add(1, Ordering::Relaxed));
            assert_eq!(done.into_inner(), 64);
        }
    }
}

#[test]
fn nesting_is_refused_and_does_not_hang() {
    for threads in [1, 3] {
        let pool = Pool::new(threads);
        let result = catch_unwind(AssertUnwindSafe(|| pool.run(8, &|_, _| pool.run(2, &|_, _| ()))));
        let payload = result.expect_err("nesting was accepted");
        let message = payload.downcast_ref::<&str>().expect("a plain message");
        assert!(message.contains("inside a task"), "{message}");
        pool.run(8, &|_, _| ());
    }
}

#[test]
fn tuples_of_rows_are_cut_alike() {
    let pool = Pool::new(2);
    let (mut a, mut b, mut c) = (vec![0usize; 21], vec![0u8; 7], Vec::<f32>::new());
    let parts = (Rows::new(&mut a, 3), Rows::new(&mut b, 1), Rows::new(&mut c, 0), ());
    pool.for_rows(7, 3, parts, |rows, (a, b, c, ())| {
        assert!(c.is_empty());
        for (i, row) in rows.enumerate() {
            a[3 * i..3 * i + 3].fill(row);
            b[i] = row as u8;
        }
    });
    assert!(a.iter().enumerate().all(|(i, v)| *v == i / 3));
    assert_eq!(b, [0, 1, 2, 3, 4, 5, 6]);
    pool.for_rows(4, 1, (), |rows, ()| assert_eq!(rows.len(), 1));
}

#[test]
#[should_panic(expected = "20 elements are not 7 rows of 3")]
fn wrong_lengths_are_refused() {
    Pool::new(1).for_rows(7, 3, (Rows::new(&mut [0u8; 20], 3),), |_, _| ());
}

proptest! {
    #[test]
    fn scratch_counts_every_row(rows in 0usize..300, block in 1usize..40, width in 0usize..5, threads in 1usize..5) {
        let pool = Pool::new(threads);
        let mut scratch = PerWorker::new(pool.threads(), || 0usize);
        let mut out = vec![0usize; rows * width];
        pool.for_rows_with(rows, block, &mut scratch, Rows::new(&mut out, width), |count, range, out| {
            *count += range.len();
            for (i, row) in range.enumerate() {
                out[i * width..(i + 1) * width].fill(row + 1);
            }
        });
        prop_assert_eq!(scratch.iter_mut().map(|c| *c).sum::<usize>(), rows);
        for row in 0..rows {
            prop_assert!(out[row * width..(row + 1) * width].iter().all(|v| *v == row + 1));
        }
    }
}

#[test]
fn a_grid_hands_out_every_element_once() {
    let pool = Pool::new(3);
    let (width, rows, cols) = (12, 5, 4);
    let mut matrix = vec![0u32; 15 * width];
    let grid = Grid::new(&mut matrix, width, (rows, cols));
    pool.for_rows(9, 1, grid, |task, mut rectangle| {
        for row in 0..rows {
            rectangle.row(row).iter_mut().for_each(|x| *x += 1 + task.start as u32);
        }
    });
    for (at, value) in matrix.iter().enumerate() {
        let (row, col) = (at / width, at % width);
        assert_eq!(*value as usize, 1 + row / rows * 3 + col / cols, "({row}, {col})");
    }
}

#[test]
#[should_panic(expected = "are not rectangles of")]
fn a_grid_that_does_not_fill_its_matrix_is_refused() {
    Grid::new(&mut [0; 30], 6, (2, 3));
}
