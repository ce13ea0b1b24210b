//! Projections over two-bit weights against plain sums: every kernel, odd sizes, few and many rows, any number of threads.

use kernels::gate;
use kernels::pool::{Pool, Rows};
use kernels::ternary::bytes::{self, Bytes};
use kernels::ternary::project::{Codes, Scaled, Scratch, project, project_add, project_gated};
use kernels::ternary::two_bit::{TwoBit, pack, packed_len};
use kernels::ternary::{PANEL, TernaryKernel, supported};
use proptest::prelude::*;

/// Numbers that follow from a seed.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    fn matrix(&mut self, n: usize, k: usize) -> Matrix {
        let codes: Vec<i8> = (0..n * k).map(|_| (self.next() % 3) as i8 - 1).collect();
        Matrix::new(codes, n, k, 0.25 + (self.next() % 7) as f32)
    }
}

struct Matrix {
    codes: Vec<i8>,
    packed: Vec<u8>,
    n: usize,
    k: usize,
    gamma: f32,
}

impl Matrix {
    fn new(codes: Vec<i8>, n: usize, k: usize, gamma: f32) -> Self {
        let mut packed = vec![0xff; packed_len(n, k)];
        pack(&Pool::new(2), &codes, n, k, &mut packed);
        Self { codes, packed, n, k, gamma }
    }

    fn scaled(&self) -> Scaled<'_> {
        Scaled { weights: TwoBit { bytes: &self.packed, n: self.n, k: self.k }, gamma: self.gamma }
    }

    fn expected(&self, x: Codes) -> Vec<f32> {
        let mut out = Vec::new();
        for (row, scale) in x.scales.iter().enumerate() {
            for codes in self.codes.chunks(self.k) {
                let pairs = x.q[row * self.k..][..self.k].iter().zip(codes);
                let sum: i32 = pairs.map(|(q, c)| i32::from(*q) * i32::from(*c)).sum();
                out.push(sum as f32 * (self.gamma / scale));
            }
        }
        out
    }
}

fn compare(kernel: &'static dyn TernaryKernel, threads: usize, x: Codes, [a, b, c]: [&Matrix; 3]) {
    let name = format!("{} on {threads} threads, {} rows of {}", kernel.name(), x.scales.len(), a.k);
    let pool = Pool::new(threads);
    let mut scratch = Scratch::new(threads, x.scales.len(), a.k, kernel);
    let expected = [a, b, c].map(|matrix| matrix.expected(x));
    let [mut oa, mut ob, mut oc] = expected.clone().map(|out| vec![f32::NAN; out.len()]);
    let matrices = [a, b, c].map(Matrix::scaled);
    project(&pool, &mut scratch, x, matrices, [&mut oa, &mut ob, &mut oc]);
    assert!([oa, ob, oc] == expected, "project, {name}");
    let mut sum = vec![1.5; expected[0].len()];
    project_add(&pool, &mut scratch, x, a.scaled(), &mut sum);
    assert!(sum.iter().zip(&expected[0]).all(|(sum, e)| *sum == 1.5 + e), "project_add, {name}");
    let (mut gated, mut product) = (vec![f32::NAN; expected[0].len()], vec![0.0; expected[0].len()]);
    project_gated(&pool, &mut scratch, x, [a.scaled(), b.scaled()], gate::relu2, &mut gated);
    gate::relu2(&expected[0], &expected[1], &mut product);
    assert!(gated == product, "project_gated, {name}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_kernel_is_exact(m in 0usize..50, n in 1usize..200, nc in 1usize..70, k in 1usize..150, seed: u64) {
        let mut draw = Draw(seed);
        let [a, b, c] = [n, n, nc].map(|n| draw.matrix(n, k));
        let q: Vec<i8> = (0..m * k).map(|_| draw.next() as i8).collect();
        let scales: Vec<f32> = (0..m).map(|_| 0.5 + (draw.next() % 9) as f32).collect();
        for kernel in supported() {
            for threads in [1, 2, 3] {
                compare(kernel, threads, Codes { q: &q, scales: &scales }, [&a, &b, &c]);
            }
        }
    }
}

fn compare_bytes(n: usize, k: usize, weights: &[i8], q: &[i8]) {
    let mut expected = Vec::new();
    for q in q.chunks_exact(k) {
        expected.extend(
            weights
                .chunks_exact(k)
                .map(|w| -> i32 { w.iter().zip(q).map(|(w, q)| i32::from(*w) * i32::from(*q)).sum() }),
        );
    }
    for threads in [1, 3] {
        let pool = Pool::new(threads);
        let mut packed = vec![0xff; bytes::packed_len(n, k)];
        bytes::pack_from(&pool, (n, k), &mut packed, (), |rows, (), out| {
            out.copy_from_slice(&weights[rows.start * k..rows.end * k]);
        });
        for kernel in supported() {
            let weights = Bytes { bytes: &packed, n, k };
            let mut seen = vec![0; n.div_ceil(PANEL)];
            bytes::for_panels(&pool, kernel, weights, q, Rows::new(&mut seen, 1), |columns, sums, seen| {
                seen[0] += columns.len();
                for (sums, expected) in sums.iter().zip(expected.chunks_exact(n)) {
                    let same = sums[..columns.len()] == expected[columns.clone()];
                    assert!(same, "{} ({n}, {k}), {columns:?}", kernel.name());
                }
            });
            assert_eq!(seen.iter().sum::<usize>(), n);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_kernel_is_exact_with_bytes(m in 0usize..20, n in 1usize..150, k in 1usize..100, seed: u64) {
        let mut draw = Draw(seed);
        let mut bytes = |len: usize| -> Vec<i8> { (0..len).map(|_| draw.next() as i8).collect() };
        let (weights, q) = (bytes(n * k), bytes(m * k));
        compare_bytes(n, k, &weights, &q);
    }
}

#[test]
fn the_largest_products_of_bytes_do_not_overflow() {
    for (weight, q) in [(-128, -128), (127, -128), (127, 127), (-128, 127)] {
        let (n, k) = (17, 7001);
        compare_bytes(n, k, &vec![weight; n * k], &vec![q; 2 * k]);
    }
}

#[test]
fn the_largest_sums_do_not_overflow() {
    for (code, q) in [(1, -128), (-1, -128), (1, 127), (-1, 127), (0, -128)] {
        for m in [1, 7, 13] {
            let (n, k) = (65, 7001);
            let matrix = Matrix::new(vec![code; n * k], n, k, 1.0);
            let (q, scales) = (vec![q; m * k], vec![1.0; m]);
            for kernel in supported() {
                compare(kernel, 2, Codes { q: &q, scales: &scales }, [&matrix; 3]);
            }
        }
    }
}
