//! RMSNorm of one row, forward and backward.

use crate::lanes;
use crate::multiversion;

multiversion! {
    /// `out = x · r · gain` with `r = 1/√(mean(x²) + ε)`; returns r. Without a gain it is 1.
    pub fn rms_norm(x: &[f32], gain: Option<&[f32]>, epsilon: f32, out: &mut [f32]) -> f32 {
        assert_eq!(x.len(), out.len());
        let mean_square = lanes::sum_pairs(x, x, |a, b| a * b) / x.len() as f32;
        let factor = 1.0 / (mean_square + epsilon).sqrt();
        match gain {
            Some(gain) => {
                assert_eq!(x.len(), gain.len());
                for ((x, gain), out) in x.iter().zip(gain).zip(out) {
                    *out = x * factor * gain;
                }
            }
            None => x.iter().zip(out).for_each(|(x, out)| *out = x * factor),
        }
        factor
    }
}

multiversion! {
    /// `rms_norm` with a gain, over its own input.
    pub fn rms_norm_in_place(x: &mut [f32], gain: &[f32], epsilon: f32) {
        assert_eq!(x.len(), gain.len());
        let mean_square = lanes::sum_pairs(x, x, |a, b| a * b) / x.len() as f32;
        let factor = 1.0 / (mean_square + epsilon).sqrt();
        x.iter_mut().zip(gain).for_each(|(x, gain)| *x = *x * factor * gain);
    }
}

multiversion! {
    /// Gradient of `rms_norm` with the factor r it returned: `dx += r·(g − x̂·mean(g·x̂))` and
    /// `dgain += dy·x̂`, where `x̂ = x·r` and `g = dy·gain`. `dy` is overwritten by g.
    pub fn rms_norm_backward(dy: &mut [f32], x: &[f32], gain: Option<(&[f32], &mut [f32])>, factor: f32, dx: &mut [f32]) {
        assert!(dy.len() == x.len() && x.len() == dx.len());
        if let Some((gain, dgain)) = gain {
            assert!(gain.len() == x.len() && dgain.len() == x.len());
            for (((dy, x), gain), dgain) in dy.iter_mut().zip(x).zip(gain).zip(dgain) {
                *dgain += *dy * (x * factor);
                *dy *= gain;
            }
        }
        let mean = lanes::sum_pairs(dy, x, |g, x| g * x) * factor / x.len() as f32;
        for ((g, x), dx) in dy.iter().zip(x).zip(dx) {
            *dx += factor * (g - x * factor * mean);
        }
    }
}
