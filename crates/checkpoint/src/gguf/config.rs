//! From a GGUF file's metadata to the network it describes.

use super::names;
use formats::gguf::File;
use formats::{FileError, Kind, nearest};
use model::{Activation, Config, LinearKind, NormPlacement, RopeScaling, RopeStyle};

/// What computes a file, by its architecture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Architecture {
    pub name: &'static str,
    /// rows of q and k are stored for pairs (2i, 2i + 1)
    pub interleaved: bool,
    pub sub_norms: bool,
    pub qkv_bias: bool,
    pub qk_norm: bool,
    /// what its engine computes; the key `hidden_act` of our own files says otherwise
    pub activation: Activation,
}

const LLAMA: Architecture = Architecture {
    name: "llama",
    interleaved: true,
    sub_norms: false,
    qkv_bias: false,
    qk_norm: false,
    activation: Activation::Silu,
};
const BITNET: Architecture = Architecture {
    name: "bitnet-b1.58",
    interleaved: false,
    sub_norms: true,
    activation: Activation::Relu2,
    ..LLAMA
};

/// All that are known. `bitnet` is mainline llama.cpp's, which computes SiLU; `bitnet-b1.58` is bitnet.cpp's.
pub(super) const ARCHITECTURES: [Architecture; 7] = [
    LLAMA,
    BITNET,
    Architecture { name: "bitnet-25", ..BITNET },
    Architecture { name: "bitnet", activation: Activation::Silu, ..BITNET },
    Architecture { name: "BitNet", ..BITNET },
    Architecture { name: "qwen2", interleaved: false, qkv_bias: true, ..LLAMA },
    Architecture { name: "qwen3", interleaved: false, qk_norm: true, ..LLAMA },
];

/// The key, under the architecture's prefix, in which our own files say the gate's activation.
pub(super) const HIDDEN_ACT: &str = "hidden_act";
/// The key in which they say the final norm's epsilon, where it differs.
pub(super) const FINAL_EPSILON: &str = "attention.final_layer_norm_rms_epsilon";

/// Reads the network; its projections are dense until their tensors have been looked at.
pub(super) fn describe(file: &File, warnings: &mut Vec<String>) -> Result<Config, FileError> {
    let name = file.architecture();
    let Some(architecture) = ARCHITECTURES.iter().find(|known| known.name == name) else {
        let hint = nearest::hint(name, ARCHITECTURES.iter().map(|known| known.name));
        let what = format!("the architecture '{name}' is not known here{hint}");
        let known: Vec<&str> = ARCHITECTURES.iter().map(|known| known.name).collect();
        return Err(FileError::new(
            file.path(),
            Kind::Unfit,
            what,
            format!("known are {}", known.join(", ")),
        ));
    };
    let read = Reader { file, architecture };
    let config = read.network(warnings)?;
    config.validate().map_err(|error| read.unfit(format!("the network it describes cannot be: {error}")))?;
    Ok(config)
}

struct Reader<'a> {
    file: &'a File,
    architecture: &'a Architecture,
}

impl Reader<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture.name)
    }

    fn unfit(&self, what: String) -> FileError {
        FileError::new(self.file.path(), Kind::Unfit, what, "convert the model from its Hugging Face folder")
    }

    fn size(&self, name: &str) -> Result<usize, FileError> {
        Ok(self.file.u32(&self.key(name))? as usize)
    }

    fn size_or(&self, name: &str, default: usize) -> Result<usize, FileError> {
        if self.file.get(&self.key(name)).is_some() { self.size(name) } else { Ok(default) }
    }

    fn network(&self, warnings: &mut Vec<String>) -> Result<Config, FileError> {
        let Architecture { interleaved, sub_norms, qkv_bias, qk_norm, .. } = *self.architecture;
        let (hidden, heads) = (self.size("embedding_length")?, self.size("attention.head_count")?);
        let head_size = self.size_or("attention.key_length", hidden.checked_div(heads).unwrap_or(0))?;
        for (name, wanted) in [("attention.value_length", head_size), ("rope.dimension_count", head_size)] {
            let found = self.size_or(name, wanted)?;
            if found != wanted {
                return Err(self.unfit(format!("{name} is {found} and the heads have {wanted} elements")));
            }
        }
        let embedding = self.file.tensor(names::EMBEDDING)?.info;
        let theta = self.key("rope.freq_base");
        let theta = if self.file.get(&theta).is_some() { self.file.f32(&theta)? } else { 10_000.0 };
        let tied = !self.file.has(names::HEAD);
        let mut config = Config {
            hidden,
            layers: self.size("block_count")?,
            heads,
            kv_heads: self.size_or("attention.head_count_kv", heads)?,
            head_size,
            ffn: self.size("feed_forward_length")?,
            vocabulary: embedding.shape.first().copied().unwrap_or(0),
            context: self.context(warnings)?,
            rope_theta: f64::from(theta),
            rope_style: if interleaved { RopeStyle::Interleaved } else { RopeStyle::RotateHalf },
            activation: self.activation(warnings)?,
            sub_norms,
            norm_placement: NormPlacement::Outside,
            norm_epsilon: self.file.f32(&self.key("attention.layer_norm_rms_epsilon"))?,
            tied,
            linear: LinearKind::Dense,
            qkv_bias,
            qk_norm,
            final_norm_epsilon: match self.file.get(&self.key(FINAL_EPSILON)) {
                Some(_) => Some(self.file.f32(&self.key(FINAL_EPSILON))?),
                None => None,
            },
            rope_scaling: None,
        };
        config.rope_scaling = self.rope_scaling(&config)?;
        Ok(config)
    }

    fn context(&self, warnings: &mut Vec<String>) -> Result<usize, FileError> {
        let context = self.size("context_length")?;
        let window = self.size_or("attention.sliding_window", 0)?;
        if window == 0 || window >= context {
            return Ok(context);
        }
        warnings.push(format!(
            "{}: it attends to a window of {window} tokens; the context is limited to these, of {context}",
            self.file.path().display()
        ));
        Ok(window)
    }

    fn activation(&self, warnings: &mut Vec<String>) -> Result<Activation, FileError> {
        let key = self.key(HIDDEN_ACT);
        if self.file.get(&key).is_some() {
            return match self.file.str(&key)? {
                "relu2" => Ok(Activation::Relu2),
                "silu" => Ok(Activation::Silu),
                other => {
                    let hint = nearest::hint(other, ["relu2", "silu"]);
                    Err(self.unfit(format!("{key} is '{other}'{hint}")))
                }
            };
        }
        if self.architecture.name == "bitnet" {
            warnings.push(format!(
                "{}: architecture 'bitnet' is computed with SiLU, as llama.cpp does; if the model was trained with ReLU² \
                 (BitNet b1.58 2B4T was), convert it from its Hugging Face folder",
                self.file.path().display()
            ));
        }
        Ok(self.architecture.activation)
    }

    /// The factor of a linear scaling, under its key or the former one; 0 and 1 scale nothing.
    fn rope_factor(&self) -> Result<Option<f64>, FileError> {
        let keys = ["rope.scaling.factor", "rope.scale_linear"].map(|key| self.key(key));
        let Some(key) = keys.iter().find(|key| self.file.get(key).is_some()) else { return Ok(None) };
        let factor = f64::from(self.file.f32(key)?);
        Ok((factor != 0.0 && factor != 1.0).then_some(factor))
    }

    /// Scaling by keys, or by the divisors that converters write for Llama-3.1.
    fn rope_scaling(&self, config: &Config) -> Result<Option<RopeScaling>, FileError> {
        let key = self.key("rope.scaling.type");
        let linear = match self.file.get(&key) {
            // llama.cpp takes a factor without a type for a linear one.
            None => true,
            Some(_) => match self.file.str(&key)? {
                "linear" => true,
                "none" | "" => false,
                other => return Err(self.unfit(format!("its rope scaling '{other}' is not supported"))),
            },
        };
        let factor = if linear { self.rope_factor()? } else { None };
        match (factor, self.file.has(names::ROPE_FACTORS)) {
            (Some(factor), false) => return Ok(Some(RopeScaling::Linear { factor })),
            (Some(_), true) => {
                let what = format!("it has a linear rope scaling and '{}' at once", names::ROPE_FACTORS);
                return Err(self.unfit(what));
            }
            (None, false) => return Ok(None),
            (None, true) => (),
        }
        let tensor = self.file.tensor(names::ROPE_FACTORS)?;
        let half = config.head_size / 2;
        if tensor.info.elements() != half {
            return Err(self.unfit(format!("'{}' does not have {half} elements", names::ROPE_FACTORS)));
        }
        let mut factors = vec![0.0; half];
        tensor.f32_into(0, &mut factors)?;
        let found = [2.0, 4.0, 8.0, 16.0, 32.0, 64.0].map(|factor| RopeScaling::Llama3 {
            factor,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_context: 8192,
        });
        let found = found.into_iter().find(|scaling| explains(config, *scaling, &factors));
        found
            .map(Some)
            .ok_or_else(|| self.unfit(format!("'{}' is not the scaling of any Llama-3", names::ROPE_FACTORS)))
    }
}

/// Whether the scaling divides the frequencies by these factors.
fn explains(config: &Config, scaling: RopeScaling, factors: &[f32]) -> bool {
    let scaled = Config { rope_scaling: Some(scaling), ..config.clone() };
    let plain = model::rope::inverse_frequencies(config);
    let scaled = model::rope::inverse_frequencies(&scaled);
    plain.iter().zip(scaled).zip(factors).all(|((plain, scaled), factor)| {
        let expected = plain / scaled;
        (expected - f64::from(*factor)).abs() <= 1e-4 * expected
    })
}
