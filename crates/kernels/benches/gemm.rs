//! GFLOP/s of the products, f32 and block floating point, beside crate `gemm` (plain f32 operands), alternating, medians, one and two threads.
//!
//! `cargo bench -p kernels --bench gemm [-- PART OF A NAME]`

use std::time::Instant;

use kernels::gemm::{Arithmetic, Scale, View, Workspace, gemm, gemm_serial};
use kernels::pool::Pool;

const ROUNDS: usize = 7;

/// What B holds: floats, ternary weights with one scale, or activations with a scale a row.
#[derive(Clone, Copy)]
enum Kind {
    Floats,
    Weights,
    Activations,
}

use Kind::{Activations, Floats, Weights};

/// (name, [M, N, K], [A transposed, B transposed], B)
type Shape = (&'static str, [usize; 3], [bool; 2], Kind);

const SHAPES: &[Shape] = &[
    ("forward NT", [4096, 768, 256], [false, true], Floats),
    ("forward NT", [4096, 256, 768], [false, true], Floats),
    ("forward NT", [4096, 256, 256], [false, true], Floats),
    ("head NT", [4096, 8192, 256], [false, true], Floats),
    ("dX NN", [4096, 768, 256], [false, false], Weights),
    ("dX NN", [4096, 256, 768], [false, false], Weights),
    ("dX NN f32", [4096, 256, 768], [false, false], Floats),
    ("head dX NN", [4096, 256, 8192], [false, false], Floats),
    ("dW TN", [256, 256, 4096], [true, false], Activations),
    ("dW TN", [768, 256, 4096], [true, false], Activations),
    ("dW TN", [256, 768, 4096], [true, false], Activations),
    ("dW TN f32", [768, 256, 4096], [true, false], Floats),
    ("head dW TN", [8192, 256, 4096], [true, false], Floats),
    ("square NN", [1024, 1024, 1024], [false, false], Floats),
];

const SMALL: &[Shape] = &[
    ("attention NT", [64, 64, 64], [false, true], Floats),
    ("attention NT", [64, 256, 64], [false, true], Floats),
    ("attention NN", [64, 64, 256], [false, false], Floats),
    ("attention TN", [64, 64, 1024], [true, false], Floats),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let matches = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    println!("read bandwidth, 1 thread: {:.1} GB/s", bandwidth());
    println!(
        "{:<13} {:>5} {:>5} {:>5}  {:>7} {:>13} {:>13} {:>13}",
        "", "M", "N", "K", "threads", "f32 GFLOP/s", "bfp16 GFLOP/s", "gemm GFLOP/s"
    );
    for threads in [1, 2] {
        let pool = Pool::new(threads);
        for shape in SHAPES.iter().filter(|shape| matches(shape.0)) {
            compare(shape, Some(&pool));
        }
    }
    for shape in SMALL.iter().filter(|shape| matches(shape.0)) {
        compare(shape, None);
    }
}

struct Operand {
    f32: Vec<f32>,
    i8: Vec<i8>,
    scales: Vec<f32>,
    kind: Kind,
    transposed: bool,
    rows: usize,
    cols: usize,
}

impl Operand {
    fn new(rows: usize, cols: usize, transposed: bool, kind: Kind) -> Operand {
        let code = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as i8;
        let f32 = (0..rows * cols).map(|i| f32::from(code(i)) / 128.0).collect();
        let (i8, scales) = ((0..rows * cols).map(code).collect(), vec![1.0 / 128.0; rows]);
        Operand { f32, i8, scales, kind, transposed, rows, cols }
    }

    fn view(&self) -> View<'_> {
        let (rows, cols) = if self.transposed { (self.cols, self.rows) } else { (self.rows, self.cols) };
        let view = match self.kind {
            Floats => View::f32(&self.f32, rows, cols),
            Weights => View::i8(&self.i8, Scale::One(1.0 / 128.0), rows, cols),
            Activations => View::i8(&self.i8, Scale::PerRow(&self.scales), rows, cols),
        };
        if self.transposed { view.t() } else { view }
    }

    /// (column stride, row stride)
    fn strides(&self) -> (isize, isize) {
        if self.transposed { (self.rows as isize, 1) } else { (1, self.cols as isize) }
    }
}

fn compare(&(name, [m, n, k], [a_t, b_t], kind): &Shape, pool: Option<&Pool>) {
    let (a, b) = (Operand::new(m, k, a_t, Floats), Operand::new(k, n, b_t, kind));
    let (mut c, mut peer) = (vec![0.0f32; m * n], vec![0.0f32; m * n]);
    let mut workspaces = [Arithmetic::F32, Arithmetic::Bfp16].map(Workspace::new);
    let flop = 2.0 * m as f64 * n as f64 * k as f64;
    let repeats = (2e8 / flop).ceil() as usize;
    let (mut ours, mut theirs) = ([Vec::new(), Vec::new()], Vec::new());
    for _ in 0..=ROUNDS {
        // Single precision last: its result is compared with the peer's.
        for (ws, seconds) in workspaces.iter_mut().zip(&mut ours).rev() {
            seconds.push(time(repeats, || match pool {
                Some(pool) => gemm(pool, ws, a.view(), b.view(), &mut c, n, false),
                None => gemm_serial(ws, a.view(), b.view(), &mut c, n, false),
            }));
        }
        theirs.push(time(repeats, || peer_gemm(&a, &b, &mut peer, pool)));
    }
    let worst = c.iter().zip(&peer).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-3 * (k as f32).sqrt(), "{name}: differs by {worst}");
    let rate = |seconds: &mut Vec<f64>| flop / median(&mut seconds[1..]) / 1e9;
    println!(
        "{name:<13} {m:>5} {n:>5} {k:>5}  {:>7} {:>13.1} {:>13.1} {:>13.1}",
        pool.map_or(1, Pool::threads),
        rate(&mut ours[0]),
        rate(&mut ours[1]),
        rate(&mut theirs)
    );
}

fn peer_gemm(a: &Operand, b: &Operand, c: &mut [f32], pool: Option<&Pool>) {
    let ((a_cs, a_rs), (b_cs, b_rs)) = (a.strides(), b.strides());
    let (m, n, k) = (a.rows, b.cols, a.cols);
    let parallelism = match pool.map_or(1, Pool::threads) {
        1 => ::gemm::Parallelism::None,
        threads => ::gemm::Parallelism::Rayon(threads),
    };
    let (dst, lhs, rhs) = (c.as_mut_ptr(), a.f32.as_ptr(), b.f32.as_ptr());
    // SAFETY: the three matrices have these shapes and strides.
    unsafe {
        ::gemm::gemm(
            m,
            n,
            k,
            dst,
            1,
            n as isize,
            false,
            lhs,
            a_cs,
            a_rs,
            rhs,
            b_cs,
            b_rs,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Seconds a call.
fn time(repeats: usize, mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..repeats {
        f();
    }
    start.elapsed().as_secs_f64() / repeats as f64
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn bandwidth() -> f64 {
    let data = vec![1u64; 32 << 20];
    let mut seconds: Vec<f64> = (0..5)
        .map(|_| time(1, || _ = std::hint::black_box(data.iter().fold(0u64, |a, b| a.wrapping_add(*b)))))
        .collect();
    data.len() as f64 * 8.0 / median(&mut seconds) / 1e9
}
