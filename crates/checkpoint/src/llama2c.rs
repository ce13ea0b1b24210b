//! llama2.c-style files as a [`Source`]: f32 Llamas, and the ternary ones of bitllama2.c.
//!
//! The ternary ones normalise inside every linear layer by `x / ‖x‖ / √n`, without a gain: an RMSNorm with the constant
//! gain 1/n and next to no epsilon. So they are networks with outside norms and sub-norms whose gains are made here.

use crate::TokenizerFrom;
use formats::llama2c::{BitOrder, File, Kind};
use formats::{FileError, Kind as Trouble};
use model::{Activation, Config, Encoding, LinearKind, NormPlacement, RopeStyle, Source};
use serde_json::{Value, json};
use std::ops::Range;
use std::path::Path;

/// Base of the rotary frequencies, which the files do not hold.
const ROPE_THETA: f64 = 10_000.0;
/// Of the final norm, and of all norms of the f32 layout.
const EPSILON: f32 = 1e-5;
/// Of the norms inside the ternary layers: only keeps a vector of zeros from becoming NaN.
const INSIDE_EPSILON: f32 = 1e-20;

/// The id that begins every text.
pub(crate) const BOS: u32 = 1;

/// The tokenizer with the token `bos` before every text, as the program of these files puts it there; one that says itself what
/// stands around a text, or has no such token, as it is.
///
/// # Errors
/// It cannot be read.
pub(crate) fn beginning(tokenizer: TokenizerFrom, bos: u32) -> Result<TokenizerFrom, FileError> {
    // What is no tokenizer is told where it is loaded.
    let Ok(mut json) = serde_json::from_slice::<Value>(&tokenizer.bytes()?) else { return Ok(tokenizer) };
    let vocabulary = json["model"]["vocab"].as_object();
    let name = vocabulary.and_then(|words| words.iter().find(|(_, id)| id.as_u64() == Some(bos.into())));
    let (Some((name, _)), true) = (name, json["post_processor"].is_null()) else { return Ok(tokenizer) };
    let (begin, text) = (
        json!({"SpecialToken": {"id": name, "type_id": 0}}),
        |id, type_id| json!({"Sequence": {"id": id, "type_id": type_id}}),
    );
    let tokens = json!({name: {"id": name, "ids": [bos], "tokens": [name]}});
    json["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [begin, text("A", 0)],
        "pair": [begin, text("A", 0), text("B", 1)],
        "special_tokens": tokens,
    });
    Ok(TokenizerFrom::Json(json.to_string().into_bytes()))
}

/// An open file.
#[derive(Debug)]
pub struct Llama2c {
    file: File,
    config: Config,
}

impl Llama2c {
    /// Opens `path` and checks that its header describes a network.
    pub fn open(path: &Path, order: BitOrder) -> Result<Self, FileError> {
        let file = File::open(path, order)?;
        let header = file.header();
        let ternary = header.ternary;
        let config = Config {
            hidden: header.hidden,
            layers: header.layers,
            heads: header.heads,
            kv_heads: header.kv_heads,
            head_size: header.hidden / header.heads.max(1),
            ffn: header.ffn,
            vocabulary: header.vocabulary,
            context: header.context,
            rope_theta: ROPE_THETA,
            rope_style: RopeStyle::Interleaved,
            activation: Activation::Silu,
            sub_norms: ternary,
            norm_placement: NormPlacement::Outside,
            norm_epsilon: if ternary { INSIDE_EPSILON } else { EPSILON },
            tied: header.tied,
            linear: if ternary { LinearKind::Ternary } else { LinearKind::Dense },
            qkv_bias: false,
            qk_norm: false,
            final_norm_epsilon: ternary.then_some(EPSILON),
            rope_scaling: None,
        };
        config.validate().map_err(|error| {
            let what = format!("the network it describes cannot be: {error}");
            FileError::damaged(path, what, "check that this is the file you meant")
        })?;
        Ok(Self { file, config })
    }

    /// Which tensor of the file is ours, and of which layer; `None` for a gain that the file does not hold.
    fn find(&self, name: &str) -> Result<Option<(Kind, usize)>, FileError> {
        let inside = name.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
        let (layer, local) = match inside {
            Some((layer, local)) => (layer.parse().unwrap_or(usize::MAX), local),
            None => (0, name),
        };
        let kind = match local {
            "embedding" => Kind::Embedding,
            "head" => Kind::Head,
            "final_norm" => Kind::FinalNorm,
            "attn_norm" => Kind::AttentionNorm,
            "ffn_norm" => Kind::FfnNorm,
            "q" => Kind::Q,
            "k" => Kind::K,
            "v" => Kind::V,
            "o" => Kind::O,
            "gate" => Kind::Gate,
            "up" => Kind::Up,
            "down" => Kind::Down,
            "attn_sub_norm" | "ffn_sub_norm" if self.config.sub_norms => return Ok(None),
            _ => {
                let what = format!("the network has no tensor '{name}'");
                return Err(FileError::new(self.file.path(), Trouble::Unfit, what, "check the name"));
            }
        };
        let is_made = self.config.sub_norms && matches!(kind, Kind::AttentionNorm | Kind::FfnNorm);
        Ok((!is_made).then_some((kind, layer)))
    }
}

impl Source for Llama2c {
    fn config(&self) -> &Config {
        &self.config
    }

    fn encoding(&self, name: &str) -> Result<Encoding, FileError> {
        match self.find(name)? {
            Some((kind, layer)) if is_matrix(kind) && self.file.header().ternary => {
                Ok(Encoding::Ternary { scale: self.file.scale(kind, layer)? })
            }
            _ => Ok(Encoding::Float),
        }
    }

    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<(), FileError> {
        let Some((kind, layer)) = self.find(name)? else {
            out.fill(1.0 / out.len().max(1) as f32);
            return Ok(());
        };
        if let Encoding::Ternary { scale } = self.encoding(name)? {
            let mut codes = vec![0; out.len()];
            self.read_codes(name, rows, &mut codes)?;
            out.iter_mut().zip(codes).for_each(|(out, code)| *out = scale * f32::from(code));
            return Ok(());
        }
        let values = self.file.f32(kind, layer)?;
        let cols = out.len() / rows.len().max(1);
        out.copy_from_slice(&values[rows.start * cols..rows.end * cols]);
        Ok(())
    }

    fn read_codes(&self, name: &str, rows: Range<usize>, out: &mut [i8]) -> Result<(), FileError> {
        let found = self.find(name)?.filter(|(kind, _)| is_matrix(*kind) && self.file.header().ternary);
        let Some((kind, layer)) = found else {
            panic!("'{name}' has values, and codes only once it is quantised");
        };
        let codes = self.file.codes(kind, layer)?;
        let cols = out.len() / rows.len().max(1);
        out.copy_from_slice(&codes[rows.start * cols..rows.end * cols]);
        Ok(())
    }
}

/// Whether it is one of the seven projections.
fn is_matrix(kind: Kind) -> bool {
    use Kind::{Down, Gate, K, O, Q, Up, V};
    matches!(kind, Q | K | V | O | Gate | Up | Down)
}
