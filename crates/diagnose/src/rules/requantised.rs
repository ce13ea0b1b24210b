//! Ternary weights are quantised a second time.
//!
//! The file holds weights of three values, −c, 0 and c, as floats, and the configuration says that BitLinear quantises
//! at each forward. Absmean of such a tensor is c·(1 − zero share): codes stay, but every scale shrinks by about a
//! third, differently in each tensor. If c is γ, as in weights that were dequantised, the model is wrong; only an
//! exporter that knows this writes γ/(1 − zero share), as the one here does.
//!
//! Remedy: pack the weights with their own scale (`quantization_mode: offline`), or export from the latent weights.
//!
//! Source: mean|γT| = γ·(1 − zero share).

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct Requantised;

impl Rule for Requantised {
    fn code(&self) -> &'static str {
        "T411"
    }

    fn name(&self) -> &'static str {
        "requantised"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        if subject.declared.is_our_export {
            return None;
        }
        let again = || {
            subject.projections().filter(|tensor| {
                tensor.three_values && tensor.ternary.as_ref().is_some_and(|t| t.latent.is_some())
            })
        };
        let first = again().next()?;
        let scale = f64::from(first.ternary.as_ref()?.scale);
        let text = format!(
            "{} of {} projections hold only three values: {} has ±{} and would be given the scale {}",
            again().count(),
            subject.projections().count(),
            first.name,
            number(f64::from(first.largest)),
            number(scale)
        );
        Some(Sign::warning(text).at(first.name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&Requantised, |s| s.tensors.iter_mut().for_each(|t| t.three_values = true));
    }

    #[test]
    fn it_is_silent() {
        silent(&Requantised, |s| {
            s.tensors.iter_mut().for_each(|t| t.three_values = true);
            s.declared.is_our_export = true;
        });
    }
}
