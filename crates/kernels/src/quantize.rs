//! The arithmetic under quantisation: magnitudes, and rounding half-to-even to small integers.

use crate::lanes;
use crate::multiversion;

multiversion! {
    /// `Σ |x|`, summed in f64.
    pub fn sum_of_magnitudes(x: &[f32]) -> f64 {
        lanes::sum_f64(x, |v| f64::from(v.abs()))
    }
}

multiversion! {
    /// `Σ x²`, summed in f64.
    pub fn sum_of_squares(x: &[f32]) -> f64 {
        lanes::sum_f64(x, |v| f64::from(v) * f64::from(v))
    }
}

multiversion! {
    /// `max |x|`, 0 for an empty slice; NaN elements are passed over.
    pub fn largest_magnitude(x: &[f32]) -> f32 {
        lanes::max(x, f32::abs, 0.0)
    }
}

multiversion! {
    /// `codes = clip(round(w / unit), -1, 1)`; returns how many codes changed.
    pub fn ternarise(w: &[f32], unit: f32, codes: &mut [i8]) -> usize {
        assert_eq!(w.len(), codes.len());
        let mut changed = 0u32;
        for (w, code) in w.iter().zip(codes) {
            let new = (w / unit).clamp(-1.0, 1.0).round_ties_even() as i32 as i8;
            changed += u32::from(new != *code);
            *code = new;
        }
        changed as usize
    }
}

multiversion! {
    /// `codes = clip(round(x · scale), -128, 127)`; NaN becomes 0.
    pub fn round_to_i8(x: &[f32], scale: f32, codes: &mut [i8]) {
        assert_eq!(x.len(), codes.len());
        for (x, code) in x.iter().zip(codes) {
            *code = (x * scale).clamp(-128.0, 127.0).round_ties_even() as i32 as i8;
        }
    }
}

multiversion! {
    /// `out = x + share · (code · unit − x)`.
    pub fn blend(x: &[f32], codes: &[i8], unit: f32, share: f32, out: &mut [f32]) {
        assert!(x.len() == codes.len() && x.len() == out.len());
        for ((x, code), out) in x.iter().zip(codes).zip(out) {
            *out = x + share * (f32::from(*code) * unit - x);
        }
    }
}
