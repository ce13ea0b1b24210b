//! The beginning of a healing: a pretrained model's weights as latent weights of a network with ternary projections
//! (SPEC §6), and what belongs to that model besides its weights.
//!
//! A sub-norm that the model did not have is given the gain that changes its function least. With `n = x / rms(x)` of
//! each token, `Σ (x_c − g_c·n_c)²` over the tokens of a batch is least for `g_c = Σ x_c·n_c / Σ n_c²`, channel by channel.

use crate::TrainError;
use crate::config::{HealConfig, RunConfig};
use crate::loss::cross_entropy::Options;
use crate::material::Material;
use crate::step::{Dimensions, Keep, MicroBatch, Network, slice_of};
use checkpoint::Loaded;
use checkpoint::native::{self, Opened};
use data::{Batch, LoaderOptions, Split};
use kernels::gemm::Arithmetic;
use model::layout::Named;
use model::source::Encoding;
use model::{Config, LinearKind, Rotation, Weights};

/// What a model says and understands besides its weights; a run carries it from the model that it begins with to its checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Speech {
    /// Jinja source of the chat template
    pub chat_template: Option<String>,
    /// ids that end an answer
    pub end_ids: Vec<u32>,
    /// id that begins a text
    pub bos: Option<u32>,
}

impl Speech {
    /// That of a model.
    pub fn of(model: &Loaded) -> Self {
        Self { chat_template: model.chat_template.clone(), end_ids: model.end_ids.clone(), bos: model.bos }
    }

    /// That of a checkpoint of a run.
    pub(crate) fn saved(checkpoint: &Opened) -> Result<Self, TrainError> {
        let (end_ids, bos) = (checkpoint.ids(native::END_IDS), checkpoint.ids(native::BOS));
        Ok(Self { chat_template: checkpoint.chat_template()?, end_ids, bos: bos.first().copied() })
    }
}

/// The weights that a healing begins with: those of `model`.
///
/// # Errors
/// The model cannot be read, has another network than the run's, or holds a value that is not finite.
pub(crate) fn begin(
    config: &RunConfig,
    heal: &HealConfig,
    model: &Loaded,
    material: &Material,
) -> Result<Weights, TrainError> {
    let target = heal.target(model.config());
    if target != config.model {
        return Err(TrainError::OtherSource { path: heal.from.clone() });
    }
    let mut weights = read(model, model.config())?;
    if heal.rotate {
        weights = Rotation::of(&target).rotate(&weights);
    }
    if target.sub_norms != model.config().sub_norms {
        weights = insert_sub_norms(config, weights, material)?;
    }
    weights.config = target;
    Ok(weights)
}

/// All tensors of a model, as latent weights of `config`'s layout. Where it keeps ternary codes and no latent weights, `γ·T`
/// becomes latent weights that quantise to the same codes and the same γ.
///
/// # Errors
/// A tensor cannot be read, or holds a value that is not finite.
pub(crate) fn read(model: &Loaded, config: &Config) -> Result<Weights, TrainError> {
    let mut weights = Weights::zeros(config);
    for named in weights.layout.tensors() {
        read_tensor(model, named, named.slot.of_mut(&mut weights.data))?;
    }
    Ok(weights)
}

/// One of them.
pub(crate) fn read_tensor(model: &Loaded, named: &Named, values: &mut [f32]) -> Result<(), TrainError> {
    model.source.read(&named.name, 0..named.slot.rows, values)?;
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let (path, tensor) = (model.path.clone(), named.name.clone());
        return Err(TrainError::NotFinite { path, tensor, at });
    }
    if let Encoding::Ternary { scale } = model.source.encoding(&named.name)? {
        restore_latents(scale, values);
    }
    model.source.release(&named.name);
    Ok(())
}

/// `γT/(1−z)` has the absmean γ, where z is the share of zeros in T.
fn restore_latents(scale: f32, values: &mut [f32]) {
    let mean = values.iter().map(|value| f64::from(value.abs())).sum::<f64>() / values.len() as f64;
    if mean > 0.0 {
        let stretch = (f64::from(scale.abs()) / mean) as f32;
        values.iter_mut().for_each(|value| *value *= stretch);
    }
}

/// The same network with sub-norms before the output and the down projections, whose gains are fitted to the first batch.
fn insert_sub_norms(config: &RunConfig, plain: Weights, material: &Material) -> Result<Weights, TrainError> {
    let target = Config { sub_norms: true, linear: LinearKind::Dense, ..plain.config.clone() };
    let mut weights = plain.as_network(&target);
    let batch = first_batch(config, material)?;
    let train = &config.train;
    let slice = slice_of(train.batch, train.sequence);
    let dimensions = Dimensions {
        batch: slice,
        sequence: train.sequence,
        blend: false,
        backward: Arithmetic::F32,
        keep: Keep::Nothing,
    };
    let plain = Weights { config: Config { linear: LinearKind::Dense, ..plain.config.clone() }, ..plain };
    let mut network = Network::new(plain, dimensions, Options::default(), train.threads_used());
    let micro = MicroBatch::of(&batch).split(slice * train.sequence).next().expect("a batch has a slice");
    network.renew(0.0);
    network.observe_sub_norms(micro, &mut |layer, norm, x| {
        let gain = weights.layout.blocks[layer].gain(norm).expect("sub-norms have gains");
        fit_gain(x, target.norm_epsilon, gain.of_mut(&mut weights.data));
    });
    Ok(weights)
}

fn first_batch(config: &RunConfig, material: &Material) -> Result<Batch, TrainError> {
    let train = &config.train;
    let options = LoaderOptions {
        batch: train.batch,
        sequence: train.sequence,
        seed: train.seed,
        document_mask: train.document_mask,
    };
    let mut batch = Batch::default();
    material.loader(Split::Train, options)?.next(&mut batch);
    Ok(batch)
}

/// The gain `(W)` with which `g·x/rms(x)` is nearest to `x (T, W)`.
fn fit_gain(x: &[f32], epsilon: f32, gain: &mut [f32]) {
    let width = gain.len();
    let mut sums = vec![[0.0f64; 2]; width];
    for row in x.chunks_exact(width) {
        let square: f64 = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        let factor = (square / width as f64 + f64::from(epsilon)).sqrt().recip();
        for (sum, x) in sums.iter_mut().zip(row) {
            let (x, n) = (f64::from(*x), f64::from(*x) * factor);
            sum[0] += x * n;
            sum[1] += n * n;
        }
    }
    for (gain, [product, square]) in gain.iter_mut().zip(sums) {
        *gain = if square > 0.0 { (product / square) as f32 } else { 1.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where all tokens have one size, a norm with the fitted gain changes nothing.
    #[test]
    fn a_fitted_gain_keeps_what_has_one_size() {
        let x: Vec<f32> = (0..12).map(|i| if i % 3 == 1 { -2.0 } else { 2.0 }).collect();
        let mut gain = [0.0; 3];
        fit_gain(&x, 0.0, &mut gain);
        assert_eq!(gain, [2.0; 3]);
    }

    /// Better than one gain for all channels, and than any gain a little off.
    #[test]
    fn a_fitted_gain_is_the_least_squares_one() {
        let x: Vec<f32> = (0..40).map(|i| ((i * 37 % 19) as f32 - 9.0) * (1.0 + (i % 4) as f32)).collect();
        let mut gain = [0.0; 4];
        fit_gain(&x, 0.0, &mut gain);
        let error = |gain: &[f32]| -> f32 {
            let rows = x.chunks_exact(4).map(|row| {
                let rms = (row.iter().map(|x| x * x).sum::<f32>() / 4.0).sqrt();
                row.iter().zip(gain).map(|(x, g)| (x - g * x / rms).powi(2)).sum::<f32>()
            });
            rows.sum()
        };
        for channel in 0..4 {
            for off in [0.9, 1.1] {
                let mut other = gain;
                other[channel] *= off;
                assert!(error(&other) > error(&gain));
            }
        }
    }
}
