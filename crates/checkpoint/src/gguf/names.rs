//! Tensor names of GGUF files, from ours.

/// (ours inside `layers.N.`, theirs inside `blk.N.`).
const BLOCK: [(&str, &str); 16] = [
    ("attn_norm", "attn_norm.weight"),
    ("q", "attn_q.weight"),
    ("k", "attn_k.weight"),
    ("v", "attn_v.weight"),
    ("attn_sub_norm", "attn_sub_norm.weight"),
    ("o", "attn_output.weight"),
    ("ffn_norm", "ffn_norm.weight"),
    ("gate", "ffn_gate.weight"),
    ("up", "ffn_up.weight"),
    ("ffn_sub_norm", "ffn_sub_norm.weight"),
    ("down", "ffn_down.weight"),
    ("q_bias", "attn_q.bias"),
    ("k_bias", "attn_k.bias"),
    ("v_bias", "attn_v.bias"),
    ("q_norm", "attn_q_norm.weight"),
    ("k_norm", "attn_k_norm.weight"),
];

/// The name of an untied head.
pub(super) const HEAD: &str = "output.weight";
/// The embedding's.
pub(super) const EMBEDDING: &str = "token_embd.weight";
/// Divisors of the rotary frequencies (Llama-3.1).
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Their name of our tensor `ours`.
///
/// # Panics
/// When it is no name of a [`model::Layout`].
pub(super) fn stored(ours: &str) -> String {
    match ours {
        "embedding" => return EMBEDDING.into(),
        "final_norm" => return "output_norm.weight".into(),
        "head" => return HEAD.into(),
        _ => (),
    }
    let inside = ours.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
    let found = inside.and_then(|(layer, ours)| {
        let (_, theirs) = BLOCK.iter().find(|(name, _)| *name == ours)?;
        Some(format!("blk.{layer}.{theirs}"))
    });
    found.unwrap_or_else(|| panic!("'{ours}' is no tensor of a network"))
}

/// The name of a factor that some converters keep beside the tensor `stored`.
pub(super) fn scale(stored: &str) -> String {
    format!("{}.scale", stored.strip_suffix(".weight").unwrap_or(stored))
}
