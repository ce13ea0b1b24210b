//! Sizes of the hidden states, layer by layer, in full precision and ternary.
//!
//! Rounding shrinks a Gaussian matrix to 0.66 of its norm, a heavy-tailed one to half; what a layer adds to the stream shrinks with
//! it unless training made up for it. The probe sends one prompt through the slow reference twice, with λ = 0 and λ = 1, and
//! compares the norms after each layer. Only latent weights have both.
//!
//! The ratio is an observation: 0.4 to 0.7 in models trained with BitLinear and in random ones alike. Only one outside of 0.05 to 20
//! at the last layer gets a warning: then the two have nothing to do with each other.
//!
//! Remedy: look at T402; a model that was trained densely has to be trained with BitLinear (`trilobit heal`).
//!
//! Source: a study in which norms halved in every layer of a model that was only rounded.

use super::{Case, Measured, Outcome, Probe, ProbeError};
use crate::Sign;
use crate::finding::number;
use model::reference::Network;
use model::{Encoding, LinearKind};

/// See the module.
pub struct HiddenNorms;

/// Weights × tokens that the reference is asked for at most; it takes about a second for each 10⁹.
pub(super) const WORK_MAX: usize = 2_000_000_000;
/// Tokens of the prompt.
const TOKENS: usize = 6;

impl Probe for HiddenNorms {
    fn code(&self) -> &'static str {
        "P107"
    }

    fn name(&self) -> &'static str {
        "hidden-norms"
    }

    fn run(&self, case: &Case) -> Result<Outcome, ProbeError> {
        let (source, config) = (&*case.model.source, case.model.config());
        if config.linear == LinearKind::Dense || source.encoding("layers.0.q")? != Encoding::Float {
            return Ok(Outcome::skipped("it has no latent weights"));
        }
        if config.parameters().saturating_mul(2 * TOKENS) > WORK_MAX {
            return Ok(Outcome::skipped("the model is too large for the slow reference"));
        }
        let network = Network::read(source)?;
        let mut ids = infer::prompts(config.vocabulary, case.tokenizer).swap_remove(1);
        ids.truncate(TOKENS.min(config.context));
        let norms = |lambda: f32| {
            let mut norms = Vec::new();
            network.watched(&ids, &vec![0; ids.len()], lambda, &mut |stream| {
                let square: f64 = stream.iter().flatten().map(|x| f64::from(*x).powi(2)).sum();
                norms.push((square / ids.len() as f64).sqrt());
            });
            norms
        };
        let (full, ternary) = (norms(0.0), norms(1.0));
        let ratios: Vec<f64> = ternary.iter().zip(&full).map(|(t, f)| t / f).collect();
        let shown: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        let text =
            format!("norm of the stream, ternary over full precision, after each layer: {}", shown.join(" "));
        let last = ratios.last().copied().unwrap_or(1.0);
        let sign = (!(0.05..=20.0).contains(&last))
            .then(|| Sign::warning(format!("{} at the last layer; {text}", number(last))));
        Ok(Outcome::Measured(Measured { text, sign, fix: None }))
    }
}
