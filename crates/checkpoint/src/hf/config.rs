//! From `config.json` to the network it describes, or to the sentence that says which of its choices is not supported.

use super::describe::FINAL_EPSILON;
use super::names::{ARCHITECTURES, Family};
use formats::{FileError, Kind, nearest};
use model::{Activation, Config, LinearKind, NormPlacement, RopeScaling, RopeStyle};
use serde_json::{Map, Value};
use std::path::Path;

/// How the seven projections of a block are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// values: of a dense network, or latent ones that BitLinear quantises
    Values,
    /// codes in U8, with `weight_scale` beside
    Packed {
        /// the scale is 1/γ (`linear_class: bitlinear`)
        inverted: bool,
    },
}

/// What `config.json` says.
pub(super) struct Described {
    pub config: Config,
    pub family: Family,
    pub storage: Storage,
    /// whether it says `tie_word_embeddings`
    pub tied_is_said: bool,
    pub warnings: Vec<String>,
}

/// Reads the object of the file `path`.
pub(super) fn describe(path: &Path, json: &Map<String, Value>) -> Result<Described, FileError> {
    let read = Reader { path, json };
    let family = read.family()?;
    let mut warnings = Vec::new();
    let (linear, storage) = read.linear(family, &mut warnings)?;
    let config = read.network(family, linear, &mut warnings)?;
    config.validate().map_err(|error| read.unfit(format!("the network it describes cannot be: {error}")))?;
    read.refuse_unsupported(family)?;
    let tied_is_said = json.get("tie_word_embeddings").is_some_and(Value::is_boolean);
    Ok(Described { config, family, storage, tied_is_said, warnings })
}

struct Reader<'a> {
    path: &'a Path,
    json: &'a Map<String, Value>,
}

impl Reader<'_> {
    fn unfit(&self, what: impl Into<String>) -> FileError {
        FileError::new(self.path, Kind::Unfit, what, "choose a model that is listed in docs/formats.md")
    }

    /// The value of a key; `null` counts as absent.
    fn get(&self, key: &str) -> Option<&Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    fn wrong(&self, key: &str, value: &Value, wanted: &str) -> FileError {
        FileError::damaged(self.path, format!("{key} is {value}, not {wanted}"), "get the file again")
    }

    fn size(&self, key: &str) -> Result<Option<usize>, FileError> {
        let number = |value: &Value| match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(number) => Ok(number),
            None => Err(self.wrong(key, value, "a whole number")),
        };
        self.get(key).map(number).transpose()
    }

    fn needed(&self, key: &str) -> Result<usize, FileError> {
        self.size(key)?.ok_or_else(|| {
            let hint = nearest::hint(key, self.json.keys().map(String::as_str));
            let what = format!("it does not say {key}{hint}");
            FileError::new(self.path, Kind::Unfit, what, "get the model's own config.json")
        })
    }

    fn flag(&self, key: &str) -> Result<bool, FileError> {
        let flag = |value: &Value| value.as_bool().ok_or_else(|| self.wrong(key, value, "true or false"));
        self.get(key).map_or(Ok(false), flag)
    }

    fn family(&self) -> Result<Family, FileError> {
        let list = self.get("architectures").and_then(Value::as_array);
        let architecture = list.and_then(|list| list.first()).and_then(Value::as_str);
        let kind = self.get("model_type").and_then(Value::as_str);
        let known = ARCHITECTURES.iter();
        let found = match (architecture, kind) {
            (Some(name), _) => known.clone().find(|(known, _, _)| *known == name),
            (None, Some(kind)) => known.clone().find(|(_, known, _)| *known == kind),
            (None, None) => {
                return Err(self.unfit("it says neither architectures nor model_type"));
            }
        };
        if let Some((_, _, family)) = found {
            return Ok(*family);
        }
        let name = architecture.or(kind).unwrap_or_default();
        let candidates = known.flat_map(|(a, kind, _)| [*a, *kind]);
        let hint =
            nearest::nearest(name, candidates).map_or(String::new(), |n| format!(" (nearest known: {n})"));
        let all: Vec<&str> = ARCHITECTURES.iter().map(|(name, _, _)| *name).collect();
        let what = format!("the architecture '{name}' is not known here{hint}");
        Err(FileError::new(self.path, Kind::Unfit, what, format!("known are {}", all.join(", "))))
    }

    /// Whether BitLinear computes the projections, and how their weights are stored.
    fn linear(&self, family: Family, warnings: &mut Vec<String>) -> Result<(LinearKind, Storage), FileError> {
        let Some(quantised) = self.get("quantization_config") else {
            if family == Family::BitNet {
                warnings.push(format!(
                    "{}: it has no quantization_config; a BitNet's weights are taken as latent ones, quantised by BitLinear",
                    self.path.display()
                ));
            }
            let is_ternary = matches!(family, Family::BitNet | Family::OneBit);
            let linear = if is_ternary { LinearKind::Ternary } else { LinearKind::Dense };
            return Ok((linear, Storage::Values));
        };
        let text = |key: &str| quantised.get(key).and_then(Value::as_str);
        match text("quant_method") {
            Some("bitnet") => (),
            method => {
                let method = method.unwrap_or("unnamed");
                return Err(self.unfit(format!(
                    "its weights are quantised by the method '{method}', and only 'bitnet' is read here"
                )));
            }
        }
        if quantised.get("use_rms_norm").and_then(Value::as_bool) == Some(true) {
            return Err(self.unfit(
                "quantization_config.use_rms_norm gives every projection a norm of its own, which is not supported",
            ));
        }
        // transformers' BitNetQuantConfig has these defaults
        let class = text("linear_class").unwrap_or("bitlinear");
        let mode = text("quantization_mode").unwrap_or("offline");
        let storage = match (class, mode) {
            ("autobitlinear", "online") => Storage::Values,
            ("autobitlinear", "offline") => Storage::Packed { inverted: false },
            // this class is packed whatever the mode says
            ("bitlinear", "online" | "offline") => Storage::Packed { inverted: true },
            _ => {
                let hint = nearest::hint(class, ["autobitlinear", "bitlinear"]);
                return Err(self.unfit(format!(
                    "quantization_config has linear_class '{class}'{hint} and quantization_mode '{mode}', and known \
                     are autobitlinear or bitlinear, and online or offline"
                )));
            }
        };
        let spared = quantised.get("modules_to_not_convert").and_then(Value::as_array);
        let spared = spared.into_iter().flatten().filter_map(Value::as_str);
        match spared.into_iter().find(|name| name.ends_with("_proj") || name.contains("layers.")) {
            Some(name) => Err(self.unfit(format!(
                "quantization_config.modules_to_not_convert leaves '{name}' as it was; all projections are ternary here, or none"
            ))),
            None => Ok((LinearKind::Ternary, storage)),
        }
    }

    fn network(
        &self,
        family: Family,
        linear: LinearKind,
        warnings: &mut Vec<String>,
    ) -> Result<Config, FileError> {
        let (hidden, heads) = (self.needed("hidden_size")?, self.needed("num_attention_heads")?);
        let head_size = match self.size("head_dim")? {
            Some(size) => size,
            None if family == Family::Qwen3 => 128,
            None => hidden.checked_div(heads).unwrap_or(0),
        };
        let (rope_theta, rope_scaling) = self.rope(family)?;
        let epsilon = match (self.get("rms_norm_eps"), family) {
            (Some(value), _) => self.number("rms_norm_eps", value)? as f32,
            (None, Family::BitNet | Family::OneBit) => 1e-5,
            (None, _) => 1e-6,
        };
        Ok(Config {
            hidden,
            layers: self.needed("num_hidden_layers")?,
            heads,
            kv_heads: self.size("num_key_value_heads")?.unwrap_or(heads),
            head_size,
            ffn: self.needed("intermediate_size")?,
            vocabulary: self.needed("vocab_size")?,
            context: self.context(family, warnings)?,
            rope_theta,
            rope_style: RopeStyle::RotateHalf,
            activation: self.activation(family)?,
            sub_norms: matches!(family, Family::BitNet | Family::OneBit),
            norm_placement: NormPlacement::Outside,
            norm_epsilon: epsilon,
            tied: self.flag("tie_word_embeddings")?,
            linear,
            qkv_bias: family == Family::Qwen2,
            qk_norm: family == Family::Qwen3,
            final_norm_epsilon: match self.get(FINAL_EPSILON) {
                Some(value) => Some(self.number(FINAL_EPSILON, value)? as f32),
                None => None,
            },
            rope_scaling,
        })
    }

    fn number(&self, key: &str, value: &Value) -> Result<f64, FileError> {
        value.as_f64().ok_or_else(|| self.wrong(key, value, "a number"))
    }

    /// Positions the model is made for; a sliding window cuts them, since attention here sees all of them.
    fn context(&self, family: Family, warnings: &mut Vec<String>) -> Result<usize, FileError> {
        let context = match self.size("max_position_embeddings")? {
            Some(context) => context,
            None => {
                warnings.push(format!(
                    "{}: it does not say max_position_embeddings; 2048 is taken",
                    self.path.display()
                ));
                2048
            }
        };
        let slides = family == Family::Mistral
            || matches!(family, Family::Qwen2 | Family::Qwen3) && self.flag("use_sliding_window")?;
        let window = match self.size("sliding_window")? {
            // Mistral's default in transformers; null says that there is none.
            None if family == Family::Mistral && self.json.get("sliding_window").is_none() => Some(4096),
            window => window,
        };
        match window {
            Some(window) if slides && window < context => {
                warnings.push(format!(
                    "{}: it attends to a window of {window} tokens; the context is limited to these, of {context}",
                    self.path.display()
                ));
                Ok(window)
            }
            _ => Ok(context),
        }
    }

    fn activation(&self, family: Family) -> Result<Activation, FileError> {
        let default = if family == Family::BitNet { "relu2" } else { "silu" };
        match self.get("hidden_act").map_or(Some(default), Value::as_str) {
            Some("relu2") => Ok(Activation::Relu2),
            Some("silu" | "swish") => Ok(Activation::Silu),
            other => {
                let name = other.unwrap_or("no text");
                let hint = nearest::hint(name, ["relu2", "silu"]);
                Err(self.unfit(format!(
                    "hidden_act is '{name}'{hint}, and the gate's activations known here are relu2 and silu"
                )))
            }
        }
    }

    /// Base and scaling: `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling`.
    fn rope(&self, family: Family) -> Result<(f64, Option<RopeScaling>), FileError> {
        let parameters = self.get("rope_parameters").or_else(|| self.get("rope_scaling"));
        let inside = |key: &str| parameters.and_then(|table| table.get(key)).filter(|value| !value.is_null());
        let default = if family == Family::BitNet { 500_000.0 } else { 10_000.0 };
        let theta = match inside("rope_theta").or_else(|| self.get("rope_theta")) {
            Some(value) => self.number("rope_theta", value)?,
            None => default,
        };
        let kind = inside("rope_type").or_else(|| inside("type")).map_or(Some("default"), Value::as_str);
        let number = |key: &str| match inside(key) {
            Some(value) => self.number(key, value),
            None => Err(self.unfit(format!("its rope scaling does not say {key}"))),
        };
        let scaling = match kind {
            Some("default") => None,
            Some("linear") => Some(RopeScaling::Linear { factor: number("factor")? }),
            Some("llama3") => {
                let original = match inside("original_max_position_embeddings") {
                    Some(value) => self.number("original_max_position_embeddings", value)? as usize,
                    None => self.needed("max_position_embeddings")?,
                };
                Some(RopeScaling::Llama3 {
                    factor: number("factor")?,
                    low_frequency_factor: number("low_freq_factor")?,
                    high_frequency_factor: number("high_freq_factor")?,
                    original_context: original,
                })
            }
            other => {
                let name = other.unwrap_or("no text");
                let hint = nearest::hint(name, ["default", "linear", "llama3"]);
                return Err(self.unfit(format!(
                    "its rope scaling is '{name}'{hint}, and known here are default, linear and llama3"
                )));
            }
        };
        Ok((theta, scaling))
    }

    /// Choices that change the answers and that nothing here computes.
    fn refuse_unsupported(&self, family: Family) -> Result<(), FileError> {
        if family != Family::Qwen2 && self.flag("attention_bias")? {
            return Err(
                self.unfit("attention_bias gives all four projections a bias, which is not supported")
            );
        }
        if self.flag("mlp_bias")? {
            return Err(self.unfit("mlp_bias gives the feed-forward biases, which is not supported"));
        }
        if let Some(share) = self.get("partial_rotary_factor")
            && share.as_f64() != Some(1.0)
        {
            return Err(self.unfit(format!("partial_rotary_factor is {share}, and only 1 is supported")));
        }
        for (key, only) in [("weight_bits", 1), ("input_bits", 8)] {
            if family == Family::OneBit && self.size(key)?.is_some_and(|bits| bits != only) {
                return Err(self.unfit(format!("{key} is not {only}, which BitNet b1.58 has")));
            }
        }
        Ok(())
    }
}
