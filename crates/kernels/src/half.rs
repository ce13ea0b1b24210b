//! 16-bit floats as they are stored (`u16` of bits), widened exactly where they are read, and attention over them.

use crate::multiversion;

/// How an element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// bfloat16: the upper half of an f32
    Bf16,
    /// IEEE binary16
    F16,
}

/// The value of a bfloat16.
#[inline(always)]
pub(crate) fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The value of a binary16, without a branch: the exponent is moved by a multiplication, which also makes the subnormal
/// numbers normal; infinity and NaN get the exponent that they have in f32.
#[inline(always)]
pub(crate) fn from_f16(bits: u16) -> f32 {
    const MOVE: f32 = f32::from_bits((127 + 112) << 23);
    const INFINITE: u32 = 0x7c00 << 13;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let moved = (f32::from_bits(magnitude) * MOVE).to_bits();
    let special = if magnitude >= INFINITE { 0x7f80_0000 } else { 0 };
    f32::from_bits(moved | special | u32::from(bits & 0x8000) << 16)
}

/// The nearest binary16, half to even; beyond ±65504 it is that bound, so that nothing finite becomes infinite. What is not
/// finite stays so.
#[inline(always)]
fn to_f16(value: f32) -> u16 {
    const LARGEST: f32 = 65504.0;
    /// the bits of 2^(-14), the least normal binary16
    const NORMAL: u32 = (127 - 14) << 23;
    let sign = (value.to_bits() >> 16) as u16 & 0x8000;
    let magnitude = value.abs().min(LARGEST);
    let bits = magnitude.to_bits();
    // Below the normal numbers the steps are 2^(-24): adding 0.5 leaves the rounded number of steps in the low bits.
    let subnormal = ((magnitude + 0.5).to_bits() - 0.5f32.to_bits()) as u16;
    let normal = ((bits + 0x0fff + ((bits >> 13) & 1)).wrapping_sub(112 << 23) >> 13) as u16;
    let finite = if bits < NORMAL { subnormal } else { normal };
    let special = if value.is_nan() { 0x7e00 } else { 0x7c00 };
    sign | if value.is_finite() { finite } else { special }
}

multiversion! {
    /// The values of bfloat16 numbers.
    pub fn widen_bf16(bits: &[u16], out: &mut [f32]) {
        assert_eq!(bits.len(), out.len());
        out.iter_mut().zip(bits).for_each(|(out, bits)| *out = from_bf16(*bits));
    }

    /// The values of binary16 numbers.
    pub fn widen_f16(bits: &[u16], out: &mut [f32]) {
        assert_eq!(bits.len(), out.len());
        out.iter_mut().zip(bits).for_each(|(out, bits)| *out = from_f16(*bits));
    }

    /// The nearest binary16 numbers, half to even; beyond ±65504 that bound. What is not finite stays so.
    pub fn narrow_f16(values: &[f32], out: &mut [u16]) {
        assert_eq!(values.len(), out.len());
        out.iter_mut().zip(values).for_each(|(out, value)| *out = to_f16(*value));
    }

    /// `Σ a·b` of bfloat16 a.
    pub fn dot_bf16(a: &[u16], b: &[f32]) -> f32 {
        dot(a, b, from_bf16)
    }

    /// `Σ a·b` of binary16 a.
    pub fn dot_f16(a: &[u16], b: &[f32]) -> f32 {
        dot(a, b, from_f16)
    }
}

/// Lanes of a sum in the end: one 512-bit register.
const LANES: usize = 16;
/// Lanes that sum side by side: four registers, because one addition waits for the one before it.
const WIDE: usize = 4 * LANES;

/// `Σ widen(a)·b` in a fixed order.
#[inline(always)]
fn dot(a: &[u16], b: &[f32], widen: impl Fn(u16) -> f32) -> f32 {
    assert_eq!(a.len(), b.len());
    let mut sums = [0.0f32; WIDE];
    let ((whole_a, rest_a), (whole_b, rest_b)) = (a.as_chunks::<WIDE>(), b.as_chunks::<WIDE>());
    for (a, b) in whole_a.iter().zip(whole_b) {
        for l in 0..WIDE {
            sums[l] += widen(a[l]) * b[l];
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(rest_a).zip(rest_b) {
        *sum += widen(*a) * b;
    }
    let mut lanes = [0.0; LANES];
    for l in 0..LANES {
        lanes[l] = (sums[l] + sums[LANES + l]) + (sums[2 * LANES + l] + sums[3 * LANES + l]);
    }
    crate::lanes::tree(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_binary16_comes_back() {
        for bits in 0..=u16::MAX {
            let value = from_f16(bits);
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
            let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
            match exponent {
                31 => assert!(if fraction == 0.0 { value.is_infinite() } else { value.is_nan() }),
                0 => assert_eq!(f64::from(value), sign * fraction * 2f64.powi(-24)),
                _ => {
                    assert_eq!(f64::from(value), sign * (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15))
                }
            }
            if exponent < 31 {
                assert_eq!(to_f16(value), bits, "{value:e}");
            }
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_and_half_to_even() {
        for bits in 0..0x7bffu16 {
            let (low, high) = (from_f16(bits), from_f16(bits + 1));
            let half = (low + high) / 2.0;
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            assert_eq!(to_f16(half), even, "{half:e}");
            assert_eq!(to_f16(f32::from_bits(half.to_bits() - 1)), bits);
            assert_eq!(to_f16(f32::from_bits(half.to_bits() + 1)), bits + 1);
        }
        assert_eq!([f32::MAX, f32::MIN].map(to_f16), [0x7bff, 0xfbff]);
        assert_eq!([f32::INFINITY, f32::NEG_INFINITY].map(to_f16), [0x7c00, 0xfc00]);
        assert!(from_f16(to_f16(f32::NAN)).is_nan() && from_f16(to_f16(-f32::NAN)).is_nan());
        assert_eq!(to_f16(-1e9), 0xfbff);
    }

    #[test]
    fn dots_are_those_of_the_widened_numbers() {
        for n in 0..150 {
            let b: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
            let bits: Vec<u16> = (0..n).map(|i| to_f16((i as f32 * 0.3).cos())).collect();
            let exact: f64 = bits.iter().zip(&b).map(|(a, b)| f64::from(from_f16(*a)) * f64::from(*b)).sum();
            assert!((f64::from(dot_f16(&bits, &b)) - exact).abs() < 1e-5);
            let exact: f64 = bits.iter().zip(&b).map(|(a, b)| f64::from(from_bf16(*a)) * f64::from(*b)).sum();
            assert!((f64::from(dot_bf16(&bits, &b)) - exact).abs() < 1e-5 * exact.abs().max(1.0));
        }
    }
}
