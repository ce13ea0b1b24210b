//! The latent (shadow) weights of one network in one flat arena.

use crate::layout::Named;
use crate::{Config, Layout};
use kernels::memory;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Standard deviation of fresh weights (GPT-2, Llama).
const INITIAL_DEVIATION: f64 = 0.02;

/// Parameters in one flat arena: those of a network, or of an adapter.
pub trait Arena {
    /// Names and places, and all elements.
    fn parts(&mut self) -> (&[Named], &mut [f32]);
}

/// Full-precision parameters and where each lies.
#[derive(Clone, Debug)]
pub struct Weights {
    /// the network they belong to
    pub config: Config,
    /// names and places
    pub layout: Layout,
    /// all parameters, `layout.len()` elements
    pub data: Vec<f32>,
}

impl Weights {
    /// All zeros.
    pub fn zeros(config: &Config) -> Self {
        let layout = Layout::new(config);
        let data = memory::zeros(layout.len());
        Self { config: config.clone(), layout, data }
    }

    /// Fresh weights: gains 1, biases 0, matrices normal with deviation 0.02, the two matrices that write to the
    /// residual stream divided by √(2L) (GPT-2). The same seed gives the same bits.
    pub fn random(config: &Config, seed: u64) -> Self {
        let mut weights = Self::zeros(config);
        let residual = INITIAL_DEVIATION / (2.0 * config.layers as f64).sqrt();
        for (index, tensor) in weights.layout.tensors().iter().enumerate() {
            let values = tensor.slot.of_mut(&mut weights.data);
            if !tensor.is_matrix {
                values.fill(if tensor.name.ends_with("_bias") { 0.0 } else { 1.0 });
                continue;
            }
            let writes_residual = tensor.name.ends_with(".o") || tensor.name.ends_with(".down");
            let deviation = if writes_residual { residual } else { INITIAL_DEVIATION };
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(index as u64);
            fill_normal(values, deviation, &mut rng);
        }
        weights
    }

    /// These weights in a network of `config`: tensors that only one of both has are left out, or zero.
    pub fn as_network(&self, config: &Config) -> Self {
        let mut weights = Self::zeros(config);
        for named in weights.layout.tensors() {
            if let Some(own) = self.layout.tensors().iter().find(|own| own.name == named.name) {
                named.slot.of_mut(&mut weights.data).copy_from_slice(own.slot.of(&self.data));
            }
        }
        weights
    }
}

impl Arena for Weights {
    fn parts(&mut self) -> (&[Named], &mut [f32]) {
        (self.layout.tensors(), &mut self.data)
    }
}

/// Box–Muller, two values from two uniforms.
fn fill_normal(values: &mut [f32], deviation: f64, rng: &mut ChaCha8Rng) {
    for pair in values.chunks_mut(2) {
        let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt() * deviation;
        let angle = std::f64::consts::TAU * uniform(rng);
        pair[0] = (radius * angle.cos()) as f32;
        if let Some(second) = pair.get_mut(1) {
            *second = (radius * angle.sin()) as f32;
        }
    }
}

/// Uniform in [0, 1) with 53 bits.
pub(crate) fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_weights_have_the_stated_moments_and_are_reproducible() {
        let config: Config = toml::from_str(
            "hidden = 64\nlayers = 2\nheads = 4\nkv_heads = 2\nhead_size = 16\nffn = 96\nvocabulary = 101\ncontext = 8",
        )
        .unwrap();
        let a = Weights::random(&config, 7);
        assert_eq!(a.data, Weights::random(&config, 7).data);
        assert_ne!(a.data, Weights::random(&config, 8).data);
        let embedding = a.layout.embedding.of(&a.data);
        let mean = embedding.iter().sum::<f32>() / embedding.len() as f32;
        let square = embedding.iter().map(|w| w * w).sum::<f32>() / embedding.len() as f32;
        assert!(mean.abs() < 1e-3 && (square.sqrt() - 0.02).abs() < 1e-3);
        assert!(a.layout.final_norm.of(&a.data).iter().all(|gain| *gain == 1.0));
    }
}
