//! Tensor names of Hugging Face folders, from ours.

/// The name of an untied head.
pub(super) const HEAD: &str = "lm_head.weight";
/// How the name of a packed tensor's scale ends.
pub(super) const SCALE: &str = ".weight_scale";

/// Which names the tensors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// `BitNetForCausalLM` of transformers: Llama's names, with `attn_sub_norm` and `ffn_sub_norm`
    BitNet,
    /// `BitnetForCausalLM` of 1bitLLM/bitnet_b1_58: the sub-norms are `inner_attn_ln` and `ffn_layernorm`
    OneBit,
    /// no sub-norms: Llama and what has its names
    Llama,
    /// Llama's with biases on q, k and v
    Qwen2,
    /// Llama's with `q_norm` and `k_norm`
    Qwen3,
    /// Llama's, with a sliding window
    Mistral,
}

/// (architecture, `model_type`, family). 1bitLLM says `model_type: llama`, so the architecture is asked first.
pub(super) const ARCHITECTURES: [(&str, &str, Family); 6] = [
    ("BitNetForCausalLM", "bitnet", Family::BitNet),
    ("BitnetForCausalLM", "bitnet_b1_58", Family::OneBit),
    ("LlamaForCausalLM", "llama", Family::Llama),
    ("MistralForCausalLM", "mistral", Family::Mistral),
    ("Qwen2ForCausalLM", "qwen2", Family::Qwen2),
    ("Qwen3ForCausalLM", "qwen3", Family::Qwen3),
];

impl Family {
    /// The architecture's name.
    pub(super) fn name(self) -> &'static str {
        self.entry().0
    }

    /// The `model_type`.
    pub(super) fn model_type(self) -> &'static str {
        self.entry().1
    }

    fn entry(self) -> &'static (&'static str, &'static str, Self) {
        let entry = ARCHITECTURES.iter().find(|(_, _, family)| *family == self);
        entry.expect("every family has an architecture")
    }
}

/// (ours inside `layers.N.`, theirs inside `model.layers.N.`).
const BLOCK: [(&str, &str); 16] = [
    ("attn_norm", "input_layernorm.weight"),
    ("q", "self_attn.q_proj.weight"),
    ("k", "self_attn.k_proj.weight"),
    ("v", "self_attn.v_proj.weight"),
    ("attn_sub_norm", "self_attn.attn_sub_norm.weight"),
    ("o", "self_attn.o_proj.weight"),
    ("ffn_norm", "post_attention_layernorm.weight"),
    ("gate", "mlp.gate_proj.weight"),
    ("up", "mlp.up_proj.weight"),
    ("ffn_sub_norm", "mlp.ffn_sub_norm.weight"),
    ("down", "mlp.down_proj.weight"),
    ("q_bias", "self_attn.q_proj.bias"),
    ("k_bias", "self_attn.k_proj.bias"),
    ("v_bias", "self_attn.v_proj.bias"),
    ("q_norm", "self_attn.q_norm.weight"),
    ("k_norm", "self_attn.k_norm.weight"),
];

/// Their name of our tensor `ours`.
///
/// # Panics
/// When it is no name of a [`model::Layout`].
pub(super) fn stored(ours: &str, family: Family) -> String {
    match ours {
        "embedding" => return "model.embed_tokens.weight".into(),
        "final_norm" => return "model.norm.weight".into(),
        "head" => return HEAD.into(),
        _ => (),
    }
    let inside = ours.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
    let (layer, ours) = inside.unwrap_or_else(|| panic!("'{ours}' is no tensor of a network"));
    let theirs = match (family, ours) {
        (Family::OneBit, "attn_sub_norm") => "self_attn.inner_attn_ln.weight",
        (Family::OneBit, "ffn_sub_norm") => "mlp.ffn_layernorm.weight",
        _ => BLOCK.iter().find(|(name, _)| *name == ours).unwrap_or_else(|| panic!("'{ours}' has no name")).1,
    };
    format!("model.layers.{layer}.{theirs}")
}

/// The name of the scale of the packed tensor `stored`.
pub(super) fn scale(stored: &str) -> String {
    format!("{}{SCALE}", stored.strip_suffix(".weight").unwrap_or(stored))
}
