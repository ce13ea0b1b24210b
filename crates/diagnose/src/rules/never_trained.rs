//! The model was never trained.
//!
//! Its state says step 0, or, where it has no state, its weights are those of an initialisation: every projection
//! Gaussian within the error of counting, every gain exactly 1. What such a model says is noise, however it is
//! converted.
//!
//! Remedy: use a checkpoint that has been trained; look whether the trainer saved before its first step, or loaded
//! nothing.
//!
//! Source: a checkpoint of a study that was exported with `global_step = 0` and `best_eval_loss = inf`.

use crate::rules::Rule;
use crate::tensors::{Tensor, gaussian};
use crate::{Sign, Subject};

/// See the module.
pub struct NeverTrained;

impl Rule for NeverTrained {
    fn code(&self) -> &'static str {
        "T201"
    }

    fn name(&self) -> &'static str {
        "never-trained"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        if subject.progress.step == Some(0) {
            return Some(Sign::error("its state says that 0 steps were trained"));
        }
        if subject.progress.step.is_some() {
            return None;
        }
        let latent: Vec<&Tensor> = subject.projections().filter(|tensor| is_latent(tensor)).collect();
        let gains = || subject.tensors.iter().filter(|tensor| tensor.name.ends_with("norm"));
        let untouched = gains().count() > 0 && gains().all(|gain| gain.absmean == 1.0 && gain.largest == 1.0);
        let is_fresh = !latent.is_empty() && untouched && latent.iter().all(|tensor| is_gaussian(tensor));
        let text = format!(
            "all {} projections are Gaussian (zero share {} ± counting error) and all gains are 1",
            latent.len(),
            gaussian::ZERO_SHARE
        );
        is_fresh.then(|| Sign::error(text))
    }
}

fn is_latent(tensor: &Tensor) -> bool {
    tensor.ternary.as_ref().is_some_and(|ternary| ternary.latent.is_some())
}

/// Zero share and cosine within four standard deviations of counting, and of the cosine's own spread.
fn is_gaussian(tensor: &Tensor) -> bool {
    let Some((ternary, latent)) = tensor.ternary.as_ref().and_then(|t| Some((t, t.latent.as_ref()?))) else {
        return false;
    };
    let root = (tensor.len().max(1) as f64).sqrt();
    (ternary.zero_share - gaussian::ZERO_SHARE).abs() < 4.0 * 0.4625 / root + 1e-4
        && (latent.cosine - gaussian::COSINE).abs() < 4.0 * 0.5 / root + 1e-4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&NeverTrained, |s| s.progress.step = Some(0));
        fires(&NeverTrained, |s| {
            s.progress.step = None;
            fresh(s);
        });
    }

    #[test]
    fn it_is_silent() {
        silent(&NeverTrained, |s| s.progress.step = None);
    }
}
