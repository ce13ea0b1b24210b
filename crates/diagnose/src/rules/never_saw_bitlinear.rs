//! The weights never saw BitLinear.
//!
//! The straight-through estimator pulls latent weights to the rounding threshold at half of γ, and those that settled
//! there oscillate about it: a model trained with BitLinear has more weights between 0.4 and 0.6 γ than a smooth
//! distribution has (of weights beside them: 1.02 to 1.1 times after a hundred to four thousand steps here, 1.0035 in
//! a Gaussian, and between 0.99 and 1.0035 for heavier tails, SmolLM2's 1.003 included). A model without that crowd
//! was trained densely, and rounding it to three values makes noise of it.
//!
//! The evidence gives the probability, from equal prior odds and the error of counting, and beside it the figures of
//! the Gaussian reference: zero share 0.3101, norm ratio 0.6627, relative error 0.5132, cosine 0.8871. Those tell an
//! untrained tensor from a trained one, not a densely trained from a ternary one.
//!
//! Remedy: train it with BitLinear (`trilobit heal`), or serve it as the dense model that it is.
//!
//! Source: oscillation of latent weights (Nagel et al. 2022), measured here on runs of 108 to 3600 steps and on
//! SmolLM2-135M; a study that quantised a dense SmolLM2 and got garbage.

use crate::finding::{number, percent};
use crate::rules::Rule;
use crate::rules::never_trained::NeverTrained;
use crate::tensors::{Latent, Tensor, gaussian};
use crate::{Sign, Subject};

/// See the module.
pub struct NeverSawBitlinear;

impl Rule for NeverSawBitlinear {
    fn code(&self) -> &'static str {
        "T402"
    }

    fn name(&self) -> &'static str {
        "never-saw-bitlinear"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let trained_here = subject.recipe.own.is_some() && subject.progress.step.is_some();
        // an initialisation has its own rule
        if trained_here || NeverTrained.check(subject).is_some() {
            return None;
        }
        let latent: Vec<&Tensor> = subject
            .projections()
            .filter(|tensor| figures(tensor).is_some() && !tensor.three_values)
            .collect();
        let sum = |of: fn(&Latent) -> usize| {
            latent.iter().filter_map(|tensor| figures(tensor)).map(of).sum::<usize>() as f64
        };
        let (near, beside) = (sum(|latent| latent.near), sum(|latent| latent.beside));
        if near < 1000.0 || beside < 1000.0 {
            return None;
        }
        let crowding = near / beside;
        let never = probability(crowding, crowding * (1.0 / near + 1.0 / beside).sqrt());
        let mean = |of: &dyn Fn(&Tensor) -> f64| {
            latent.iter().map(|tensor| of(tensor)).sum::<f64>() / latent.len() as f64
        };
        let of = |of: fn(&Latent) -> f64| mean(&|tensor| figures(tensor).map_or(0.0, of));
        let text = format!(
            "{} that BitLinear never saw them: {} weights about the threshold for each beside it; zero share {}, norm ratio {}, \
             relative error {}, cosine {}",
            percent(never),
            number(crowding),
            number(mean(&|tensor| tensor.ternary.as_ref().map_or(0.0, |ternary| ternary.zero_share))),
            number(of(|latent| latent.norm_ratio)),
            number(of(|latent| latent.relative_error)),
            number(of(|latent| latent.cosine))
        );
        match never {
            never if never > 0.9 => Some(Sign::error(text)),
            never if never > 0.5 => Some(Sign::warning(text)),
            _ => None,
        }
    }
}

fn figures(tensor: &Tensor) -> Option<&Latent> {
    tensor.ternary.as_ref()?.latent.as_ref()
}

/// What smooth distributions differ by among each other.
const SPREAD: f64 = 0.003;
/// The crowding of trained models is taken as anything from 1 to 1.2.
const RANGE: f64 = 0.2;

/// That weights with this crowding, counted with this standard error, come from a smooth distribution.
fn probability(crowding: f64, error: f64) -> f64 {
    let spread = error.hypot(SPREAD);
    let z = ((crowding - gaussian::CROWDING) / spread).max(0.0);
    let smooth = (-0.5 * z * z).exp() / (spread * (2.0 * std::f64::consts::PI).sqrt());
    smooth / (smooth + 1.0 / RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        let found = fires(&NeverSawBitlinear, |s| {
            s.recipe.own = None;
            crowd(s, 1.003);
        });
        assert_eq!(found.severity, Severity::Error);
        assert!(found.evidence.contains("zero share 0.34"), "{}", found.evidence);
    }

    #[test]
    fn it_is_silent() {
        silent(&NeverSawBitlinear, |s| crowd(s, 1.02));
        silent(&NeverSawBitlinear, |s| s.progress.step = Some(0));
        assert!(
            probability(1.0, 0.002) > 0.9
                && probability(1.0198, 0.0025) < 0.01
                && probability(1.1, 0.001) < 1e-6
        );
    }
}
