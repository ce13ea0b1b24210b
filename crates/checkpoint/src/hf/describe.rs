//! From a network to the `config.json` and its companions that transformers (4.50 and later) reads.

use super::names::Family;
use crate::loaded::Loaded;
use crate::special::SpecialTokens;
use formats::{FileError, Kind};
use model::{Activation, Config, LinearKind, NormPlacement, RopeScaling, RopeStyle};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Our own key: the final norm's epsilon where it differs. Transformers ignores it and takes `rms_norm_eps` there too.
pub(super) const FINAL_EPSILON: &str = "final_rms_norm_eps";

/// How the projections are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storing {
    /// values of a dense network
    Dense,
    /// latent values that transformers quantises at each forward (`quantization_mode: online`)
    Online,
    /// codes in U8 with `weight_scale` = γ (`linear_class: autobitlinear`)
    Offline,
    /// codes in U8 with `weight_scale` = 1/γ (`linear_class: bitlinear`)
    OfflineInverted,
}

impl Storing {
    /// Whether the projections are codes.
    pub fn is_packed(self) -> bool {
        matches!(self, Self::Offline | Self::OfflineInverted)
    }
}

/// The family whose architecture computes what the network of `config` does.
///
/// # Errors
/// None does; `path` is the model's, for the sentence.
pub(super) fn family(config: &Config, path: &Path) -> Result<Family, FileError> {
    assert_eq!(
        (config.norm_placement, config.rope_style),
        (NormPlacement::Outside, RopeStyle::RotateHalf),
        "an adapted network"
    );
    let unfit = |what: &str| {
        let what = format!("{what}, and no architecture of transformers does");
        Err(FileError::new(path, Kind::Unfit, what, "export it as GGUF, or keep it as it is"))
    };
    match (config.sub_norms, config.qkv_bias, config.qk_norm) {
        // without a quantization_config transformers computes it densely, and readers take it for a BitNet
        (true, false, false) if config.linear == LinearKind::Dense => {
            unfit("it has sub-norms and dense projections")
        }
        (true, false, false) => Ok(Family::BitNet),
        (false, false, false) => Ok(Family::Llama),
        (false, true, false) => Ok(Family::Qwen2),
        (false, false, true) => Ok(Family::Qwen3),
        (true, _, _) => unfit("it has sub-norms together with biases or head norms"),
        (false, true, true) => unfit("it has biases together with head norms"),
    }
}

/// The content of `config.json`.
pub(super) fn config_json(config: &Config, family: Family, storing: Storing, model: &Loaded) -> Value {
    let mut json = json!({
        "architectures": [family.name()],
        "model_type": family.model_type(),
        "vocab_size": config.vocabulary,
        "hidden_size": config.hidden,
        "intermediate_size": config.ffn,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_size,
        "hidden_act": match config.activation {
            Activation::Relu2 => "relu2",
            Activation::Silu => "silu",
        },
        "max_position_embeddings": config.context,
        "rms_norm_eps": shortest(config.norm_epsilon),
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tied,
        "attention_bias": family == Family::Qwen2,
        "use_cache": true,
        "bos_token_id": model.bos,
        "eos_token_id": eos(model),
    });
    if let Some(scaling) = config.rope_scaling {
        json["rope_scaling"] = rope_scaling(scaling);
    }
    if config.final_epsilon() != config.norm_epsilon {
        json[FINAL_EPSILON] = shortest(config.final_epsilon());
    }
    let (class, mode) = match storing {
        Storing::Dense => return json,
        Storing::Online => ("autobitlinear", "online"),
        Storing::Offline => ("autobitlinear", "offline"),
        Storing::OfflineInverted => ("bitlinear", "offline"),
    };
    json["quantization_config"] =
        json!({"quant_method": "bitnet", "linear_class": class, "quantization_mode": mode});
    json
}

/// The shortest decimal that reads back to the same f32.
fn shortest(value: f32) -> Value {
    serde_json::from_str(&serde_json::to_string(&value).unwrap_or_default()).unwrap_or(json!(value))
}

fn rope_scaling(scaling: RopeScaling) -> Value {
    match scaling {
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context } => {
            json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_frequency_factor,
                "high_freq_factor": high_frequency_factor,
                "original_max_position_embeddings": original_context,
            })
        }
    }
}

/// One id as a number, several as a list, none as null.
fn eos(model: &Loaded) -> Value {
    match model.end_ids.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    }
}

/// The content of `generation_config.json`.
pub(super) fn generation_json(model: &Loaded) -> Value {
    let mut json = Map::new();
    json.extend(model.bos.map(|bos| ("bos_token_id".to_owned(), json!(bos))));
    if !model.end_ids.is_empty() {
        json.insert("eos_token_id".into(), eos(model));
    }
    Value::Object(json)
}

/// The content of `tokenizer_config.json`, where `tokenizer` is that of `tokenizer.json`.
pub(super) fn tokenizer_json(model: &Loaded, tokenizer: &Value) -> Value {
    let mut json = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.config().context,
        "clean_up_tokenization_spaces": false,
    });
    let mut name = |key: &str, stated: &Option<String>, id: Option<u32>| match stated
        .clone()
        .or_else(|| spelling(tokenizer, id?))
    {
        Some(token) if token.is_empty() => json[key] = Value::Null,
        Some(token) => json[key] = token.into(),
        None => (),
    };
    let SpecialTokens { bos, eos } = &model.special;
    name("bos_token", bos, model.bos);
    name("eos_token", eos, spoken_end(model, tokenizer));
    if let Some(template) = &model.chat_template {
        json["chat_template"] = template.as_str().into();
    }
    json
}

/// The id that ends an answer: one that the chat template writes, or else the lowest.
fn spoken_end(model: &Loaded, tokenizer: &Value) -> Option<u32> {
    let template = model.chat_template.as_deref().unwrap_or_default();
    let is_written = |id: &&u32| spelling(tokenizer, **id).is_some_and(|token| template.contains(&token));
    let ends = &model.end_ids;
    ends.iter().find(is_written).or(ends.first()).copied()
}

/// How `tokenizer.json` spells the token `id`.
pub(super) fn spelling(tokenizer: &Value, id: u32) -> Option<String> {
    let added = tokenizer.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    let mut named = added.filter(|token| token.get("id").and_then(Value::as_u64) == Some(id.into()));
    if let Some(content) = named.next().and_then(|token| token.get("content")) {
        return content.as_str().map(str::to_owned);
    }
    let vocabulary = tokenizer.get("model")?.get("vocab")?.as_object()?;
    let found = vocabulary.iter().find(|(_, value)| value.as_u64() == Some(id.into()));
    found.map(|(token, _)| token.clone())
}
