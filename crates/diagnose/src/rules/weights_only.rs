//! A dense network with ternary weights.
//!
//! The projections hold three values each, and the architecture computes them densely: activations are not quantised
//! to eight bits. The model was trained with both, and with the weights alone the sizes of its activations drift from
//! layer to layer; the end-of-text token is then often the likeliest first word (probability 0.67 in the study, 0.05
//! with both, 6e-5 before quantising).
//!
//! Remedy: name the architecture of the BitNet family that the model was trained in, so that BitLinear computes its
//! projections; a dense model that was only rounded has to be trained (T402).
//!
//! Source: a study of SmolLM2 with rounded weights.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct WeightsOnly;

impl Rule for WeightsOnly {
    fn code(&self) -> &'static str {
        "T416"
    }

    fn name(&self) -> &'static str {
        "weights-only"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let config = subject.config.as_ref().filter(|config| config.linear == model::LinearKind::Dense)?;
        let inside = |tensor: &&crate::tensors::Tensor| {
            tensor.place().is_some_and(|(_, name)| name.len() == 1 || ["gate", "up", "down"].contains(&name))
        };
        let rounded = || subject.tensors.iter().filter(inside).filter(|tensor| tensor.three_values);
        let all = 7 * config.layers;
        let text = format!(
            "{} of {all} projections hold only three values, and activations are not quantised",
            rounded().count()
        );
        (2 * rounded().count() > all).then(|| Sign::error(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&WeightsOnly, |s| {
            s.config.as_mut().unwrap().linear = model::LinearKind::Dense;
            s.tensors.iter_mut().for_each(|t| t.three_values = true);
        });
    }

    #[test]
    fn it_is_silent() {
        silent(&WeightsOnly, |s| s.config.as_mut().unwrap().linear = model::LinearKind::Dense);
    }
}
