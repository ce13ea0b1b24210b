//! Two layers are the same.
//!
//! All seven projections of two layers have the same scale and the same share of each code, to the last bit. Trained
//! layers never do: a converter has written one of them twice, or a shard is there in two versions.
//!
//! Remedy: convert again, and compare with the original (`trilobit checkpoint diff A B`).
//!
//! Source: the tensors.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct DuplicateLayers;

impl Rule for DuplicateLayers {
    fn code(&self) -> &'static str {
        "T414"
    }

    fn name(&self) -> &'static str {
        "duplicate-layers"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let layers = subject.config.as_ref()?.layers;
        let figures = |layer: usize| -> Vec<[u64; 3]> {
            let inside =
                subject.projections().filter(|tensor| tensor.place().is_some_and(|(at, _)| at == layer));
            let ternary = inside.filter_map(|tensor| tensor.ternary.as_ref());
            ternary
                .map(|t| [u64::from(t.scale.to_bits()), t.zero_share.to_bits(), t.plus_share.to_bits()])
                .collect()
        };
        let all: Vec<_> = (0..layers).map(figures).collect();
        let twin = |layer: usize| {
            (layer + 1..layers).find(|other| all[layer].len() == 7 && all[layer] == all[*other])
        };
        let (layer, other) = (0..layers).find_map(|layer| Some((layer, twin(layer)?)))?;
        Some(Sign::error(format!(
            "layers {layer} and {other} have the same scales and shares in all projections"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&DuplicateLayers, |s| {
            ternaries(s).for_each(|t| {
                *t = crate::tensors::Ternary {
                    scale: 0.02,
                    zero_share: 0.3,
                    plus_share: 0.35,
                    minus_share: 0.35,
                    latent: None,
                };
            });
        });
    }

    #[test]
    fn it_is_silent() {
        silent(&DuplicateLayers, |s| ternaries(s).for_each(|t| t.scale = 0.02));
    }
}
