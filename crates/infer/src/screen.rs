//! The best rows of a large table for one input, exactly, without reading the whole table in full precision.
//!
//! Every row w is also kept as eight-bit `ŵ = scale·q` with the length of what that leaves out, `e = ‖w − ŵ‖`. The input x is
//! split into two eight-bit halves x̂, so that the integer products give `ŵ·x̂` without error, and by Cauchy–Schwarz
//!
//! ```text
//! |w·x − ŵ·x̂| ≤ e·‖x̂‖ + ‖w‖·‖x − x̂‖ + the rounding of the f32 product
//! ```
//!
//! A row whose upper bound is below the k-th greatest lower bound cannot be one of the k best. The others, a few hundred of
//! a hundred thousand, are computed in full precision: the outcome is that of the whole product, bit for bit.

use crate::table::Table;
use kernels::memory::Memory;
use kernels::pool::{PerWorker, Pool, Rows};
use kernels::quantize;
use kernels::ternary::bytes::{self, Bytes};
use kernels::ternary::{self, TernaryKernel};
use std::cmp::Ordering;

/// Rows of a task.
const TASK_ROWS: usize = 512;

/// Inputs that meet the eight-bit rows together.
pub(crate) const INPUTS: usize = 16;

/// A table with fewer elements is multiplied whole.
pub(crate) const ELEMENTS_MIN: usize = 1 << 22;

/// One row as the screen sees it.
#[derive(Clone, Copy, Default)]
struct Facts {
    /// value of one integer
    scale: f32,
    /// ‖w − ŵ‖
    error: f32,
    /// ‖w‖
    norm: f32,
}

/// Eight-bit rows of a table (N, K).
pub(crate) struct Screen {
    packed: Memory,
    facts: Vec<Facts>,
    columns: usize,
    kernel: &'static dyn TernaryKernel,
}

impl Screen {
    /// Makes the eight-bit rows.
    ///
    /// # Errors
    /// The system has no memory for them.
    pub(crate) fn new(pool: &Pool, table: &Table) -> std::io::Result<Self> {
        let (rows, columns) = (table.len(), table.columns());
        let mut facts = vec![Facts::default(); rows];
        let mut buffers = PerWorker::new(pool.threads(), || (vec![0.0; columns], vec![0; columns]));
        pool.for_rows_with(
            rows,
            TASK_ROWS,
            &mut buffers,
            Rows::new(&mut facts, 1),
            |(w, q), range, facts| {
                for (row, facts) in range.zip(facts) {
                    table.rows(row, w);
                    let scale = round(w, q);
                    let error = w
                        .iter()
                        .zip(&*q)
                        .map(|(w, q)| (f64::from(*w) - f64::from(*q) * f64::from(scale)).powi(2));
                    *facts = Facts { scale, error: up(error.sum()), norm: up(quantize::sum_of_squares(w)) };
                }
            },
        );
        let mut packed = Memory::zeroed(bytes::packed_len(rows, columns))?;
        bytes::pack_from(pool, rows, columns, &mut packed, |rows, out| {
            let mut w = vec![0.0; columns];
            for (row, q) in rows.zip(out.chunks_exact_mut(columns)) {
                table.rows(row, &mut w);
                round(&w, q);
            }
        });
        Ok(Self { packed, facts, columns, kernel: ternary::select() })
    }

    /// Bytes of the eight-bit rows and their facts.
    pub(crate) fn bytes(&self) -> usize {
        self.packed.len() + size_of_val(&self.facts[..])
    }

    /// Multiplies the eight-bit rows with up to [`INPUTS`] inputs `x` (M, K); [`Screen::best`] then finds the best of each.
    pub(crate) fn screen(&self, pool: &Pool, x: &[f32], scratch: &mut Scratch) {
        let (rows, columns) = (self.facts.len(), self.columns);
        let Scratch { q, sums, inputs, .. } = scratch;
        inputs.clear();
        let halves = q.chunks_exact_mut(2 * columns).zip(x.chunks_exact(columns));
        inputs.extend(halves.map(|(q, x)| Input::split(x, q)));
        let count = 2 * inputs.len();
        let weights = Bytes { bytes: &self.packed, n: rows, k: columns };
        bytes::sums(pool, self.kernel, weights, &q[..count * columns], &mut sums[..count * rows]);
    }

    /// The `count` rows with the greatest products with input number `index`, which is `x` (K), into `scratch.best`: in the
    /// order of [`rank`], so that a product that is not finite is among them.
    pub(crate) fn best(
        &self,
        pool: &Pool,
        table: &Table,
        (index, x): (usize, &[f32]),
        count: usize,
        scratch: &mut Scratch,
    ) {
        let Scratch { sums, inputs, lower, upper, greatest, kept, best, .. } = scratch;
        let (rows, input) = (self.facts.len(), &inputs[index]);
        let count = count.clamp(1, rows);
        let (high, low) = sums[2 * index * rows..2 * (index + 1) * rows].split_at(rows);
        let bounds = (Rows::new(lower, 1), Rows::new(upper, 1));
        pool.for_rows(rows, TASK_ROWS, bounds, |range, (lower, upper)| {
            let sums = high[range.clone()].iter().zip(&low[range.clone()]);
            for (((facts, (high, low)), lower), upper) in
                self.facts[range].iter().zip(sums).zip(lower).zip(upper)
            {
                let sum = 256 * i64::from(*high) + i64::from(*low);
                let middle = sum as f64 * f64::from(facts.scale) * input.unit;
                let margin = f64::from(facts.error) * input.norm + f64::from(facts.norm) * input.error;
                (*lower, *upper) = ((middle - margin) as f32, (middle + margin) as f32);
            }
        });
        let least = kth_greatest(lower, count, greatest);
        kept.clear();
        // A bound is no number where the input or the row is none.
        let may_be_best = |bound: f32| bound >= least || bound.is_nan();
        kept.extend((0..rows as u32).filter(|row| may_be_best(upper[*row as usize])));
        best.clear();
        best.resize(kept.len(), (0, 0.0));
        let survivors = &*kept;
        pool.for_rows(survivors.len(), 16, Rows::new(best, 1), |range, best| {
            for (row, best) in survivors[range].iter().zip(best) {
                *best = (*row, table.dot(*row as usize, x));
            }
        });
        best.sort_unstable_by(rank);
        best.truncate(count);
    }
}

/// The order of rows and their products: what is not finite first, lest it be lost, then the greatest, the lower row first
/// among equals.
pub(crate) fn rank(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    a.1.is_finite().cmp(&b.1.is_finite()).then(b.1.total_cmp(&a.1)).then(a.0.cmp(&b.0))
}

/// What one screening needs; allocated once, but for what grows with the number of best rows.
pub(crate) struct Scratch {
    /// (M, 2, K): the halves of the inputs
    q: Vec<i8>,
    /// (M, 2, N)
    sums: Vec<i32>,
    /// (M)
    inputs: Vec<Input>,
    /// (N)
    lower: Vec<f32>,
    /// (N)
    upper: Vec<f32>,
    /// the greatest lower bounds
    greatest: Vec<f32>,
    /// rows that may be among the best
    kept: Vec<u32>,
    /// the best rows and their products
    pub best: Vec<(u32, f32)>,
}

impl Scratch {
    /// For a table of `rows` × `columns` and `inputs` at a time.
    pub(crate) fn new(rows: usize, columns: usize, inputs: usize) -> Self {
        let inputs = inputs.min(INPUTS);
        Self {
            q: vec![0; inputs * 2 * columns],
            sums: vec![0; inputs * 2 * rows],
            inputs: Vec::with_capacity(inputs),
            lower: vec![0.0; rows],
            upper: vec![0.0; rows],
            greatest: Vec::new(),
            kept: Vec::with_capacity(rows),
            best: Vec::with_capacity(rows),
        }
    }
}

/// The input in two halves: x̂ = unit·(256·high + low).
struct Input {
    unit: f64,
    /// ‖x̂‖, at least ‖x‖
    norm: f64,
    /// what the halves leave out, and the rounding of a product in f32, both as shares of ‖w‖
    error: f64,
}

impl Input {
    fn split(x: &[f32], q: &mut [i8]) -> Self {
        /// 127·256: then the high half is at most 127 and the low one −128..=127
        const LARGEST: f64 = 32_512.0;
        let largest = f64::from(quantize::largest_magnitude(x));
        let unit = if largest > 0.0 { largest / LARGEST } else { 1.0 };
        let (high, low) = q.split_at_mut(x.len());
        let (mut norm, mut hat, mut error) = (0.0, 0.0, 0.0);
        for ((x, high), low) in x.iter().zip(high).zip(low) {
            let x = f64::from(*x);
            let whole = (x / unit).round() as i32;
            let top = (whole + 128) >> 8;
            (*high, *low) = (top as i8, (whole - 256 * top) as i8);
            let approximate = f64::from(whole) * unit;
            norm += x * x;
            hat += approximate * approximate;
            error += (x - approximate).powi(2);
        }
        let norm = norm.max(hat).sqrt() * (1.0 + 1e-9);
        // A sum of K products in f32 is wrong by at most about K·2⁻²⁴·‖w‖‖x‖; 8 more for the rounding of the bounds.
        let rounding = (x.len() + 8) as f64 * 2f64.powi(-24) * norm;
        Self { unit, norm, error: error.sqrt() * (1.0 + 1e-9) + rounding }
    }
}

/// Eight-bit integers of a row; returns the value of one.
fn round(w: &[f32], q: &mut [i8]) -> f32 {
    let largest = quantize::largest_magnitude(w);
    let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
    quantize::round_to_i8(w, scale.recip(), q);
    scale
}

/// The root of a sum of squares, rounded up.
fn up(squares: f64) -> f32 {
    (squares.sqrt() * (1.0 + 1e-6)) as f32
}

/// The k-th greatest of the numbers among `values`, k ≥ 1; −∞ where they are fewer. Those found so far are kept in `greatest`,
/// sorted, because k is small.
fn kth_greatest(values: &[f32], k: usize, greatest: &mut Vec<f32>) -> f32 {
    if k == 1 {
        return kernels::softmax::largest(values);
    }
    greatest.clear();
    let mut least = f32::NEG_INFINITY;
    for &value in values {
        if greatest.len() == k && value <= least || value.is_nan() {
            continue;
        }
        let at = greatest.partition_point(|other| *other >= value);
        greatest.insert(at, value);
        greatest.truncate(k);
        least = greatest.get(k - 1).map_or(least, |last| *last);
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(table: &Table, x: &[f32], count: usize) -> Vec<(u32, f32)> {
        let mut all: Vec<(u32, f32)> = (0..table.len()).map(|row| (row as u32, table.dot(row, x))).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(count);
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn the_best_are_those_of_the_whole_product(
            rows in 1usize..400,
            columns in 1usize..60,
            count in 1usize..50,
            // Close rows differ in the last bits of what the screen can see, or not at all.
            spread in prop_oneof![Just(0.0f32), Just(1e-6), Just(1e-3), Just(1.0)],
            seed: u64,
        ) {
            let mut state = seed;
            let mut draw = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            };
            let common: Vec<f32> = (0..columns).map(|_| draw()).collect();
            let values = (0..rows * columns).map(|i| common[i % columns] + spread * draw()).collect();
            let table = Table::of(values, columns);
            let x: Vec<f32> = (0..3 * columns).map(|_| draw() * 3.0).collect();
            let pool = Pool::new(2);
            let screen = Screen::new(&pool, &table).unwrap();
            let mut scratch = Scratch::new(rows, columns, 3);
            screen.screen(&pool, &x, &mut scratch);
            for (index, x) in x.chunks_exact(columns).enumerate() {
                screen.best(&pool, &table, (index, x), count, &mut scratch);
                prop_assert_eq!(&scratch.best, &all(&table, x, count));
            }
        }
    }

    #[test]
    fn zeros_and_damage_are_told_as_they_are() {
        let pool = Pool::new(1);
        let table = Table::of(vec![0.0; 12], 3);
        let screen = Screen::new(&pool, &table).unwrap();
        let mut scratch = Scratch::new(4, 3, 2);
        let x = [0.0, 0.0, 0.0, 1.0, f32::NAN, 0.0];
        screen.screen(&pool, &x, &mut scratch);
        screen.best(&pool, &table, (0, &x[..3]), 2, &mut scratch);
        assert_eq!(scratch.best, [(0, 0.0), (1, 0.0)]);
        screen.best(&pool, &table, (1, &x[3..]), 1, &mut scratch);
        assert!(scratch.best[0].1.is_nan());
    }

    #[test]
    fn a_row_that_is_not_finite_is_the_best() {
        let (pool, columns) = (Pool::new(1), 5);
        let x = [1.0, -2.0, 0.5, 3.0, 0.25];
        let mut scratch = Scratch::new(700, columns, 1);
        for damage in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values: Vec<f32> = (0..700 * columns).map(|i| (i as f32 * 0.7).sin()).collect();
            values[650 * columns + 2] = damage;
            let table = Table::of(values, columns);
            let screen = Screen::new(&pool, &table).unwrap();
            screen.screen(&pool, &x, &mut scratch);
            for count in [1, 2, 699] {
                screen.best(&pool, &table, (0, &x), count, &mut scratch);
                assert!(scratch.best.len() == count && scratch.best[0].0 == 650, "{damage}, {count}");
                assert!(scratch.best[1..].iter().all(|(_, product)| product.is_finite()));
            }
        }
    }
}
