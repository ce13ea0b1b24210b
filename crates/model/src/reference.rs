//! The slow reference forward: plain loops, no cleverness, the text of SPEC §1 and §2 as code.
//! Everything fast is held against it.

use crate::{Activation, Config, Encoding, Extra, LinearKind, Norm, Projection, RopeStyle};
use crate::{Source, Weights, quantize, rope};
use formats::FileError;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A network held whole for the reference forward: latent and dense tensors as their values, tensors that are stored
/// ternary as their codes, with their own scale.
pub struct Network<'a> {
    weights: Cow<'a, Weights>,
    /// γ of what is stored ternary, by the start of its slot
    scales: BTreeMap<usize, f32>,
}

impl<'a> Network<'a> {
    /// Every matrix latent (or dense).
    pub fn latent(weights: &'a Weights) -> Self {
        Self { weights: Cow::Borrowed(weights), scales: BTreeMap::new() }
    }

    /// Reads all of a model. It takes four bytes a weight: this is for small models.
    ///
    /// # Errors
    /// What reading its tensors says.
    pub fn read(source: &dyn Source) -> Result<Self, FileError> {
        let mut weights = Weights::zeros(source.config());
        let mut scales = BTreeMap::new();
        for tensor in weights.layout.tensors() {
            let values = tensor.slot.of_mut(&mut weights.data);
            match source.encoding(&tensor.name)? {
                Encoding::Float => source.read(&tensor.name, 0..tensor.slot.rows, values)?,
                Encoding::Ternary { scale } => {
                    let mut codes = vec![0; values.len()];
                    source.read_codes(&tensor.name, 0..tensor.slot.rows, &mut codes)?;
                    values.iter_mut().zip(codes).for_each(|(value, code)| *value = f32::from(code));
                    scales.insert(tensor.slot.start, scale);
                }
            }
        }
        Ok(Self { weights: Cow::Owned(weights), scales })
    }

    /// Logits `(T, V)` of one sequence; see [`logits`].
    pub fn logits(&self, tokens: &[u32], starts: &[u32], lambda: f32) -> Vec<f32> {
        self.watched(tokens, starts, lambda, &mut |_| ())
    }

    /// As [`Network::logits`], and shows `watch` the residual stream, T rows of H, after each layer.
    pub fn watched(
        &self,
        tokens: &[u32],
        starts: &[u32],
        lambda: f32,
        watch: &mut dyn FnMut(&[Vec<f32>]),
    ) -> Vec<f32> {
        let Weights { config, layout, data } = &*self.weights;
        let hidden = config.hidden;
        let frequencies = rope::inverse_frequencies(config);
        let embedding = layout.embedding.of(data);
        let mut stream: Vec<Vec<f32>> =
            tokens.iter().map(|&id| embedding[id as usize * hidden..][..hidden].to_vec()).collect();
        for layer in 0..config.layers {
            let block = Block { network: self, frequencies: &frequencies, layer, lambda };
            block.attention(&mut stream, starts);
            block.feed_forward(&mut stream);
            watch(&stream);
        }
        let gain = layout.final_norm.of(data);
        let head = layout.head.of(data);
        let mut out = Vec::with_capacity(tokens.len() * config.vocabulary);
        for x in &stream {
            let x = rms_norm(x, Some(gain), config.final_epsilon());
            out.extend(head.chunks(hidden).map(|row| dot(row, &x)));
        }
        out
    }
}

/// Logits `(T, V)` of one sequence. `starts[i]` is the first position that position i may attend to
/// (0 without a document mask); `lambda` is the share of quantisation, 1 for BitLinear as served.
pub fn logits(weights: &Weights, tokens: &[u32], starts: &[u32], lambda: f32) -> Vec<f32> {
    Network::latent(weights).logits(tokens, starts, lambda)
}

struct Block<'a> {
    network: &'a Network<'a>,
    frequencies: &'a [f64], // (D/2)
    layer: usize,
    lambda: f32,
}

impl Block<'_> {
    fn config(&self) -> &Config {
        &self.network.weights.config
    }

    fn normalise(&self, x: &[f32], norm: Norm) -> Vec<f32> {
        if !norm.exists(self.config()) {
            return x.to_vec();
        }
        let Weights { layout, data, .. } = &*self.network.weights;
        let gain = layout.blocks[self.layer].gain(norm).map(|slot| slot.of(data));
        rms_norm(x, gain, self.config().norm_epsilon)
    }

    fn linear(&self, x: &[f32], projection: Projection) -> Vec<f32> {
        let Weights { layout, data, config } = &*self.network.weights;
        let slot = layout.blocks[self.layer].projection(projection);
        let w = slot.of(data);
        let stored = self.network.scales.get(&slot.start).copied();
        if stored.is_none() && (config.linear == LinearKind::Dense || self.lambda == 0.0) {
            return w.chunks(x.len()).map(|row| dot(row, x)).collect();
        }
        let gamma = stored.unwrap_or_else(|| quantize::weight_scale(w));
        let mut codes = vec![0i8; w.len()];
        quantize::ternarise(w, stored.map_or(gamma, |_| 1.0), &mut codes);
        let mut q = vec![0i8; x.len()];
        if self.lambda == 1.0 {
            let scale = quantize::quantise_activations(x, &mut q);
            let unit = quantize::unit(gamma, scale);
            return codes.chunks(x.len()).map(|row| integer_dot(row, &q) as f32 * unit).collect();
        }
        let mut x_blend = vec![0.0; x.len()];
        quantize::blend_activations(x, self.lambda, &mut q, &mut x_blend);
        let mut w_blend = vec![0.0; w.len()];
        // what is stored ternary has no latent value to blend with
        let share = if stored.is_some() { 1.0 } else { self.lambda };
        quantize::blend_weights(w, &codes, gamma, share, &mut w_blend);
        w_blend.chunks(x.len()).map(|row| dot(row, &x_blend)).collect()
    }

    fn extra(&self, extra: Extra) -> Option<&[f32]> {
        let Weights { layout, data, .. } = &*self.network.weights;
        layout.blocks[self.layer].extra(extra).map(|slot| slot.of(data))
    }

    /// The heads of one projection of `h`: its bias added, and where `norm` is given and the network has it, each
    /// head normalised.
    fn heads(&self, h: &[f32], projection: Projection, bias: Extra, norm: Option<Extra>) -> Vec<f32> {
        let mut x = self.linear(h, projection);
        if let Some(bias) = self.extra(bias) {
            add(&mut x, bias);
        }
        if let Some(gain) = norm.and_then(|norm| self.extra(norm)) {
            let normalise = |head: &[f32]| rms_norm(head, Some(gain), self.config().norm_epsilon);
            x = x.chunks(self.config().head_size).flat_map(normalise).collect();
        }
        x
    }

    fn attention(&self, stream: &mut [Vec<f32>], starts: &[u32]) {
        let config = self.config();
        let (mut queries, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (position, x) in stream.iter().enumerate() {
            let h = self.normalise(x, Norm::Attention);
            let turn = |x| rotate(config, self.frequencies, x, position);
            queries.push(turn(self.heads(&h, Projection::Q, Extra::QBias, Some(Extra::QNorm))));
            keys.push(turn(self.heads(&h, Projection::K, Extra::KBias, Some(Extra::KNorm))));
            values.push(self.heads(&h, Projection::V, Extra::VBias, None));
        }
        for (position, x) in stream.iter_mut().enumerate() {
            let visible = starts[position] as usize..=position;
            let mut out = Vec::with_capacity(config.query_width());
            for head in 0..config.heads {
                let kv = head * config.kv_heads / config.heads;
                let query = slice_head(config, &queries[position], head);
                let scores = visible
                    .clone()
                    .map(|at| {
                        dot(query, slice_head(config, &keys[at], kv)) / (config.head_size as f32).sqrt()
                    })
                    .collect();
                let weights = softmax(scores);
                let mut mixed = vec![0.0; config.head_size];
                for (weight, at) in weights.iter().zip(visible.clone()) {
                    let value = slice_head(config, &values[at], kv);
                    mixed.iter_mut().zip(value).for_each(|(sum, v)| *sum += weight * v);
                }
                out.extend(mixed);
            }
            let out = self.normalise(&out, Norm::AttentionSub);
            add(x, &self.linear(&out, Projection::O));
        }
    }

    fn feed_forward(&self, stream: &mut [Vec<f32>]) {
        for x in stream {
            let h = self.normalise(x, Norm::Ffn);
            let gate = self.linear(&h, Projection::Gate);
            let up = self.linear(&h, Projection::Up);
            let activation = self.config().activation;
            let product: Vec<f32> = gate.iter().zip(&up).map(|(g, u)| activate(activation, *g) * u).collect();
            let product = self.normalise(&product, Norm::FfnSub);
            add(x, &self.linear(&product, Projection::Down));
        }
    }
}

fn slice_head<'a>(config: &Config, x: &'a [f32], head: usize) -> &'a [f32] {
    &x[head * config.head_size..][..config.head_size]
}

fn activate(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Relu2 => x.max(0.0) * x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
    }
}

/// `x / sqrt(mean(x²) + ε) · gain`.
fn rms_norm(x: &[f32], gain: Option<&[f32]>, epsilon: f32) -> Vec<f32> {
    let factor = 1.0 / (dot(x, x) / x.len() as f32 + epsilon).sqrt();
    match gain {
        Some(gain) => x.iter().zip(gain).map(|(x, g)| x * factor * g).collect(),
        None => x.iter().map(|x| x * factor).collect(),
    }
}

/// Turns each pair of each head by `position` times its frequency.
fn rotate(config: &Config, frequencies: &[f64], mut x: Vec<f32>, position: usize) -> Vec<f32> {
    let half = config.head_size / 2;
    for head in x.chunks_mut(config.head_size) {
        for (i, frequency) in frequencies.iter().enumerate() {
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            let (sin, cos) = (sin as f32, cos as f32);
            let (first, second) = match config.rope_style {
                RopeStyle::RotateHalf => (i, i + half),
                RopeStyle::Interleaved => (2 * i, 2 * i + 1),
            };
            let (a, b) = (head[first], head[second]);
            head[first] = a * cos - b * sin;
            head[second] = b * cos + a * sin;
        }
    }
    x
}

fn softmax(scores: Vec<f32>) -> Vec<f32> {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scores.iter().map(|s| (s - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn integer_dot(codes: &[i8], q: &[i8]) -> i32 {
    codes.iter().zip(q).map(|(t, q)| i32::from(*t) * i32::from(*q)).sum()
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
