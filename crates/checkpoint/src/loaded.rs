//! From what the user calls MODEL, in any dialect, to one [`Source`] and what belongs to it.

use crate::llama2c::{self, Llama2c};
use crate::special::SpecialTokens;
use crate::{gguf, hf, locate, native};
use formats::llama2c::BitOrder;
use formats::quant::I2sLayout;
use formats::{FileError, Kind, bounded, limits, nearest};
use model::{Config, LinearKind, Source};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Where the tokenizer of a model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenizerFrom {
    /// a `tokenizer.json`
    File(PathBuf),
    /// the content of a `tokenizer.json`, made from what another format holds
    Json(Vec<u8>),
}

impl TokenizerFrom {
    /// The content of the `tokenizer.json`.
    ///
    /// # Errors
    /// The file cannot be read, or is longer than any tokenizer.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, FileError> {
        match self {
            Self::File(path) => bounded::read(path, limits::TOKENIZER_BYTES_MAX).map(Cow::Owned),
            Self::Json(bytes) => Ok(Cow::Borrowed(bytes)),
        }
    }
}

/// How a model is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// a checkpoint folder of this project
    Native,
    /// a Hugging Face folder
    HuggingFace,
    /// a GGUF file
    Gguf,
    /// a `.bin` of llama2.c or bitllama2.c
    Llama2c,
    /// the shape of a preset with random weights, on no disk
    Random,
}

impl Dialect {
    /// The name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native checkpoint",
            Self::HuggingFace => "Hugging Face folder",
            Self::Gguf => "GGUF file",
            Self::Llama2c => "llama2.c file",
            Self::Random => "random weights",
        }
    }
}

/// A model of any dialect: its tensors are read on demand.
pub struct Loaded {
    /// the network and its tensors
    pub source: Box<dyn Source>,
    /// how it is kept
    pub dialect: Dialect,
    /// the folder or file that was opened, of a run its checkpoint
    pub path: PathBuf,
    /// where the tokenizer is, if it has one
    pub tokenizer: Option<TokenizerFrom>,
    /// Jinja source of the chat template
    pub chat_template: Option<String>,
    /// ids that end an answer, ascending; empty where nothing says so
    pub end_ids: Vec<u32>,
    /// id that begins a text
    pub bos: Option<u32>,
    /// the tokens that a chat template knows by name; that of the model sets them itself
    pub special: SpecialTokens,
    /// share of quantisation that the training of a checkpoint had reached, where it says so
    pub lambda: Option<f64>,
    /// what was passed over or taken for granted, a sentence each
    pub warnings: Vec<String>,
}

impl Loaded {
    /// A model without text.
    fn bare(source: Box<dyn Source>, dialect: Dialect, path: &Path) -> Self {
        Self {
            source,
            dialect,
            path: path.to_owned(),
            tokenizer: None,
            chat_template: None,
            end_ids: Vec::new(),
            bos: None,
            special: SpecialTokens::default(),
            lambda: None,
            warnings: Vec::new(),
        }
    }

    /// The network's shape and choices.
    pub fn config(&self) -> &Config {
        self.source.config()
    }

    /// The λ at which training ended, if it was so far from 1 that the ternary network is another one.
    pub fn unfinished(&self) -> Option<f64> {
        self.lambda.filter(|lambda| self.config().linear == LinearKind::Ternary && *lambda < LAMBDA_MIN)
    }
}

/// A schedule that only comes near 1 (a sigmoid) has arrived here.
const LAMBDA_MIN: f64 = 0.99;

/// What a file itself does not say.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// a `tokenizer.json` to use instead of the model's own
    pub tokenizer: Option<PathBuf>,
    /// how I2_S tensors of a GGUF file are laid out
    pub i2s: I2sLayout,
    /// where the first of four weights is in a byte of a ternary llama2.c file
    pub bits: BitOrder,
}

/// [`open_with`] the usual choices.
///
/// # Errors
/// As there.
pub fn open(path: &Path) -> Result<Loaded, FileError> {
    open_with(path, &OpenOptions::default())
}

/// Opens the model that `path` means: a run folder (its newest sound checkpoint), a checkpoint folder, a Hugging Face
/// folder, a GGUF file, a llama2.c file, or `random:PRESET`.
///
/// # Errors
/// It is none of these, damaged, or of an architecture that is not known here.
pub fn open_with(path: &Path, options: &OpenOptions) -> Result<Loaded, FileError> {
    let mut loaded = if let Some(preset) = path.to_str().and_then(|path| path.strip_prefix(RANDOM)) {
        random(path, preset)?
    } else if hf::is_folder(path) {
        hugging_face(path)?
    } else if gguf::is_file(path) {
        gguf_file(path, options.i2s)?
    } else if path.is_file() && path.extension().is_some_and(|ending| ending == "bin") {
        let source = Box::new(Llama2c::open(path, options.bits)?);
        // Its training parts texts by the id that begins them, and its own program stops there.
        Loaded {
            end_ids: vec![llama2c::BOS, 2],
            bos: Some(llama2c::BOS),
            ..Loaded::bare(source, Dialect::Llama2c, path)
        }
    } else {
        let located = locate(path)?;
        native_model(&located.checkpoint, located.warnings)?
    };
    if let Some(tokenizer) = &options.tokenizer {
        if !tokenizer.is_file() {
            let what = "there is no such tokenizer";
            return Err(FileError::new(tokenizer, Kind::Missing, what, "name a tokenizer.json"));
        }
        let from = TokenizerFrom::File(tokenizer.clone());
        loaded.tokenizer = Some(match loaded.dialect {
            Dialect::Llama2c => llama2c::beginning(from, llama2c::BOS)?,
            _ => from,
        });
    }
    Ok(loaded)
}

/// What a model that is not on disk begins with: `random:2b4t` has the shape of a preset and random weights.
const RANDOM: &str = "random:";

fn random(path: &Path, preset: &str) -> Result<Loaded, FileError> {
    let Some(config) = model::presets::model(preset) else {
        let what = format!("there is no preset '{preset}'{}", nearest::hint(preset, model::presets::names()));
        let known = model::presets::names().collect::<Vec<_>>().join(", ");
        return Err(FileError::new(path, Kind::Missing, what, format!("name one of {known}")));
    };
    Ok(Loaded::bare(Box::new(model::Random::new(&config, 0)), Dialect::Random, path))
}

fn hugging_face(path: &Path) -> Result<Loaded, FileError> {
    let hf::Folder { table, extras, warnings } = hf::open(path)?;
    Ok(Loaded {
        tokenizer: extras.tokenizer.map(TokenizerFrom::File),
        chat_template: extras.chat_template,
        end_ids: extras.end_ids,
        bos: extras.bos,
        special: extras.special,
        warnings,
        ..Loaded::bare(Box::new(table), Dialect::HuggingFace, path)
    })
}

fn gguf_file(path: &Path, layout: I2sLayout) -> Result<Loaded, FileError> {
    let (source, extras) = gguf::open(path, layout)?;
    Ok(Loaded {
        tokenizer: extras.tokenizer.map(TokenizerFrom::Json),
        chat_template: extras.chat_template,
        end_ids: extras.end_ids,
        bos: extras.bos,
        special: extras.special,
        warnings: extras.warnings,
        ..Loaded::bare(Box::new(source), Dialect::Gguf, path)
    })
}

fn native_model(checkpoint: &native::Opened, warnings: Vec<String>) -> Result<Loaded, FileError> {
    let source = Box::new(checkpoint.source()?);
    Ok(Loaded {
        tokenizer: checkpoint.tokenizer_path().map(TokenizerFrom::File),
        chat_template: checkpoint.chat_template()?,
        end_ids: checkpoint.ids(native::END_IDS),
        bos: checkpoint.ids(native::BOS).first().copied(),
        lambda: checkpoint.state().get(native::LAMBDA).and_then(|lambda| lambda.as_f64()),
        warnings,
        ..Loaded::bare(source, Dialect::Native, checkpoint.dir())
    })
}
