//! **The** definition of BitNet b1.58 arithmetic; training, export, import and the reference call it.
//!
//! Source: "The Era of 1-bit LLMs: Training Tips, Code and FAQ", and transformers `integrations/bitnet.py`.
//!
//! - weights, one scale a tensor: `γ = max(mean|W|, 1e-5)`, `T = clip(round(W/γ), -1, 1)`, `Ŵ = γ·T`
//! - activations, one scale a token: `s = 127 / max(max|x|, 1e-5)`, `q = clip(round(x·s), -128, 127)`, `x̂ = q/s`
//! - gradual quantisation: `x_λ = x + λ(x̂ − x)`, `w_λ = W + λ(Ŵ − W)`
//! - product: `y = (Σ T·q) · γ/s`, the sum exact in i32
//!
//! `round` is half-to-even everywhere.

use kernels::quantize as arithmetic;

/// Lower bound of both denominators.
pub const EPSILON: f32 = 1e-5;

/// Largest magnitude an activation is scaled to.
pub const ACTIVATION_MAX: f32 = 127.0;

/// Elements whose magnitudes are summed together: `mean|W|` adds the sums of such blocks in order,
/// so that it has the same bits however many threads take the blocks.
pub const ABSMEAN_BLOCK: usize = 4096;

/// γ from the sum of magnitudes of `count` weights.
pub fn gamma(sum_of_magnitudes: f64, count: usize) -> f32 {
    ((sum_of_magnitudes / count.max(1) as f64) as f32).max(EPSILON)
}

/// γ of one latent tensor.
pub fn weight_scale(latent: &[f32]) -> f32 {
    let sum = latent.chunks(ABSMEAN_BLOCK).map(arithmetic::sum_of_magnitudes).sum();
    gamma(sum, latent.len())
}

/// Ternary codes `clip(round(w/γ), -1, 1)` of latent weights; returns how many codes changed.
pub fn ternarise(latent: &[f32], gamma: f32, codes: &mut [i8]) -> usize {
    arithmetic::ternarise(latent, gamma, codes)
}

/// int8 codes of one token's activations; returns the scale s with `x̂ = q/s`.
pub fn quantise_activations(x: &[f32], codes: &mut [i8]) -> f32 {
    let scale = ACTIVATION_MAX / arithmetic::largest_magnitude(x).max(EPSILON);
    arithmetic::round_to_i8(x, scale, codes);
    scale
}

/// What one integer of the product is worth: γ/s.
pub fn unit(gamma: f32, activation_scale: f32) -> f32 {
    gamma / activation_scale
}

/// Writes `x + λ(q/s − x)` for one token.
pub fn blend_activations(x: &[f32], lambda: f32, codes: &mut [i8], blended: &mut [f32]) {
    let scale = quantise_activations(x, codes);
    arithmetic::blend(x, codes, scale.recip(), lambda, blended);
}

/// Writes `W + λ(γT − W)`.
pub fn blend_weights(latent: &[f32], codes: &[i8], gamma: f32, lambda: f32, blended: &mut [f32]) {
    arithmetic::blend(latent, codes, gamma, lambda, blended);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_half_to_even_and_clip() {
        let latent = [0.5, -0.5, 0.500_001, 1.5, -7.0, 0.0];
        let mut codes = [9; 6];
        let changed = ternarise(&latent, 1.0, &mut codes);
        assert_eq!(codes, [0, 0, 1, 1, -1, 0]);
        assert_eq!(changed, 6);
        assert_eq!(ternarise(&latent, 1.0, &mut codes), 0);
    }

    #[test]
    fn a_zero_token_and_a_zero_tensor_stay_zero() {
        let mut codes = [7i8; 4];
        assert_eq!(quantise_activations(&[0.0; 4], &mut codes), ACTIVATION_MAX / EPSILON);
        assert_eq!(codes, [0; 4]);
        assert_eq!(weight_scale(&[0.0; 8]), EPSILON);
        assert_eq!(weight_scale(&[]), EPSILON);
    }

    #[test]
    fn a_ternary_tensor_requantised_shrinks_by_its_share_of_zeros() {
        let scale = 0.25f32;
        let latent: Vec<f32> = [1.0, 0.0, -1.0, 0.0].iter().map(|t| t * scale).collect();
        assert_eq!(weight_scale(&latent), scale * 0.5);
    }

    #[test]
    fn lambda_zero_is_full_precision_and_lambda_one_is_quantised() {
        let x = [0.3f32, -1.2, 0.07, 2.0];
        let (mut codes, mut blended) = ([0i8; 4], [0f32; 4]);
        blend_activations(&x, 0.0, &mut codes, &mut blended);
        assert_eq!(blended, x);
        blend_activations(&x, 1.0, &mut codes, &mut blended);
        for (value, code) in blended.iter().zip(codes) {
            assert!((value - f32::from(code) * 2.0 / 127.0).abs() < 1e-6);
        }
    }

    #[test]
    fn a_gaussian_tensor_has_the_known_share_of_zeros() {
        let config: crate::Config = toml::from_str(
            "hidden = 256\nlayers = 1\nheads = 4\nkv_heads = 4\nhead_size = 64\nffn = 256\nvocabulary = 16\ncontext = 8",
        )
        .unwrap();
        let weights = crate::Weights::random(&config, 1);
        let latent = weights.layout.blocks[0].projection(crate::Projection::Gate).of(&weights.data);
        let mut codes = vec![0; latent.len()];
        ternarise(latent, weight_scale(latent), &mut codes);
        let zeros = codes.iter().filter(|c| **c == 0).count() as f64 / codes.len() as f64;
        assert!((zeros - 0.3101).abs() < 0.01, "zero share {zeros}");
    }
}
