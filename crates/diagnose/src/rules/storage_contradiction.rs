//! The weights are not stored as the configuration says.
//!
//! `quantization_mode: offline` promises packed bytes, `online` latent values. Where the file has the other, a loader
//! reads bytes as numbers or numbers as bytes.
//!
//! Remedy: set `quantization_mode` to what the file holds.
//!
//! Source: transformers `BitNetQuantConfig`, whose defaults are `bitlinear` and `offline`.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct StorageContradiction;

impl Rule for StorageContradiction {
    fn code(&self) -> &'static str {
        "T509"
    }

    fn name(&self) -> &'static str {
        "storage-contradiction"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let quantisation = subject.declared.quantization.as_ref()?;
        let projections = || subject.stored.iter().filter(|tensor| tensor.name.ends_with("_proj.weight"));
        let packed = projections().filter(|tensor| tensor.kind == "U8").count();
        let class = quantisation.class.as_deref().unwrap_or("bitlinear");
        let mode = quantisation.mode.as_deref().unwrap_or("offline");
        let is_packed = class == "bitlinear" || mode == "offline";
        let wrong = if is_packed { projections().count() - packed } else { packed };
        let text = format!(
            "linear_class {class}, quantization_mode {mode}: {wrong} of {} projections are stored otherwise",
            projections().count()
        );
        (wrong > 0).then(|| Sign::error(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&StorageContradiction, |s| {
            s.declared.quantization =
                Some(Quantization { class: Some("autobitlinear".into()), ..Quantization::default() });
            s.stored = vec![stored("model.layers.0.self_attn.q_proj.weight", "BF16", &[8, 8])];
        });
    }

    #[test]
    fn it_is_silent() {
        silent(&StorageContradiction, |s| {
            s.declared.quantization = Some(Quantization::default());
            s.stored = vec![stored("model.layers.0.self_attn.q_proj.weight", "U8", &[2, 8])];
        });
    }
}
