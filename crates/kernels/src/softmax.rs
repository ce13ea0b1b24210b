//! Exponentials, and the row operations of softmax and cross-entropy.

use crate::lanes;
use crate::multiversion;
use crate::quantize::ROUNDER;

/// `e^x` to about 2 units in the last place, without a table or a branch, so that loops over it vectorise.
/// Below −87.3 it is the smallest normal number's neighbourhood, above 88.3 it saturates.
/// Method: `x = n·ln 2 + r`, polynomial of degree 6 in r (Cephes `expf`), exponent bits from n.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // The exponent of 1.0, at its place in the bits.
    const ONE: u32 = 127 << 23;
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let power = p * r * r + r + 1.0;
    power * f32::from_bits((shifted.to_bits() << 23).wrapping_add(ONE))
}

multiversion! {
    /// `max x`, −∞ for an empty slice.
    pub fn largest(x: &[f32]) -> f32 {
        lanes::max(x, |v| v, f32::NEG_INFINITY)
    }
}

multiversion! {
    /// `x = e^(x − shift)`; returns the sum.
    pub fn exp_in_place(x: &mut [f32], shift: f32) -> f32 {
        lanes::map_sum(x, |v| exp(v - shift))
    }
}

multiversion! {
    /// `Σ e^((x − shift)·factor)`.
    pub fn sum_of_exp(x: &[f32], factor: f32, shift: f32) -> f32 {
        lanes::sum_pairs(x, x, |v, _| exp((v - shift) * factor))
    }
}

multiversion! {
    /// `KL(p ‖ q)` with `p = e^(c·teacher − theirs)`, `q = e^(c·student − ours)`; `teacher` becomes `(q − p) · gain`.
    /// The numbers are c, ours, theirs, gain.
    pub fn divergence(student: &[f32], teacher: &mut [f32], numbers: [f32; 4]) -> f32 {
        let [c, ours, theirs, gain] = numbers;
        let divergence = lanes::sum_pairs(student, teacher, |s, t| {
            let (log_q, log_p) = (c * s - ours, c * t - theirs);
            exp(log_p) * (log_p - log_q)
        });
        for (s, t) in student.iter().zip(teacher) {
            *t = (exp(c * s - ours) - exp(c * *t - theirs)) * gain;
        }
        divergence
    }
}

multiversion! {
    /// `Σ x`.
    pub fn sum(x: &[f32]) -> f32 {
        lanes::sum_pairs(x, x, |v, _| v)
    }
}

multiversion! {
    /// `x = x · factor + offset`.
    pub fn scale(x: &mut [f32], factor: f32, offset: f32) {
        x.iter_mut().for_each(|v| *v = *v * factor + offset);
    }
}

multiversion! {
    /// `Σ a·b`.
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        lanes::sum_pairs(a, b, |a, b| a * b)
    }
}

/// Columns of the matrices below: four 512-bit registers.
pub const COLUMNS: usize = 64;

multiversion! {
    /// `most[c] = max(most[c], x[r][c])` over the rows of `x (R, COLUMNS)`.
    pub fn largest_of_columns(x: &[f32], most: &mut [f32; COLUMNS]) {
        let mut largest = *most;
        for row in x.as_chunks::<COLUMNS>().0 {
            for c in 0..COLUMNS {
                largest[c] = if row[c] > largest[c] { row[c] } else { largest[c] };
            }
        }
        *most = largest;
    }

    /// `x = e^(x · factor − shift[c])` for `x (R, COLUMNS)`.
    pub fn exp_of_columns(x: &mut [f32], factor: f32, shift: &[f32; COLUMNS]) {
        for row in x.as_chunks_mut::<COLUMNS>().0 {
            for c in 0..COLUMNS {
                row[c] = exp(row[c] * factor - shift[c]);
            }
        }
    }

    /// `sums[c] += Σ x[r][c]` over the rows of `x (R, COLUMNS)`.
    pub fn sum_of_columns(x: &[f32], sums: &mut [f32; COLUMNS]) {
        let mut total = *sums;
        for row in x.as_chunks::<COLUMNS>().0 {
            for c in 0..COLUMNS {
                total[c] += row[c];
            }
        }
        *sums = total;
    }

    /// Gradient of a softmax over columns: `dp = p · (dp − mean[c]) · factor` for `p, dp (R, COLUMNS)`.
    pub fn softmax_backward_of_columns(p: &[f32], dp: &mut [f32], mean: &[f32; COLUMNS], factor: f32) {
        assert_eq!(p.len(), dp.len());
        for (p, dp) in p.as_chunks::<COLUMNS>().0.iter().zip(dp.as_chunks_mut::<COLUMNS>().0) {
            for c in 0..COLUMNS {
                dp[c] = p[c] * ((dp[c] - mean[c]) * factor);
            }
        }
    }
}

multiversion! {
    /// `x += y`.
    pub fn add(x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len());
        x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere() {
        for i in -8700..8800 {
            let x = i as f32 * 0.01;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-7, "e^{x}");
        }
    }

    #[test]
    fn reductions_work_at_every_odd_length() {
        for n in 0..70 {
            let x: Vec<f32> = (0..n).map(|i| (i as f32 - 20.0) * 0.25).collect();
            let exact: f32 = x.iter().sum();
            assert_eq!(sum(&x), exact);
            let top = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(largest(&x), top);
            let mut powers = x.clone();
            let total = exp_in_place(&mut powers, 1.0);
            let expected: f64 = x.iter().map(|v| f64::from(v - 1.0).exp()).sum();
            assert!((f64::from(total) - expected).abs() <= 1e-6 * expected);
        }
    }

    #[test]
    fn columns_are_what_rows_are_transposed() {
        let (rows, factor) = (19, 0.5f32);
        let x: Vec<f32> = (0..rows * COLUMNS).map(|i| (i as f32 * 0.7).sin() * 9.0).collect();
        let (mut most, mut sums) = ([f32::NEG_INFINITY; COLUMNS], [0.0; COLUMNS]);
        largest_of_columns(&x, &mut most);
        let shift = most.map(|most| most * factor);
        let mut p = x.clone();
        exp_of_columns(&mut p, factor, &shift);
        sum_of_columns(&p, &mut sums);
        let (mean, mut dp) = ([0.25; COLUMNS], x.clone());
        softmax_backward_of_columns(&p, &mut dp, &mean, factor);
        for c in 0..COLUMNS {
            let mut column: Vec<f32> = (0..rows).map(|r| x[r * COLUMNS + c] * factor).collect();
            assert_eq!(most[c] * factor, largest(&column));
            let sum = exp_in_place(&mut column, shift[c]);
            assert!((sum / sums[c] - 1.0).abs() < 1e-6);
            for (r, power) in column.iter().enumerate() {
                let at = r * COLUMNS + c;
                assert_eq!(p[at], *power);
                assert!((dp[at] - power * (x[at] - 0.25) * factor).abs() < 1e-6);
            }
        }
    }
}
