//! Separate projections share one scale.
//!
//! Query, key and value (and gate and up) each have a scale of their own in training. Where all three are equal to the
//! last bit, they were quantised as one fused matrix: its absmean is another number, and codes near the thresholds
//! changed.
//!
//! Remedy: convert again, one scale for each original matrix.
//!
//! Source: γ is defined for a tensor; fused absmean is a different number.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct FusedScale;

impl Rule for FusedScale {
    fn code(&self) -> &'static str {
        "T412"
    }

    fn name(&self) -> &'static str {
        "fused-scale"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let scale = |layer: usize, name: &str| {
            let wanted = format!("layers.{layer}.{name}");
            subject
                .projections()
                .find(|tensor| tensor.name == wanted)?
                .ternary
                .as_ref()
                .map(|ternary| ternary.scale)
        };
        let layers = subject.config.as_ref()?.layers;
        if layers < 2 {
            return None;
        }
        let equal = |names: &[&str]| {
            (0..layers).all(|layer| {
                let first = scale(layer, names[0]);
                first.is_some() && names.iter().all(|name| scale(layer, name) == first)
            }) && (1..layers).any(|layer| scale(layer, names[0]) != scale(0, names[0]))
        };
        let fused: Vec<&str> = [&["q", "k", "v"][..], &["gate", "up"]]
            .into_iter()
            .filter(|names| equal(names))
            .flatten()
            .copied()
            .collect();
        let first = scale(0, fused.first()?)?;
        Some(Sign::warning(format!(
            "{} have equal scales in all {layers} layers ({} in the first)",
            fused.join(", "),
            number(first.into())
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&FusedScale, |s| {
            for tensor in &mut s.tensors {
                let layer = tensor.place().map_or(0, |(layer, _)| layer);
                if let Some(ternary) = &mut tensor.ternary {
                    ternary.scale = 0.02 + layer as f32 / 100.0;
                }
            }
        });
    }

    #[test]
    fn it_is_silent() {
        // a network of one scale for everything is not a fused one
        silent(&FusedScale, |s| ternaries(s).for_each(|t| t.scale = 1.0));
    }
}
