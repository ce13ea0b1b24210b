//! A low-rank adapter (LoRA, Hu et al. 2021): what is learned beside the projections of a network that does not change.
//!
//! `y = W·x + s·B·(A·x)`, where x is what the projection reads, before any quantisation.

use crate::layout::{Named, Slot};
use crate::weights::{Arena, uniform};
use crate::{Config, Projection};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The two matrices beside one projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// A (r, in)
    pub a: Slot,
    /// B (out, r)
    pub b: Slot,
}

/// What an adapter's matrices have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rank {
    /// r
    pub rank: usize,
    /// α
    pub alpha: f32,
    /// s is α/√r instead of α/r (Kalajdzievski 2023)
    pub stabilised: bool,
}

impl Rank {
    /// s
    pub fn scale(self) -> f32 {
        let rank = self.rank as f32;
        self.alpha / if self.stabilised { rank.sqrt() } else { rank }
    }
}

/// Low-rank matrices beside some projections of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// r and s
    pub rank: Rank,
    /// all elements
    pub data: Vec<f32>,
    blocks: Vec<[Option<Pair>; 7]>,
    tensors: Vec<Named>,
}

impl Adapter {
    /// All zeros, beside those projections of the network that `adapts(layer, projection)` names.
    pub fn zeros(config: &Config, rank: Rank, adapts: impl Fn(usize, Projection) -> bool) -> Self {
        let (mut tensors, mut len) = (Vec::new(), 0);
        let mut add = |name: String, rows: usize, cols: usize| {
            let slot = Slot { start: len, rows, cols };
            len += slot.len();
            tensors.push(Named { name, slot, is_matrix: true });
            slot
        };
        let mut pair = |layer: usize, projection: Projection| {
            let (out, input) = projection.shape(config);
            let name = |side: &str| format!("layers.{layer}.{}.lora_{side}", projection.name());
            adapts(layer, projection)
                .then(|| Pair { a: add(name("a"), rank.rank, input), b: add(name("b"), out, rank.rank) })
        };
        let blocks = (0..config.layers).map(|layer| Projection::ALL.map(|p| pair(layer, p))).collect();
        Self { rank, data: vec![0.0; len], blocks, tensors }
    }

    /// Fresh matrices, with which the network says what it said before: A uniform in ±1/√in (Kaiming's with a = √5, as
    /// PEFT begins), B zero. The same seed gives the same bits.
    pub fn fresh(config: &Config, rank: Rank, targets: &[Projection], seed: u64) -> Self {
        let mut adapter = Self::zeros(config, rank, |_, projection| targets.contains(&projection));
        let pairs: Vec<Pair> = adapter.blocks.iter().flatten().flatten().copied().collect();
        for (index, pair) in pairs.into_iter().enumerate() {
            let bound = 1.0 / (pair.a.cols as f64).sqrt();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(index as u64);
            let values = pair.a.of_mut(&mut adapter.data).iter_mut();
            values.for_each(|value| *value = ((2.0 * uniform(&mut rng) - 1.0) * bound) as f32);
        }
        adapter
    }

    /// The matrices beside a projection, if it is adapted.
    pub fn pair(&self, layer: usize, projection: Projection) -> Option<Pair> {
        self.blocks[layer][projection as usize]
    }

    /// Number of layers of the network.
    pub fn layers(&self) -> usize {
        self.blocks.len()
    }

    /// All matrices in the order of the arena.
    pub fn tensors(&self) -> &[Named] {
        &self.tensors
    }
}

impl Arena for Adapter {
    fn parts(&mut self) -> (&[Named], &mut [f32]) {
        (&self.tensors, &mut self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_adapter_changes_nothing_and_has_the_stated_size() {
        let config: Config = toml::from_str(
            "hidden = 64\nlayers = 2\nheads = 4\nkv_heads = 2\nhead_size = 16\nffn = 96\nvocabulary = 101\ncontext = 8",
        )
        .unwrap();
        let rank = Rank { rank: 3, alpha: 6.0, stabilised: false };
        assert_eq!(rank.scale(), 2.0);
        assert!((Rank { stabilised: true, ..rank }.scale() - 12f32.sqrt()).abs() < 1e-6);
        let targets = [Projection::Q, Projection::Down];
        let adapter = Adapter::fresh(&config, rank, &targets, 5);
        assert_eq!(adapter.data.len(), 2 * 3 * (64 + 64 + 96 + 64));
        assert_eq!(adapter.tensors().len(), 8);
        assert!(adapter.pair(1, Projection::K).is_none());
        let pair = adapter.pair(1, Projection::Down).unwrap();
        assert!(pair.b.of(&adapter.data).iter().all(|value| *value == 0.0));
        let a = pair.a.of(&adapter.data);
        let largest = a.iter().fold(0.0f32, |max, value| max.max(value.abs()));
        assert!(largest <= 1.0 / 96f32.sqrt() && largest > 0.9 / 96f32.sqrt(), "{largest}");
        assert_eq!(adapter, Adapter::fresh(&config, rank, &targets, 5));
        assert_ne!(adapter.data, Adapter::fresh(&config, rank, &targets, 6).data);
    }
}
