//! A scale is no scale.
//!
//! γ is the mean magnitude of a tensor's latent weights: positive and finite. 0, a negative number, infinity or NaN
//! come from a tail that was not written, from a float16 that overflowed, or from a tensor of zeros (absmean at its
//! lower bound, 1e-5).
//!
//! Remedy: convert again from the latent weights.
//!
//! Source: γ = max(mean|W|, 1e-5).

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct ScaleInvalid;

impl Rule for ScaleInvalid {
    fn code(&self) -> &'static str {
        "T408"
    }

    fn name(&self) -> &'static str {
        "scale-invalid"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let is_scale =
            |tensor: &&crate::subject::Stored| tensor.kind == "I2_S" || tensor.name.ends_with("scale");
        let wrong = |value: f32| !(value.is_finite() && value > 0.0);
        let stored = subject
            .stored
            .iter()
            .filter(is_scale)
            .filter_map(|tensor| Some((tensor.name.as_str(), tensor.value?)));
        let network = subject.projections().filter_map(|tensor| {
            let ternary = tensor.ternary.as_ref()?;
            let floor = ternary.latent.is_some() && ternary.scale <= model::quantize::EPSILON;
            (wrong(ternary.scale) || floor).then_some((tensor.name.as_str(), ternary.scale))
        });
        let mut bad: Vec<(&str, f32)> = stored.filter(|(_, value)| wrong(*value)).collect();
        if bad.is_empty() {
            bad.extend(network);
        }
        let (name, value) = bad.first()?;
        let text = format!(
            "{} is the scale of {}",
            number(f64::from(*value)),
            crate::subject::list(bad.iter().map(|(name, _)| *name))
        );
        Some(Sign::error(text).at(*name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&ScaleInvalid, |s| {
            s.stored =
                vec![Stored { value: Some(f32::NAN), ..stored("blk.0.attn_q.weight", "I2_S", &[8, 128]) }]
        });
        fires(&ScaleInvalid, |s| ternaries(s).for_each(|t| t.scale = 0.0));
    }

    #[test]
    fn it_is_silent() {
        silent(&ScaleInvalid, |s| {
            s.stored = vec![Stored { value: Some(0.5), ..stored("a.weight_scale", "F32", &[1]) }]
        });
    }
}
