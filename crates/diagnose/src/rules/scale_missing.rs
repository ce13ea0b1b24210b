//! Packed weights have no scale.
//!
//! Codes are −1, 0 and +1; without the scale beside them the sizes of all projections are lost, and with them the
//! model. A loader that takes 1 instead gives fluent nonsense.
//!
//! Remedy: convert again, with `weight_scale` beside each packed tensor; scales cannot be recovered from codes.
//!
//! Source: transformers' packed form (`linear_class`: autobitlinear or bitlinear).

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct ScaleMissing;

impl Rule for ScaleMissing {
    fn code(&self) -> &'static str {
        "T407"
    }

    fn name(&self) -> &'static str {
        "scale-missing"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let has = |name: &str| subject.stored.iter().any(|other| other.name == name);
        let packed = subject.stored.iter().filter(|tensor| tensor.kind == "U8" && tensor.shape.len() == 2);
        let bare: Vec<&str> =
            packed.map(|tensor| tensor.name.as_str()).filter(|name| !has(&format!("{name}_scale"))).collect();
        let first = bare.first()?;
        let text = format!(
            "{} packed tensors have no scale: {}",
            bare.len(),
            crate::subject::list(bare.iter().copied())
        );
        Some(Sign::error(text).at(*first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&ScaleMissing, |s| s.stored = vec![stored("model.layers.0.mlp.up_proj.weight", "U8", &[8, 8])]);
    }

    #[test]
    fn it_is_silent() {
        silent(&ScaleMissing, |s| {
            s.stored = vec![stored("a.weight", "U8", &[8, 8]), stored("a.weight_scale", "BF16", &[1])];
        });
    }
}
