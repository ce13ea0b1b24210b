//! Products of blocks where they lie: every kernel, layout and shape against a plain triple loop in f64.

use kernels::gemm::{Arithmetic, Blocks, KERNELS, STRIDE, View, Wanted};

fn wave(n: usize, step: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * step).sin()).collect()
}

fn all_blocks() -> impl Iterator<Item = Blocks> {
    let kernels = KERNELS.iter().filter(|kernel| kernel.isa().is_supported());
    kernels.filter(|kernel| kernel.arithmetic() == Arithmetic::F32).map(|kernel| Blocks::with_kernel(*kernel))
}

/// (M, N, K): full tiles of every kernel, tails of all kinds, nothing to sum.
const SHAPES: [(usize, usize, usize); 7] =
    [(64, 64, 64), (28, 32, 17), (15, 33, 5), (1, 1, 1), (61, 40, 64), (13, 7, 0), (130, 4, 64)];

/// Depths and columns that count shrink from both ends as rows go on.
fn some(rows: &std::ops::Range<usize>, n: usize, k: usize) -> Wanted {
    let (skip, keep) = (rows.start / 3, rows.end);
    Wanted { depths: skip.min(k)..k.min(keep).max(skip.min(k)), cols: skip.min(n)..n }
}

fn check(name: &str, c: &[f32], a: &dyn Fn(usize, usize) -> f32, b: &[f32], shape: (usize, usize, usize)) {
    let (m, n, k) = shape;
    let ldc = n + 3;
    for i in 0..m {
        for j in 0..ldc {
            let at = c[i * ldc + j];
            if j >= n {
                assert_eq!(at, 7.0, "{name} {shape:?} wrote beyond C at {i}, {j}");
                continue;
            }
            let sum: f64 = (0..k).map(|d| f64::from(a(i, d)) * f64::from(b[d * n + j])).sum();
            assert!((f64::from(at) - 7.0 - sum).abs() < 1e-4, "{name} {shape:?} at {i}, {j}: {at} for {sum}");
        }
    }
}

#[test]
fn every_layout_and_shape() {
    for blocks in all_blocks() {
        for (m, n, k) in SHAPES {
            let b = wave(k * n, 0.37);
            let all = |_| Wanted { depths: 0..k, cols: 0..n };
            let fresh = || vec![7.0; m * (n + 3)];

            let beside = wave(k * (m + 2), 0.11);
            let mut c = fresh();
            let a = View::f32(&beside, m, k).strided(1, m + 2);
            blocks.multiply(a, View::f32(&b, k, n), (&mut c, n + 3), true, all);
            check("adjoining rows", &c, &|i, d| beside[d * (m + 2) + i], &b, (m, n, k));

            let apart = wave(m * STRIDE, 0.13);
            let mut c = fresh();
            let a = View::f32(&apart, m, k).strided(STRIDE, 1);
            blocks.multiply(a, View::f32(&b, k, n), (&mut c, n + 3), true, all);
            check("adjoining depths", &c, &|i, d| apart[i * STRIDE + d], &b, (m, n, k));

            let mut panels = vec![9.0; blocks.panels_len(m, k)];
            blocks.panels(View::f32(&apart, m, k).strided(STRIDE, 1), &mut panels);
            let mut c = fresh();
            blocks.multiply_panels((&panels, m, k), View::f32(&b, k, n), (&mut c, n + 3), all);
            for row in c.chunks_mut(n + 3) {
                row[..n].iter_mut().for_each(|c| *c += 7.0);
            }
            check("panels", &c, &|i, d| apart[i * STRIDE + d], &b, (m, n, k));
        }
    }
}

/// Leaving out depths where A is zero, and columns nobody wants, changes nothing that counts.
#[test]
fn what_is_not_wanted_is_left_out() {
    for blocks in all_blocks() {
        for (m, n, k) in SHAPES {
            let (apart, b) = (wave(m * STRIDE, 0.13), wave(k * n, 0.37));
            let (a, b) = (View::f32(&apart, m, k).strided(STRIDE, 1), View::f32(&b, k, n));
            let mut c = vec![f32::NAN; m * n];
            let rows_at_once = blocks.panel_rows();
            blocks.multiply(a, b, (&mut c, n), false, |rows| some(&rows, n, k));
            for i in 0..m {
                let first = i / rows_at_once * rows_at_once;
                let Wanted { depths, cols } = some(&(first..m.min(first + rows_at_once)), n, k);
                for j in cols {
                    let kernels::gemm::Data::F32(b) = b.data else { unreachable!() };
                    let term = |d: usize| f64::from(apart[i * STRIDE + d]) * f64::from(b[d * n + j]);
                    let sum: f64 = depths.clone().map(term).sum();
                    assert!((f64::from(c[i * n + j]) - sum).abs() < 1e-4, "({m}, {n}, {k}) at {i}, {j}");
                }
            }
        }
    }
}

#[test]
fn a_transposed_block_is_filled_up_with_zeros() {
    for blocks in all_blocks() {
        let x = wave(20 * 9, 0.3);
        let mut out = vec![5.0; 9 * 32];
        blocks.transpose(View::f32(&x, 20, 9), 32, &mut out);
        for (at, value) in out.iter().enumerate() {
            let (col, row) = (at / 32, at % 32);
            assert_eq!(*value, if row < 20 { x[row * 9 + col] } else { 0.0 });
        }
    }
}

#[test]
#[should_panic(expected = "A lies otherwise")]
fn other_strides_are_refused() {
    let x = [0.0; 64];
    let view = View::f32(&x, 8, 8);
    let all = |_| Wanted { depths: 0..8, cols: 0..8 };
    Blocks::default().multiply(view, view, (&mut [0.0; 64], 8), false, all);
}

#[test]
#[should_panic(expected = "elements are too few")]
fn a_short_block_is_refused() {
    let (a, b) = ([0.0; 8 * 8], [0.0; 63]);
    let (a, b) = (View::f32(&a, 8, 8).strided(1, 8), View::f32(&b, 8, 8));
    let all = |_| Wanted { depths: 0..8, cols: 0..8 };
    Blocks::default().multiply(a, b, (&mut [0.0; 64], 8), false, all);
}
