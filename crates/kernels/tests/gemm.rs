//! The matrix product: every kernel, view and shape against a plain triple loop in f64, and bits across thread counts.

use kernels::gemm::{Arithmetic, Data, KERNELS, Scale, View, Workspace, gemm, gemm_again, gemm_serial};
use kernels::pool::Pool;
use proptest::prelude::*;

/// Fixed pseudo-random values in −1 ..= 1.
fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(next).collect()
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    F32,
    One,
    PerRow,
}

/// A stored matrix that can be viewed as (rows, cols), possibly transposed and inside a wider one.
struct Stored {
    f32: Vec<f32>,
    i8: Vec<i8>,
    scales: Vec<f32>,
    kind: Kind,
    transposed: bool,
    shape: (usize, usize),
    strides: (usize, usize),
}

impl Stored {
    fn new(
        (rows, cols): (usize, usize),
        kind: Kind,
        transposed: bool,
        gap: (usize, usize),
        seed: u32,
    ) -> Stored {
        let shape = if transposed { (cols, rows) } else { (rows, cols) };
        let strides = (shape.1 * (1 + gap.1) + gap.0, 1 + gap.1);
        let len = match shape {
            (0, _) | (_, 0) => 0,
            (r, c) => (r - 1) * strides.0 + (c - 1) * strides.1 + 1,
        };
        let f32 = values(len, seed);
        let i8 = f32.iter().map(|v| (v * 127.0) as i8).collect();
        Stored { f32, i8, scales: values(shape.0, seed + 9), kind, transposed, shape, strides }
    }

    fn view(&self) -> View<'_> {
        let (rows, cols) = self.shape;
        let view = match self.kind {
            Kind::F32 => View::f32(&self.f32, rows, cols),
            Kind::One => View::i8(&self.i8, Scale::One(0.37), rows, cols),
            Kind::PerRow => View::i8(&self.i8, Scale::PerRow(&self.scales), rows, cols),
        };
        let view = view.strided(self.strides.0, self.strides.1);
        if self.transposed { view.t() } else { view }
    }
}

fn element(view: &View, i: usize, j: usize) -> f64 {
    let at = i * view.row_stride + j * view.col_stride;
    match view.data {
        Data::F32(data) => f64::from(data[at]),
        Data::I8 { codes, scale } => {
            let scale = match scale {
                Scale::One(s) => s,
                Scale::PerRow(s) => s[i],
                Scale::PerCol(s) => s[j],
            };
            f64::from(f32::from(codes[at]) * scale)
        }
    }
}

/// The most that rounding a row of A and a column of B to codes may change their product.
fn rounding(a: &View, b: &View, i: usize, j: usize) -> f64 {
    let k = a.cols;
    let (a_along, b_along) = (along(a.t()), along(*b));
    let factor = |factors: Option<&[f32]>, l: usize| factors.map_or(1.0, |factors| f64::from(factors[l]));
    // int8 operands hand their factors along K over, A's only if B has none.
    let (a_along, b_along) = (a_along.filter(|_| b_along.is_none()), b_along);
    let largest_a = (0..k).map(|l| (element(a, i, l) * factor(b_along, l) / factor(a_along, l)).abs());
    let largest_b = (0..k).map(|l| (element(b, l, j) * factor(a_along, l) / factor(b_along, l)).abs());
    let (largest_a, largest_b) = (largest_a.fold(0.0, f64::max), largest_b.fold(0.0, f64::max));
    let is_exact =
        |view: &View, handed: Option<&[f32]>| matches!(view.data, Data::I8 { .. }) && handed.is_none();
    let step = match (is_exact(a, b_along), is_exact(b, a_along)) {
        (true, true) => return 0.0,
        (false, false) => 1.0 / 8190.0,
        _ => 1.0 / 65534.0,
    };
    2.1 * step * k as f64 * largest_a * largest_b
}

/// The factors along K of an operand (K, lanes).
fn along<'a>(view: View<'a>) -> Option<&'a [f32]> {
    match view.data {
        Data::I8 { scale: Scale::PerRow(factors), .. } => Some(factors),
        _ => None,
    }
}

/// Compares with the triple loop; what lies between the rows of C must stay as it is.
fn check(a: &Stored, b: &Stored, ldc_gap: usize, accumulate: bool, pools: &[Pool]) {
    let (a, b) = (a.view(), b.view());
    let (m, n, k) = (a.rows, b.cols, a.cols);
    let ldc = n + ldc_gap;
    let before = values(m * ldc, 5);
    for kernel in KERNELS.iter().filter(|kernel| kernel.isa().is_supported()) {
        let mut ws = Workspace::with_kernel(*kernel);
        let mut serial = before.clone();
        gemm_serial(&mut ws, a, b, &mut serial, ldc, accumulate);
        for i in 0..m {
            for j in 0..ldc {
                let (at, old) = (i * ldc + j, before[i * ldc + j]);
                if j >= n {
                    assert_eq!(serial[at], old, "{}: wrote beyond C at {i}, {j}", kernel.name());
                    continue;
                }
                let products = (0..k).map(|l| element(&a, i, l) * element(&b, l, j));
                let (sum, size) = products.fold((0.0, 1.0), |(s, z), p| (s + p, z + p.abs()));
                let wanted = sum + if accumulate { f64::from(old) } else { 0.0 };
                let error = (f64::from(serial[at]) - wanted).abs();
                let rounding = match kernel.arithmetic() {
                    Arithmetic::F32 => 0.0,
                    Arithmetic::Bfp16 => rounding(&a, &b, i, j),
                };
                assert!(
                    error <= 1e-5 * size + rounding,
                    "{} ({m}, {n}, {k}) at {i}, {j}: {} for {wanted}",
                    kernel.name(),
                    serial[at]
                );
            }
        }
        for pool in pools {
            let mut c = before.clone();
            gemm(pool, &mut ws, a, b, &mut c, ldc, accumulate);
            let same = c.iter().zip(&serial).all(|(x, y)| x.to_bits() == y.to_bits());
            assert!(same, "{} on {} threads differs", kernel.name(), pool.threads());
        }
    }
}

fn pools() -> Vec<Pool> {
    [1, 2, 3].map(Pool::new).into()
}

#[test]
fn the_shapes_of_training() {
    let pools = pools();
    for (a_kind, a_t, b_kind, b_t) in [
        (Kind::F32, false, Kind::F32, true),
        (Kind::F32, false, Kind::One, false),
        (Kind::F32, true, Kind::PerRow, false),
        (Kind::PerRow, false, Kind::One, true),
        (Kind::PerRow, true, Kind::F32, true),
    ] {
        for (m, n, k) in
            [(113, 65, 400), (64, 64, 64), (14, 32, 384), (15, 33, 385), (1, 1, 1), (300, 70, 31)]
        {
            let a = Stored::new((m, k), a_kind, a_t, (0, 0), 1);
            let b = Stored::new((k, n), b_kind, b_t, (0, 0), 2);
            check(&a, &b, 0, false, &pools);
        }
    }
}

#[test]
fn a_product_of_many_tasks() {
    let a = Stored::new((700, 130), Kind::F32, false, (0, 0), 1);
    let b = Stored::new((130, 2100), Kind::One, true, (0, 0), 2);
    let (a, b) = (a.view(), b.view());
    let mut ws = Workspace::default();
    ws.reserve(3, 700, 2100, 130);
    let mut one = vec![0.0; 700 * 2100];
    gemm(&Pool::new(1), &mut ws, a, b, &mut one, 2100, false);
    for threads in [2, 3] {
        let mut more = vec![1.0; 700 * 2100];
        gemm(&Pool::new(threads), &mut ws, a, b, &mut more, 2100, false);
        assert!(one == more, "{threads} threads differ");
    }
    for at in [0, 2099, 350 * 2100 + 1234, 700 * 2100 - 1] {
        let wanted: f64 = (0..130).map(|l| element(&a, at / 2100, l) * element(&b, l, at % 2100)).sum();
        assert!((f64::from(one[at]) - wanted).abs() < 1e-2, "{} for {wanted}", one[at]);
    }
}

/// Rounded to bfloat16, half away from zero.
fn bf16(x: f64) -> f64 {
    f64::from(f32::from_bits(((x as f32).to_bits() + 0x8000) & 0xffff_0000))
}

/// ‖c − exact‖ / ‖exact‖
fn distance(c: impl Iterator<Item = f64>, exact: &[f64]) -> f64 {
    let error: f64 = c.zip(exact).map(|(c, e)| (c - e) * (c - e)).sum();
    (error / exact.iter().map(|e| e * e).sum::<f64>()).sqrt()
}

/// Operands like gradients: a few large elements among many small ones.
#[test]
fn block_floating_point_is_nearer_than_bfloat16_and_the_same_everywhere() {
    let (m, n, k) = (60, 70, 1000);
    let shrink =
        |x: &mut Vec<f32>| x.iter_mut().enumerate().for_each(|(i, x)| *x *= 0.9f32.powi((i % 97) as i32));
    let mut a = Stored::new((m, k), Kind::F32, false, (0, 0), 1);
    shrink(&mut a.f32);
    for (b_kind, share) in [(Kind::F32, 0.5), (Kind::One, 0.05), (Kind::PerRow, 0.05)] {
        let mut b = Stored::new((k, n), b_kind, false, (0, 0), 2);
        shrink(&mut b.f32);
        let (a, b) = (a.view(), b.view());
        let product = |round: fn(f64) -> f64| -> Vec<f64> {
            let term = |at: usize, l: usize| round(element(&a, at / n, l)) * round(element(&b, l, at % n));
            (0..m * n).map(|at| (0..k).map(|l| term(at, l)).sum()).collect()
        };
        let exact = product(|x| x);
        let bound = share * distance(product(bf16).into_iter(), &exact);
        let mut first: Option<Vec<f32>> = None;
        let kernels = KERNELS.iter().filter(|kernel| kernel.arithmetic() == Arithmetic::Bfp16);
        for kernel in kernels.filter(|kernel| kernel.isa().is_supported()) {
            let mut c = vec![0.0; m * n];
            gemm_serial(&mut Workspace::with_kernel(*kernel), a, b, &mut c, n, false);
            let error = distance(c.iter().map(|c| f64::from(*c)), &exact);
            assert!(error < bound, "{}, {b_kind:?}: {error:e}, may be {bound:e}", kernel.name());
            let same = |x: &Vec<f32>| x.iter().zip(&c).all(|(x, c)| x.to_bits() == c.to_bits());
            assert!(first.as_ref().is_none_or(same), "{} gives other bits", kernel.name());
            first = Some(c);
        }
    }
}

#[test]
fn what_is_not_finite_stays_visible() {
    for kernel in KERNELS.iter().filter(|kernel| kernel.isa().is_supported()) {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for a_t in [false, true] {
                let mut a = Stored::new((5, 40), Kind::F32, a_t, (0, 0), 1);
                let at = if a_t { 17 * 5 + 3 } else { 3 * 40 + 17 };
                a.f32[at] = bad;
                let b = Stored::new((40, 6), Kind::One, false, (0, 0), 2);
                let mut c = [0.0; 30];
                gemm_serial(&mut Workspace::with_kernel(*kernel), a.view(), b.view(), &mut c, 6, false);
                let rows: Vec<bool> = c.chunks(6).map(|row| row.iter().all(|c| c.is_finite())).collect();
                assert_eq!(rows, [true, true, true, false, true], "{} of {bad}", kernel.name());
            }
        }
    }
}

#[test]
fn a_packed_operand_serves_again() {
    let pool = Pool::new(2);
    let b = Stored::new((400, 70), Kind::F32, true, (0, 0), 2);
    for kernel in KERNELS.iter().filter(|kernel| kernel.isa().is_supported()) {
        let mut ws = Workspace::with_kernel(*kernel);
        for (rows, seed) in [(113, 1), (5, 7), (300, 9)] {
            let a = Stored::new((rows, 400), Kind::F32, false, (0, 0), seed);
            let [mut fresh, mut again] = [vec![0.0; rows * 70], vec![0.0; rows * 70]];
            let multiply = if seed == 1 { gemm } else { gemm_again };
            multiply(&pool, &mut ws, a.view(), b.view(), &mut again, 70, false);
            let mut own = Workspace::with_kernel(*kernel);
            gemm(&pool, &mut own, a.view(), b.view(), &mut fresh, 70, false);
            assert!(fresh == again, "{}: {rows} rows", kernel.name());
        }
    }
}

#[test]
#[should_panic(expected = "the last B was another")]
fn another_packed_operand_is_refused() {
    let data = [0.0; 6];
    let (pool, mut ws) = (Pool::new(1), Workspace::default());
    gemm(&pool, &mut ws, View::f32(&data, 2, 3), View::f32(&data, 3, 2), &mut [0.0; 4], 2, false);
    gemm_again(&pool, &mut ws, View::f32(&data, 2, 3), View::f32(&data, 3, 1), &mut [0.0; 4], 2, false);
}

#[test]
fn nothing_to_sum() {
    let pool = Pool::new(2);
    let mut ws = Workspace::default();
    let mut c = [1.0, 2.0, 3.0, 4.0, 5.0];
    gemm(&pool, &mut ws, View::f32(&[], 2, 0), View::f32(&[], 0, 2), &mut c, 3, true);
    assert_eq!(c, [1.0, 2.0, 3.0, 4.0, 5.0]);
    gemm(&pool, &mut ws, View::f32(&[], 2, 0), View::f32(&[], 0, 2), &mut c, 3, false);
    assert_eq!(c, [0.0, 0.0, 3.0, 0.0, 0.0]);
    gemm(&pool, &mut ws, View::f32(&[], 0, 3), View::f32(&[0.0; 6], 3, 2), &mut c, 2, false);
}

#[test]
#[should_panic(expected = "elements are too few")]
fn a_short_slice_is_refused() {
    let data = [0.0; 5];
    gemm_serial(
        &mut Workspace::default(),
        View::f32(&data, 2, 3),
        View::f32(&data, 3, 1),
        &mut [0.0; 2],
        1,
        false,
    );
}

#[test]
#[should_panic(expected = "C is smaller")]
fn a_short_result_is_refused() {
    let data = [0.0; 6];
    gemm_serial(
        &mut Workspace::default(),
        View::f32(&data, 2, 3),
        View::f32(&data, 3, 2),
        &mut [0.0; 3],
        2,
        false,
    );
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::F32), Just(Kind::One), Just(Kind::PerRow)]
}

fn stored() -> impl Strategy<Value = (Kind, bool, (usize, usize))> {
    (kind(), any::<bool>(), (0usize..4, 0usize..2))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn every_view_and_size(
        (m, n, k) in (0usize..70, 0usize..70, 0usize..70),
        a in stored(),
        b in stored(),
        gap in 0usize..3,
        accumulate: bool,
    ) {
        let pools = [Pool::new(2)];
        let a = Stored::new((m, k), a.0, a.1, a.2, 3);
        let b = Stored::new((k, n), b.0, b.1, b.2, 4);
        check(&a, &b, gap, accumulate, &pools);
    }
}
