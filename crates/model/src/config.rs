//! The `[model]` table: every choice that makes one network of the BitNet family differ from another.

use serde::{Deserialize, Serialize};

/// The gate's non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `max(x, 0)²` (BitNet b1.58 2B4T)
    Relu2,
    /// `x · sigmoid(x)` (Llama)
    Silu,
}

/// How RoPE pairs the elements of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RopeStyle {
    /// pairs (i, i + D/2): Hugging Face, GPT-NeoX
    RotateHalf,
    /// pairs (2i, 2i + 1): the original Llama, llama2.c
    Interleaved,
}

/// Where the normalisation before a linear layer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormPlacement {
    /// RMSNorm layers with a trained gain, before the linear layers
    Outside,
    /// every BitLinear normalises its own input, without a gain: the layers have no norm tensors
    Inside,
}

/// What the seven projections of a layer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinearKind {
    /// BitLinear: ternary weights, int8 activations
    Ternary,
    /// full precision
    Dense,
}

/// How the rotary frequencies are stretched for a context longer than the one of the first training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RopeScaling {
    /// every frequency divided by `factor`
    Linear {
        /// how many times longer the context became
        factor: f64,
    },
    /// Llama-3.1: long wavelengths divided by `factor`, short ones kept, those between blended
    Llama3 {
        /// divides the frequencies of long wavelengths
        factor: f64,
        /// wavelengths above `original_context / low_frequency_factor` are long
        low_frequency_factor: f64,
        /// wavelengths below `original_context / high_frequency_factor` are short
        high_frequency_factor: f64,
        /// tokens of the first training's context
        original_context: usize,
    },
}

/// The shape and the choices of one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// H: width of the residual stream
    pub hidden: usize,
    /// L: number of blocks
    pub layers: usize,
    /// N: query heads
    pub heads: usize,
    /// K: key-value heads; N is a multiple of K
    pub kv_heads: usize,
    /// D: elements of a head, even
    pub head_size: usize,
    /// F: width of the gated feed-forward
    pub ffn: usize,
    /// V: token ids are 0..V
    pub vocabulary: usize,
    /// the longest sequence the model is made for
    pub context: usize,
    /// base of the rotary frequencies
    #[serde(default = "default_rope_theta")]
    pub rope_theta: f64,
    /// pairing of the rotary elements
    #[serde(default = "default_rope_style")]
    pub rope_style: RopeStyle,
    /// the gate's non-linearity
    #[serde(default = "default_activation")]
    pub activation: Activation,
    /// RMSNorm before the output and the down projection (SubLN)
    #[serde(default = "default_true")]
    pub sub_norms: bool,
    /// norm layers with gains, or gainless norms inside BitLinear
    #[serde(default = "default_norm_placement")]
    pub norm_placement: NormPlacement,
    /// added to the mean square before the root
    #[serde(default = "default_norm_epsilon")]
    pub norm_epsilon: f32,
    /// the output head is the embedding
    #[serde(default)]
    pub tied: bool,
    /// ternary or dense projections
    #[serde(default = "default_linear")]
    pub linear: LinearKind,
    /// biases on the query, key and value projections (Qwen2)
    #[serde(default, skip_serializing_if = "is_false")]
    pub qkv_bias: bool,
    /// RMSNorm with a gain (D) on every query and key head, before RoPE (Qwen3)
    #[serde(default, skip_serializing_if = "is_false")]
    pub qk_norm: bool,
    /// `norm_epsilon` of the final norm where it differs
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_norm_epsilon: Option<f32>,
    /// stretched rotary frequencies
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn default_rope_theta() -> f64 {
    10_000.0
}
fn default_rope_style() -> RopeStyle {
    RopeStyle::RotateHalf
}
fn default_activation() -> Activation {
    Activation::Relu2
}
fn default_true() -> bool {
    true
}
fn default_norm_placement() -> NormPlacement {
    NormPlacement::Outside
}
fn default_norm_epsilon() -> f32 {
    1e-5
}
fn default_linear() -> LinearKind {
    LinearKind::Ternary
}

/// A model configuration that no network can have; the sentence says which key and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("model.{key}: {reason}")]
pub struct ConfigError {
    /// the key in the `[model]` table
    pub key: &'static str,
    /// what is wrong and what would be right
    pub reason: String,
}

/// Largest accepted value of each size, so that a product of three cannot overflow.
const LARGEST: [(&str, usize); 8] = [
    ("hidden", 1 << 16),
    ("layers", 1 << 10),
    ("heads", 1 << 10),
    ("kv_heads", 1 << 10),
    ("head_size", 1 << 10),
    ("ffn", 1 << 18),
    ("vocabulary", 1 << 21),
    ("context", 1 << 21),
];

impl Config {
    /// Width of all query heads together, N·D.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Width of all key (or value) heads together, K·D.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_size
    }

    /// Number of parameters; a tied head counts once.
    pub fn parameters(&self) -> usize {
        crate::Layout::new(self).len()
    }

    /// Refuses sizes that contradict each other or exceed any sane machine.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let sizes = [
            self.hidden,
            self.layers,
            self.heads,
            self.kv_heads,
            self.head_size,
            self.ffn,
            self.vocabulary,
            self.context,
        ];
        for ((key, largest), value) in LARGEST.into_iter().zip(sizes) {
            if value == 0 || value > largest {
                return fail(key, format!("{value} is outside 1..={largest}"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let reason = format!(
                "{} does not divide heads = {}: each key-value head serves the same number of query heads",
                self.kv_heads, self.heads
            );
            return fail("kv_heads", reason);
        }
        if !self.head_size.is_multiple_of(2) {
            let reason = format!("{} is odd, but RoPE turns pairs", self.head_size);
            return fail("head_size", reason);
        }
        if !(self.rope_theta.is_finite() && self.rope_theta >= 1.0) {
            return fail("rope_theta", format!("{} is not a base ≥ 1", self.rope_theta));
        }
        for (key, epsilon) in
            [("norm_epsilon", self.norm_epsilon), ("final_norm_epsilon", self.final_epsilon())]
        {
            if !(epsilon.is_finite() && epsilon >= 0.0) {
                return fail(key, format!("{epsilon} is not ≥ 0"));
            }
        }
        self.rope_scaling.map_or(Ok(()), RopeScaling::validate)
    }

    /// What the final norm adds to the mean square.
    pub fn final_epsilon(&self) -> f32 {
        self.final_norm_epsilon.unwrap_or(self.norm_epsilon)
    }
}

impl RopeScaling {
    fn validate(self) -> Result<(), ConfigError> {
        let key = "rope_scaling";
        let positive = |name: &str, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => fail(key, format!("{name} = {value} is not above 0")),
        };
        match self {
            Self::Linear { factor } => positive("factor", factor),
            Self::Llama3 {
                factor,
                low_frequency_factor: low,
                high_frequency_factor: high,
                original_context,
            } => {
                positive("factor", factor)?;
                positive("low_frequency_factor", low)?;
                positive("original_context", original_context as f64)?;
                match high.is_finite() && high > low {
                    true => Ok(()),
                    false => {
                        fail(key, format!("high_frequency_factor = {high} is not above the low one, {low}"))
                    }
                }
            }
        }
    }
}

fn fail(key: &'static str, reason: String) -> Result<(), ConfigError> {
    Err(ConfigError { key, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Config {
        toml::from_str(
            "hidden = 2560\nlayers = 30\nheads = 20\nkv_heads = 5\nhead_size = 128\nffn = 6912\n\
             vocabulary = 128256\ncontext = 4096\nrope_theta = 500000.0\ntied = true",
        )
        .unwrap()
    }

    #[test]
    fn the_2b4t_shape_has_the_published_number_of_parameters() {
        assert_eq!(base().parameters(), 2_412_820_480);
    }

    #[test]
    fn the_newer_keys_go_through_toml_and_old_tables_lack_them() {
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_context: 8192,
        };
        let config = Config { qkv_bias: true, qk_norm: true, rope_scaling: Some(llama3), ..base() };
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
        assert!(!toml::to_string(&base()).unwrap().contains("qkv_bias"));
    }

    #[test]
    fn contradictions_name_their_key() {
        assert!(base().validate().is_ok());
        for (key, sick) in [
            ("kv_heads", Config { kv_heads: 3, ..base() }),
            ("head_size", Config { head_size: 127, ..base() }),
            ("layers", Config { layers: 0, ..base() }),
            ("vocabulary", Config { vocabulary: usize::MAX, ..base() }),
            ("rope_theta", Config { rope_theta: f64::NAN, ..base() }),
            ("final_norm_epsilon", Config { final_norm_epsilon: Some(-1.0), ..base() }),
            ("rope_scaling", Config { rope_scaling: Some(RopeScaling::Linear { factor: 0.0 }), ..base() }),
        ] {
            assert_eq!(sick.validate().unwrap_err().key, key);
        }
    }
}
