//! The configuration does not say that the weights are quantised.
//!
//! Without `quantization_config` transformers computes a BitNet's projections densely, from latent weights that were
//! never meant to be used so; readers that know the architecture quantise. Both read the same file and answer
//! differently.
//!
//! Remedy: add `quantization_config` with `quant_method: bitnet`, `linear_class` and `quantization_mode`.
//!
//! Source: transformers `integrations/bitnet.py`.

use crate::rules::Rule;
use crate::subject::Form;
use crate::{Sign, Subject};

/// See the module.
pub struct QuantisationUnsaid;

impl Rule for QuantisationUnsaid {
    fn code(&self) -> &'static str {
        "T508"
    }

    fn name(&self) -> &'static str {
        "quantisation-unsaid"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        if subject.form != Form::HuggingFace
            || !subject.declared.is_bitnet()
            || subject.declared.quantization.is_some()
        {
            return None;
        }
        let packed = subject.stored.iter().filter(|tensor| tensor.kind == "U8").count();
        let text = format!(
            "a BitNet architecture without quantization_config; {packed} of {} tensors are packed",
            subject.stored.len()
        );
        Some(if packed > 0 { Sign::error(text) } else { Sign::warning(text) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&QuantisationUnsaid, |s| {
            s.form = Form::HuggingFace;
            s.declared.architecture = Some("BitNetForCausalLM".into());
        });
    }

    #[test]
    fn it_is_silent() {
        silent(&QuantisationUnsaid, |s| {
            s.form = Form::HuggingFace;
            s.declared.architecture = Some("LlamaForCausalLM".into());
        });
    }
}
