//! A change of basis that leaves a network's function as it is and spreads its outliers: the residual stream and the values of
//! every head are turned by orthogonal matrices, which the matrices that write and read them take in (QuaRot, arXiv 2404.00456;
//! SpinQuant's R1 and R2, arXiv 2405.16406). A few elements a hundred times larger than the others, which pretrained networks
//! have, would decide the step of every rounding; after it they are a part of all elements.
//!
//! RMSNorm does not see a turn, but gains that differ do. So gains become even, and what reads behind a norm takes in how they
//! differed; a tied head becomes a matrix of its own, since the final norm's gain is in it alone.

use crate::{Config, Extra, Norm, Projection, Slot, Weights};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::f64::consts::TAU;

/// An orthogonal matrix `Q (N, N)` whose elements are all about `1/√N`: `Q = D·(A ⊗ H)` with N = M·P, M odd and P a power of
/// two, random signs D, the discrete Hartley transform `A (M, M)` and the Walsh–Hadamard transform `H (P, P)`.
#[derive(Clone, Debug)]
pub struct Turn {
    /// D (N)
    signs: Vec<f32>,
    /// (M): `cas(2πk/M)/√N`; A's element (i, j) stands at `i·j mod M`
    cas: Vec<f32>,
}

impl Turn {
    /// The turn of `len` elements, always the same one.
    fn new(len: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(len as u64);
        let signs = (0..len).map(|_| if rng.next_u32() & 1 == 0 { 1.0 } else { -1.0 }).collect();
        let odd = len >> len.trailing_zeros();
        let cas = |k: usize| {
            let angle = TAU * k as f64 / odd as f64;
            ((angle.cos() + angle.sin()) / (len as f64).sqrt()) as f32
        };
        Self { signs, cas: (0..odd).map(cas).collect() }
    }

    /// N.
    pub fn width(&self) -> usize {
        self.signs.len()
    }

    /// `x = x·Q` for every row of `x (R, N)`.
    pub fn rows(&self, x: &mut [f32]) {
        let len = self.width();
        let (odd, mut mixed) = (self.cas.len(), vec![0.0; len]);
        for x in x.chunks_exact_mut(len) {
            x.iter_mut().zip(&self.signs).for_each(|(x, sign)| *x *= sign);
            mixed.fill(0.0);
            for (i, mixed) in mixed.chunks_exact_mut(len / odd).enumerate() {
                for (j, x) in x.chunks_exact(len / odd).enumerate() {
                    let factor = self.cas[i * j % odd];
                    mixed.iter_mut().zip(x).for_each(|(mixed, x)| *mixed += factor * x);
                }
                walsh_hadamard(mixed);
            }
            x.copy_from_slice(&mixed);
        }
    }

    /// `x = Qᵀ·x` for every N rows of `x`, which has rows of `width`.
    fn columns(&self, x: &mut [f32], width: usize) {
        let len = self.width();
        let mut column = vec![0.0; len];
        for x in x.chunks_exact_mut(len * width) {
            for c in 0..width {
                column.iter_mut().zip(x[c..].iter().step_by(width)).for_each(|(to, from)| *to = *from);
                self.rows(&mut column);
                x[c..].iter_mut().step_by(width).zip(&column).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

/// `x = x·H` with elements ±1, for a power of two of elements.
fn walsh_hadamard(x: &mut [f32]) {
    let mut half = 1;
    while half < x.len() {
        for pair in x.chunks_exact_mut(2 * half) {
            let (a, b) = pair.split_at_mut(half);
            a.iter_mut().zip(b).for_each(|(a, b)| (*a, *b) = (*a + *b, *a - *b));
        }
        half *= 2;
    }
}

/// The change of basis of a network.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// of the residual stream (H)
    pub stream: Turn,
    /// of each head's values (D)
    pub values: Turn,
}

impl Rotation {
    /// That of all networks of this width and head size.
    pub fn of(config: &Config) -> Self {
        Self { stream: Turn::new(config.hidden), values: Turn::new(config.head_size) }
    }

    /// The same function in the new basis; its head is not tied.
    pub fn rotate(&self, weights: &Weights) -> Weights {
        let tied = weights.config.tied;
        let mut turned = weights.as_network(&Config { tied: false, ..weights.config.clone() });
        let Weights { config, layout, data } = &mut turned;
        if tied {
            let embedding = layout.embedding;
            data.copy_within(embedding.start..embedding.start + embedding.len(), layout.head.start);
        }
        fold_gain(data, layout.final_norm, &[layout.head]);
        self.stream.rows(layout.embedding.of_mut(data));
        self.stream.rows(layout.head.of_mut(data));
        for block in &layout.blocks {
            let [q, k, v, o, gate, up, down] = Projection::ALL.map(|projection| block.projection(projection));
            let readers: [(Norm, &[Slot]); 3] =
                [(Norm::Attention, &[q, k, v]), (Norm::AttentionSub, &[o]), (Norm::Ffn, &[gate, up])];
            for (norm, readers) in readers {
                block.gain(norm).iter().for_each(|gain| fold_gain(data, *gain, readers));
            }
            [q, k, v, gate, up].iter().for_each(|slot| self.stream.rows(slot.of_mut(data)));
            [o, down].iter().for_each(|slot| self.stream.columns(slot.of_mut(data), slot.cols));
            self.values.columns(v.of_mut(data), config.hidden);
            self.values.rows(o.of_mut(data));
            if let Some(bias) = block.extra(Extra::VBias) {
                self.values.rows(bias.of_mut(data));
            }
        }
        turned
    }
}

/// The gain `(W)` becomes the same for all elements, and the columns of the matrices `(rows, W)` behind it take in what it was
/// more or less. Together they keep their sum of squares, so that a learning rate means to them what it did.
fn fold_gain(data: &mut [f32], gain: Slot, readers: &[Slot]) {
    let gains = gain.of(data).to_vec();
    let [mut plain, mut scaled] = [0.0f64; 2];
    for row in readers.iter().flat_map(|reader| reader.of(data).chunks_exact(gains.len())) {
        for (weight, gain) in row.iter().zip(&gains) {
            plain += f64::from(weight * weight);
            scaled += f64::from(weight * gain * weight * gain);
        }
    }
    let even = if plain > 0.0 && scaled > 0.0 { (scaled / plain).sqrt() as f32 } else { 1.0 };
    for reader in readers {
        for row in reader.of_mut(data).chunks_exact_mut(gains.len()) {
            row.iter_mut().zip(&gains).for_each(|(weight, gain)| *weight *= gain / even);
        }
    }
    gain.of_mut(data).fill(even);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinearKind, NormPlacement, reference};

    fn network(sizes: &str, change: impl Fn(&mut Config)) -> Weights {
        let mut config: Config = toml::from_str(&format!(
            "layers = 2\nheads = 4\nkv_heads = 2\nffn = 20\nvocabulary = 50\ncontext = 8\ntied = true\n{sizes}"
        ))
        .unwrap();
        config.linear = LinearKind::Dense;
        change(&mut config);
        let mut weights = Weights::random(&config, 5);
        // Gains that differ, biases that are not zero, and matrices that matter.
        for (index, value) in weights.data.iter_mut().enumerate() {
            *value = 4.0 * *value + 0.1 * ((index * 7919 % 101) as f32 / 50.0 - 1.0);
        }
        weights
    }

    #[test]
    fn every_family_keeps_its_function() {
        let sizes =
            ["hidden = 24\nhead_size = 6", "hidden = 15\nhead_size = 2", "hidden = 16\nhead_size = 10"];
        let families: [fn(&mut Config); 5] = [
            |config| config.sub_norms = false,
            |config| config.sub_norms = true,
            |config| (config.qkv_bias, config.tied) = (true, false),
            |config| config.qk_norm = true,
            |config| config.norm_placement = NormPlacement::Inside,
        ];
        for size in sizes {
            for family in families {
                let plain = network(size, family);
                let turned = Rotation::of(&plain.config).rotate(&plain);
                let tokens = [3, 1, 4, 1, 5, 9, 2, 6];
                let wanted = reference::logits(&plain, &tokens, &[0; 8], 0.0);
                let found = reference::logits(&turned, &tokens, &[0; 8], 0.0);
                let largest = wanted.iter().fold(0.0f32, |most, logit| most.max(logit.abs()));
                for (wanted, found) in wanted.iter().zip(&found) {
                    assert!((wanted - found).abs() < 1e-4 * largest, "{size}: {wanted} {found}");
                }
                let gains = turned.layout.final_norm.of(&turned.data);
                assert!(!turned.config.tied && gains.iter().all(|gain| *gain == gains[0]));
            }
        }
    }

    #[test]
    fn a_turn_is_orthogonal_and_spreads_what_stands_alone() {
        for len in [1, 2, 3, 8, 15, 24, 49, 576] {
            let turn = Turn::new(len);
            let mut matrix = vec![0.0; len * len];
            (0..len).for_each(|i| matrix[i * len + i] = 1.0);
            turn.rows(&mut matrix);
            // Elements of A are at most √2 of the mean.
            let bound = (2.0 / len as f32).sqrt() + 1e-6;
            assert!(matrix.iter().all(|element| element.abs() <= bound), "{len}");
            let mut product = matrix.clone();
            turn.columns(&mut product, len);
            for (at, element) in product.iter().enumerate() {
                let wanted = if at % (len + 1) == 0 { 1.0 } else { 0.0 };
                assert!((element - wanted).abs() < 1e-5, "{len}: {at} {element}");
            }
        }
    }
}
