//! The arithmetic under quantisation: magnitudes, and rounding half-to-even to small integers.

use crate::lanes;
use crate::multiversion;

/// 1.5·2²³: added to a number below 2²² in magnitude it leaves the number rounded half-to-even in the low bits, in
/// two's complement, and subtracted again as a float. Unlike a conversion it has no cases, so it vectorises well.
pub(crate) const ROUNDER: f32 = 12_582_912.0;

/// The nearest integer, half to even, of a number in −128..=127; 0 for NaN.
#[inline(always)]
fn nearest(x: f32) -> i8 {
    (x + ROUNDER).to_bits() as i8
}

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
            let new = nearest((w / unit).clamp(-1.0, 1.0));
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
            *code = nearest((x * scale).clamp(-128.0, 127.0));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_half_to_even_everywhere_and_nan_is_zero() {
        for i in -1280..=1270 {
            for nudge in [-1e-4f32, 0.0, 1e-4] {
                let x = i as f32 * 0.1 + nudge;
                assert_eq!(i32::from(nearest(x)), x.round_ties_even() as i32, "{x}");
            }
        }
        for half in -127..=126 {
            let x = half as f32 + 0.5;
            assert_eq!(i32::from(nearest(x)), x.round_ties_even() as i32, "{x}");
        }
        let mut codes = [1i8; 4];
        round_to_i8(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30], 1.0, &mut codes);
        assert_eq!(codes, [0, 127, -128, 127]);
    }
}
