//! From what the user calls MODEL, in any dialect, to one [`Source`] and what belongs to it.

use crate::{hf, locate, native};
use formats::FileError;
use model::{Config, Source};
use std::path::{Path, PathBuf};

/// Where the tokenizer of a model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenizerFrom {
    /// a `tokenizer.json`
    File(PathBuf),
    /// the content of a `tokenizer.json`, made from what another format holds
    Json(Vec<u8>),
}

/// How a model is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// a checkpoint folder of this project
    Native,
    /// a Hugging Face folder
    HuggingFace,
}

impl Dialect {
    /// The name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native checkpoint",
            Self::HuggingFace => "Hugging Face folder",
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
    /// what was passed over or taken for granted, a sentence each
    pub warnings: Vec<String>,
}

impl Loaded {
    /// The network's shape and choices.
    pub fn config(&self) -> &Config {
        self.source.config()
    }
}

/// Opens the model that `path` means: a run folder (its newest sound checkpoint), a checkpoint folder or a Hugging Face
/// folder.
///
/// # Errors
/// It is none of these, damaged, or of an architecture that is not known here.
pub fn open(path: &Path) -> Result<Loaded, FileError> {
    if hf::is_folder(path) {
        let hf::Folder { table, extras, warnings } = hf::open(path)?;
        return Ok(Loaded {
            source: Box::new(table),
            dialect: Dialect::HuggingFace,
            path: path.to_owned(),
            tokenizer: extras.tokenizer.map(TokenizerFrom::File),
            chat_template: extras.chat_template,
            end_ids: extras.end_ids,
            bos: extras.bos,
            warnings,
        });
    }
    let located = locate(path)?;
    native_model(&located.checkpoint, located.warnings)
}

fn native_model(checkpoint: &native::Opened, warnings: Vec<String>) -> Result<Loaded, FileError> {
    let ids = |key: &str| -> Vec<u32> {
        let list = checkpoint.state().get(key).and_then(|value| value.as_array());
        let ids = list.into_iter().flatten().filter_map(|id| id.as_u64());
        ids.filter_map(|id| u32::try_from(id).ok()).collect()
    };
    Ok(Loaded {
        source: Box::new(checkpoint.source()?),
        dialect: Dialect::Native,
        path: checkpoint.dir().to_owned(),
        tokenizer: checkpoint.tokenizer_path().map(TokenizerFrom::File),
        chat_template: checkpoint.chat_template()?,
        end_ids: ids(native::END_IDS),
        bos: ids(native::BOS).first().copied(),
        warnings,
    })
}
