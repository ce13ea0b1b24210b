//! The best rows of a large table for one input, exactly, without reading the whole table in full precision.
//!
//! Every row w is also kept as eight-bit `ŵ = scale·q` with the length of what that leaves out, `e = ‖w − ŵ‖`. The input x is
//! split into two eight-bit halves x̂, so that the integer products give `ŵ·x̂` without error, and by Cauchy–Schwarz
//!
//! ```text
//! |w·x − ŵ·x̂| ≤ e·‖x̂‖ + ‖w‖·‖x − x̂‖ + the rounding of the f32 product
//! ```
//!
//! Where many inputs meet the rows together, multiplying is the work, and the high half alone is tried first.
//!
//! A row whose upper bound is below the k-th greatest lower bound cannot be one of the k best. The others, a few hundred of
//! a hundred thousand, are computed in full precision: the outcome is that of the whole product, bit for bit.

use crate::table::Table;
use kernels::memory::Memory;
use kernels::pool::{Pool, Rows};
use kernels::quantize;
use kernels::ternary::bytes::{self, Bytes};
use kernels::ternary::{self, PANEL, TernaryKernel};
use std::array;
use std::cmp::Ordering;

/// Inputs that meet the eight-bit rows together.
pub(crate) const INPUTS: usize = 16;

/// Inputs up to which both halves are multiplied at once: reading the rows is the work then.
const FEW: usize = 2;

/// The high half alone has kept too many where more than this fraction of the rows is left: computing those in full would
/// take as long as the low half.
const MANY: usize = 64;

/// Screenings with both halves at once, after the high half has kept too many.
const FINE: u32 = 32;

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
        let mut facts = vec![Facts::default(); rows.next_multiple_of(PANEL)];
        let mut packed = Memory::zeroed(bytes::packed_len(rows, columns))?;
        let parts = Rows::new(&mut facts, PANEL);
        bytes::pack_from(pool, (rows, columns), &mut packed, parts, |rows, facts, out| {
            let mut w = vec![0.0; columns];
            for ((row, facts), q) in rows.zip(facts).zip(out.chunks_exact_mut(columns)) {
                table.rows(row, &mut w);
                let scale = round(&w, q);
                let error = up(left_out(&w, q, scale));
                *facts = Facts { scale, error, norm: up(quantize::sum_of_squares(&w)) };
            }
        });
        facts.truncate(rows);
        Ok(Self { packed, facts, columns, kernel: ternary::select() })
    }

    /// Bytes of the eight-bit rows and their facts.
    pub(crate) fn bytes(&self) -> usize {
        self.packed.len() + size_of_val(&self.facts[..])
    }

    /// Hands `take(i, best)` the `counts[i]` rows with the greatest products with input i of `x` (M, K), and these, for up to
    /// [`INPUTS`] inputs: in the order of [`rank`], so that a product that is not finite is among them.
    pub(crate) fn best(
        &self,
        pool: &Pool,
        table: &Table,
        (x, counts): (&[f32], &[usize]),
        scratch: &mut Scratch,
        mut take: impl FnMut(usize, &[(u32, f32)]),
    ) {
        scratch.split(x, self.columns);
        let coarse = counts.len() > FEW && scratch.fine == 0;
        scratch.fine = scratch.fine.saturating_sub(1);
        self.bound(pool, if coarse { Halves::High } else { Halves::Both }, scratch);
        scratch.keep(pool, counts, self.facts.len());
        if coarse && scratch.kept[..counts.len()].iter().any(|kept| kept.rows.len() > self.facts.len() / MANY)
        {
            scratch.fine = FINE;
            self.bound(pool, Halves::Both, scratch);
            scratch.keep(pool, counts, self.facts.len());
        }
        scratch.score(pool, table, x);
        let mut first = 0;
        for (index, (kept, count)) in scratch.kept.iter().zip(counts).enumerate() {
            let best = &mut scratch.scored[first..first + kept.rows.len()];
            first += best.len();
            best.sort_unstable_by(rank);
            take(index, &best[..best.len().min((*count).max(1))]);
        }
    }

    /// Bounds of the products of all rows with the inputs of `scratch`.
    fn bound(&self, pool: &Pool, halves: Halves, scratch: &mut Scratch) {
        let (rows, columns) = (self.facts.len(), self.columns);
        let Scratch { q, inputs, lower, upper, greatest, .. } = scratch;
        let (inputs, count) = (&*inputs, inputs.len());
        let panels = rows.div_ceil(PANEL);
        let of_panels = |len: usize| panels * count * len;
        let parts = (
            Rows::new(&mut lower[..of_panels(PANEL)], count * PANEL),
            Rows::new(&mut upper[..of_panels(PANEL)], count * PANEL),
            Rows::new(&mut greatest[..of_panels(1)], count),
        );
        let q = &q[..halves as usize * count * columns];
        let weights = Bytes { bytes: &self.packed, n: rows, k: columns };
        bytes::for_panels(pool, self.kernel, weights, q, parts, |columns, sums, (lower, upper, greatest)| {
            let facts = &self.facts[columns];
            let (high, low) = sums.split_at(count);
            for (i, input) in inputs.iter().enumerate() {
                let own = i * PANEL..(i + 1) * PANEL;
                let bounds = Bounds { lower: &mut lower[own.clone()], upper: &mut upper[own] };
                let sums = (&high[i], low.get(i).unwrap_or(&[0; PANEL]));
                greatest[i] = bounds_of(sums, facts, (input, halves), bounds);
            }
        });
    }
}

/// The bounds of the products of 64 rows with one input; those beyond the last row are −∞.
struct Bounds<'a> {
    lower: &'a mut [f32],
    upper: &'a mut [f32],
}

/// Which halves of the inputs meet the rows.
#[derive(Clone, Copy)]
enum Halves {
    High = 1,
    Both = 2,
}

kernels::multiversion! {
    /// Writes the bounds of some rows' products from their sums with the high and the low half of an input, and returns the
    /// greatest of the lower and of the upper ones. What is no number is bounded by the infinities.
    fn bounds_of(
        sums: (&[i32; PANEL], &[i32; PANEL]),
        facts: &[Facts],
        input: (&Input, Halves),
        bounds: Bounds,
    ) -> [f32; 2] {
        let (Input { unit, norm, errors, least }, halves) = input;
        let error = errors[halves as usize - 1];
        let Bounds { lower, upper } = bounds;
        lower.fill(f32::NEG_INFINITY);
        upper.fill(f32::NEG_INFINITY);
        let mut greatest = [f32::NEG_INFINITY; 2];
        let sums = sums.0.iter().zip(sums.1);
        for (((high, low), facts), (lower, upper)) in sums.zip(facts).zip(lower.iter_mut().zip(upper)) {
            let sum = 256.0 * f64::from(*high) + f64::from(*low);
            let middle = sum * f64::from(facts.scale) * unit;
            let margin = f64::from(facts.error) * norm + f64::from(facts.norm) * error + least;
            let (least, most) = ((middle - margin) as f32, (middle + margin) as f32);
            *lower = if least.is_nan() { f32::NEG_INFINITY } else { least };
            *upper = if most.is_nan() { f32::INFINITY } else { most };
            greatest = [greatest[0].max(*lower), greatest[1].max(*upper)];
        }
        greatest
    }
}

/// The order of rows and their products: what is not finite first, lest it be lost, then the greatest, the lower row first
/// among equals.
pub(crate) fn rank(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    a.1.is_finite().cmp(&b.1.is_finite()).then(b.1.total_cmp(&a.1)).then(a.0.cmp(&b.0))
}

/// What one screening needs; allocated once, but for what grows with the rows that are kept.
pub(crate) struct Scratch {
    /// (2, M, K): the high halves of the inputs, then the low ones
    q: Vec<i8>,
    /// (M)
    inputs: Vec<Input>,
    /// (panels, M, 64)
    lower: Vec<f32>,
    /// (panels, M, 64)
    upper: Vec<f32>,
    /// (panels, M): the greatest lower and upper bound of a panel
    greatest: Vec<[f32; 2]>,
    /// (M)
    kept: Vec<Kept>,
    /// the rows kept for one input after the other, and their products
    scored: Vec<(u32, f32)>,
    /// Screenings that both halves do at once, because the high one alone kept too many rows not long ago.
    fine: u32,
}

/// The rows that may be among the best for one input.
#[derive(Clone, Default)]
struct Kept {
    rows: Vec<u32>,
    /// the greatest lower bounds, in order
    greatest: Vec<f32>,
}

impl Scratch {
    /// For a table of `rows` × `columns` and `inputs` at a time.
    pub(crate) fn new(rows: usize, columns: usize, inputs: usize) -> Self {
        let inputs = inputs.min(INPUTS);
        let panels = rows.div_ceil(PANEL);
        let kept = || Kept { rows: Vec::with_capacity(rows / MANY), greatest: Vec::new() };
        Self {
            q: vec![0; inputs * 2 * columns],
            inputs: Vec::with_capacity(inputs),
            lower: vec![0.0; panels * inputs * PANEL],
            upper: vec![0.0; panels * inputs * PANEL],
            greatest: vec![[0.0; 2]; panels * inputs],
            kept: (0..inputs).map(|_| kept()).collect(),
            scored: Vec::with_capacity(inputs * (rows / MANY)),
            fine: 0,
        }
    }

    /// Takes over the inputs (M, K).
    fn split(&mut self, x: &[f32], columns: usize) {
        let (high, low) = self.q.split_at_mut(x.len());
        let halves = high.chunks_exact_mut(columns).zip(low.chunks_exact_mut(columns));
        self.inputs.clear();
        self.inputs
            .extend(x.chunks_exact(columns).zip(halves).map(|(x, (high, low))| Input::split(x, high, low)));
    }

    /// Lists the rows, of so many, whose upper bound is not below the `counts[i]`-th greatest lower bound of input i.
    fn keep(&mut self, pool: &Pool, counts: &[usize], rows: usize) {
        let Self { lower, upper, greatest, kept, .. } = self;
        let count = counts.len();
        pool.for_rows(count, 1, Rows::new(&mut kept[..count], 1), |inputs, kept| {
            for (input, kept) in inputs.zip(kept) {
                let own = || (0..rows.div_ceil(PANEL)).map(|panel| panel * count + input);
                let lower = own().map(|at| (greatest[at][0], &lower[at * PANEL..][..PANEL]));
                let least = kth_greatest(lower, counts[input].clamp(1, rows), &mut kept.greatest);
                kept.rows.clear();
                for (panel, at) in own().enumerate().filter(|(_, at)| greatest[*at][1] >= least) {
                    let there = panel * PANEL..rows.min((panel + 1) * PANEL);
                    let upper = there.zip(&upper[at * PANEL..]).filter(|(_, bound)| **bound >= least);
                    kept.rows.extend(upper.map(|(row, _)| row as u32));
                }
            }
        });
    }

    /// Computes the products of the kept rows with their inputs `x` (M, K) in full precision.
    fn score(&mut self, pool: &Pool, table: &Table, x: &[f32]) {
        let Self { inputs, kept, scored, .. } = self;
        let mut ends = [0; INPUTS];
        scored.clear();
        for (end, kept) in ends.iter_mut().zip(&kept[..inputs.len()]) {
            scored.extend(kept.rows.iter().map(|row| (*row, 0.0)));
            *end = scored.len();
        }
        let (ends, columns) = (&ends[..inputs.len()], x.len() / inputs.len());
        pool.for_rows(scored.len(), 16, Rows::new(scored, 1), |range, scored| {
            for (at, (row, product)) in range.zip(scored) {
                let input = ends.partition_point(|end| *end <= at);
                *product = table.dot(*row as usize, &x[input * columns..][..columns]);
            }
        });
    }
}

/// The input in two halves: x̂ = unit·(256·high + low), or unit·256·high alone.
struct Input {
    unit: f64,
    /// at least ‖x‖ and ‖x̂‖
    norm: f64,
    /// what the high half alone and both halves leave out, and the rounding of a product in f32, as shares of ‖w‖
    errors: [f64; 2],
    /// the rounding of terms and bounds that are too small for shares
    least: f64,
}

impl Input {
    fn split(x: &[f32], high: &mut [i8], low: &mut [i8]) -> Self {
        /// 127·256: then the high half is at most 127 and the low one −128..=127
        const LARGEST: f64 = 32_512.0;
        let largest = f64::from(quantize::largest_magnitude(x));
        let unit = if largest > 0.0 { largest / LARGEST } else { 1.0 };
        let (mut norm, mut hats, mut errors) = (0.0, [0.0; 2], [0.0; 2]);
        for ((x, high), low) in x.iter().zip(high).zip(low) {
            let x = f64::from(*x);
            let whole = (x / unit).round() as i32;
            let top = (whole + 128) >> 8;
            (*high, *low) = (top as i8, (whole - 256 * top) as i8);
            norm += x * x;
            for ((hat, error), integer) in hats.iter_mut().zip(&mut errors).zip([256 * top, whole]) {
                let approximate = f64::from(integer) * unit;
                *hat += approximate * approximate;
                *error += (x - approximate).powi(2);
            }
        }
        let norm = hats.into_iter().fold(norm, f64::max).sqrt() * (1.0 + 1e-9);
        // A sum of K products in f32 is wrong by at most about K·2⁻²⁴·‖w‖‖x‖; 8 more for the rounding of the bounds.
        let rounding = (x.len() + 8) as f64 * 2f64.powi(-24) * norm;
        let errors = errors.map(|error| error.sqrt() * (1.0 + 1e-9) + rounding);
        // Near zero the steps of f32 are 2⁻¹⁴⁹, whatever is rounded.
        Self { unit, norm, errors, least: (x.len() + 8) as f64 * 2f64.powi(-149) }
    }
}

/// Eight-bit integers of a row; returns the value of one.
fn round(w: &[f32], q: &mut [i8]) -> f32 {
    let largest = quantize::largest_magnitude(w);
    let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
    quantize::round_to_i8(w, scale.recip(), q);
    scale
}

kernels::multiversion! {
    /// `‖w − scale·q‖²`, in several sums side by side.
    fn left_out(w: &[f32], q: &[i8], scale: f32) -> f64 {
        const SUMS: usize = 16;
        let square = |w: f32, q: i8| (f64::from(w) - f64::from(q) * f64::from(scale)).powi(2);
        let ((w, w_rest), (q, q_rest)) = (w.as_chunks::<SUMS>(), q.as_chunks::<SUMS>());
        let mut sums = [0.0; SUMS];
        for (w, q) in w.iter().zip(q) {
            sums = array::from_fn(|i| sums[i] + square(w[i], q[i]));
        }
        let rest = w_rest.iter().zip(q_rest).map(|(w, q)| square(*w, *q));
        sums.into_iter().chain(rest).sum()
    }
}

/// The root of a sum of squares, rounded up.
fn up(squares: f64) -> f32 {
    ((squares.sqrt() * (1.0 + 1e-6)) as f32).next_up()
}

/// The k-th greatest of the values of all panels, each with its greatest value; −∞ where they are fewer. Those found so far are
/// kept in `greatest`, sorted, because k is small.
fn kth_greatest<'a>(
    panels: impl Iterator<Item = (f32, &'a [f32])>,
    k: usize,
    greatest: &mut Vec<f32>,
) -> f32 {
    greatest.clear();
    let mut least = f32::NEG_INFINITY;
    for (most, values) in panels {
        if most <= least {
            continue;
        }
        for &value in values {
            if value <= least {
                continue;
            }
            let at = greatest.partition_point(|other| *other >= value);
            greatest.insert(at, value);
            greatest.truncate(k);
            least = greatest.get(k - 1).map_or(least, |last| *last);
        }
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
            // One input is screened by both halves, three by the high one first.
            for inputs in [1, 3] {
                let (x, mut best) = (&x[..inputs * columns], Vec::new());
                screen.best(&pool, &table, (x, &vec![count; inputs]), &mut scratch, |_, of| best.push(of.to_vec()));
                let expected: Vec<_> = x.chunks_exact(columns).map(|x| all(&table, x, count)).collect();
                prop_assert_eq!(best, expected);
            }
        }
    }

    #[test]
    fn zeros_and_damage_are_told_as_they_are() {
        let pool = Pool::new(1);
        let table = Table::of(vec![0.0; 12], 3);
        let screen = Screen::new(&pool, &table).unwrap();
        let mut scratch = Scratch::new(4, 3, 3);
        let x = [0.0, 0.0, 0.0, 1.0, f32::NAN, 0.0, 0.0, 1.0, 0.0];
        let mut best = Vec::new();
        screen.best(&pool, &table, (&x, &[2, 1, 4]), &mut scratch, |_, of| best.push(of.to_vec()));
        assert_eq!(best[0], [(0, 0.0), (1, 0.0)]);
        assert!(best[1].len() == 1 && best[1][0].1.is_nan());
        assert_eq!(best[2], [0, 1, 2, 3].map(|row| (row, 0.0)));
    }

    #[test]
    fn what_underflows_hides_no_row() {
        let (pool, columns, tiny) = (Pool::new(1), 64, 2f32.powi(-75));
        let mut values = vec![tiny * (1.0 + 2f32.powi(-7)); columns];
        values.extend([vec![96.0 * tiny], vec![0.0; columns - 1]].concat());
        let table = Table::of(values, columns);
        let screen = Screen::new(&pool, &table).unwrap();
        let x = vec![tiny; columns];
        let expected = all(&table, &x, 1);
        let mut scratch = Scratch::new(2, columns, 1);
        screen.best(&pool, &table, (&x, &[1]), &mut scratch, |_, best| assert_eq!(best, expected));
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
            for count in [1, 2, 699] {
                screen.best(&pool, &table, (&x, &[count]), &mut scratch, |_, best| {
                    assert!(best.len() == count && best[0].0 == 650, "{damage}, {count}");
                    assert!(best[1..].iter().all(|(_, product)| product.is_finite()));
                });
            }
        }
    }
}
