//! Every ternary kernel against plain sums, at odd sizes, extreme codes and any number of threads.

use kernels::pool::Pool;
use kernels::ternary::{Packed, matmul_scaled, pack, packed_len, supported};
use proptest::prelude::*;

fn expected(codes: &[i8], n: usize, k: usize, q: &[i8], scale: &[f32]) -> Vec<f32> {
    let mut out = Vec::new();
    for (row, scale) in scale.iter().enumerate() {
        for column in 0..n {
            let pairs = q[row * k..][..k].iter().zip(&codes[column * k..][..k]);
            let sum: i32 = pairs.map(|(q, c)| i32::from(*q) * i32::from(*c)).sum();
            out.push(sum as f32 * scale);
        }
    }
    out
}

fn compare(m: usize, n: usize, k: usize, codes: &[i8], q: &[i8]) {
    let scale: Vec<f32> = (0..m).map(|row| 0.25 + row as f32).collect();
    let expected = expected(codes, n, k, q, &scale);
    for threads in [1, 2, 3] {
        let pool = Pool::new(threads);
        let mut packed = vec![0xff; packed_len(n, k)];
        pack(&pool, codes, n, k, &mut packed);
        for kernel in supported() {
            let mut out = vec![f32::NAN; m * n];
            let weights = Packed { bytes: &packed, n, k };
            matmul_scaled(&pool, kernel, weights, q, &scale, &mut out);
            assert!(out == expected, "{} ({m}, {n}, {k}) on {threads} threads", kernel.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn every_kernel_is_exact(m in 0usize..80, n in 0usize..200, k in 0usize..90, seed in any::<u64>()) {
        let mut state = seed | 1;
        let mut draw = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u32
        };
        let codes: Vec<i8> = (0..n * k).map(|_| (draw() % 3) as i8 - 1).collect();
        let q: Vec<i8> = (0..m * k).map(|_| draw() as i8).collect();
        compare(m, n, k, &codes, &q);
    }
}

#[test]
fn the_largest_sums_do_not_overflow() {
    for (code, q) in [(1, -128), (-1, -128), (1, 127), (-1, 127), (0, -128)] {
        let (m, n, k) = (7, 65, 7001);
        compare(m, n, k, &vec![code; n * k], &vec![q; m * k]);
    }
}
