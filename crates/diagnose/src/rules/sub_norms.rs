//! Norms before the output projections are missing, or not expected.
//!
//! BitNet b1.58 normalises before the output and the down projection (`attn_sub_norm`, `ffn_sub_norm`), which keeps
//! eight-bit activations in range. A file without these tensors is not the network that its architecture says; one
//! that has them under an architecture without is computed without them, and answers nonsense.
//!
//! Remedy: convert again with all tensors, or name the architecture that the weights were trained in.
//!
//! Source: transformers `modeling_bitnet.py`; bitnet.cpp's tensor names.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct SubNorms;

impl Rule for SubNorms {
    fn code(&self) -> &'static str {
        "T410"
    }

    fn name(&self) -> &'static str {
        "sub-norms"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let architecture = subject.declared.architecture.as_deref()?;
        let is_sub_norm = |name: &str| SUB_NORMS.iter().any(|part| name.contains(part));
        let present = subject.stored.iter().filter(|tensor| is_sub_norm(&tensor.name)).count();
        let layers =
            subject.stored.iter().filter(|tensor| DOWN.iter().any(|part| tensor.name.contains(part))).count();
        let packed_beside =
            subject.stored.iter().filter(|tensor| tensor.name.ends_with("down_proj.weight_scale")).count();
        let wanted = if subject.declared.is_bitnet() { 2 * (layers - packed_beside) } else { 0 };
        let text = format!(
            "architecture {architecture} has {wanted} sub-norms in {} layers, and the file {present}",
            layers - packed_beside
        );
        (layers > 0 && present != wanted).then(|| Sign::error(text))
    }
}

/// Parts of the names of sub-norms, in three families.
const SUB_NORMS: &[&str] = &["sub_norm", "inner_attn_ln", "ffn_layernorm"];
/// Parts of the name of the one projection that every layer has.
const DOWN: &[&str] = &["mlp.down_proj.weight", "ffn_down.weight"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&SubNorms, |s| {
            s.declared.architecture = Some("BitNetForCausalLM".into());
            s.stored = vec![stored("model.layers.0.mlp.down_proj.weight", "BF16", &[8, 8])];
        });
        fires(&SubNorms, |s| {
            s.declared.architecture = Some("llama".into());
            s.stored = vec![
                stored("blk.0.ffn_down.weight", "F16", &[8, 8]),
                stored("blk.0.ffn_sub_norm.weight", "F32", &[8]),
            ];
        });
    }

    #[test]
    fn it_is_silent() {
        silent(&SubNorms, |s| {
            s.declared.architecture = Some("bitnet-b1.58".into());
            let names = ["ffn_down", "ffn_sub_norm", "attn_sub_norm"];
            s.stored = names.map(|name| stored(&format!("blk.0.{name}.weight"), "F32", &[8])).to_vec();
        });
    }
}
