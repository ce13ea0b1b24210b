//! From what the user calls MODEL to an engine and its tokenizer.

use crate::{Engine, EngineOptions, InferError};
use formats::{bounded, limits};
use std::path::{Path, PathBuf};
use text::Tokenizer;

/// The file beside the tokenizer, as Hugging Face calls it.
const CHAT_TEMPLATE: &str = "chat_template.jinja";

/// An engine with the tokenizer of its checkpoint.
pub struct Model {
    /// the network
    pub engine: Engine,
    /// one sentence for each newer checkpoint that is damaged and was passed over
    pub warnings: Vec<String>,
    tokenizer: Option<Tokenizer>,
    folder: PathBuf,
}

impl Model {
    /// Opens a checkpoint folder, or the newest sound checkpoint of a run folder.
    ///
    /// # Errors
    /// What `checkpoint::locate` says, a damaged tokenizer, and [`Engine::new`]'s.
    pub fn open(path: &Path, options: EngineOptions) -> Result<Self, InferError> {
        let located = checkpoint::locate(path).map_err(|error| InferError::Model(error.into()))?;
        let checkpoint = located.checkpoint;
        let tokenizer = checkpoint.tokenizer_path();
        let tokenizer = tokenizer.map(|path| Tokenizer::load(&path)).transpose()?;
        let weights = checkpoint.load_weights().map_err(|error| InferError::Model(error.into()))?;
        Ok(Self {
            engine: Engine::new(&weights, options)?,
            warnings: located.warnings,
            tokenizer,
            folder: checkpoint.dir().to_owned(),
        })
    }

    /// The checkpoint's tokenizer.
    ///
    /// # Errors
    /// It has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer, InferError> {
        self.tokenizer.as_ref().ok_or_else(|| InferError::NoTokenizer { path: self.folder.clone() })
    }

    /// The ids that end a text or an answer: here those that anything of the model declares are joined.
    pub fn end_ids(&self) -> Vec<u32> {
        self.tokenizer.as_ref().map(Tokenizer::end_ids).unwrap_or_default()
    }

    /// The chat template that came with the model, if one did.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn chat_template(&self) -> Result<Option<String>, InferError> {
        let path = self.folder.join(CHAT_TEMPLATE);
        let text = path.is_file().then(|| bounded::read_text(&path, limits::CONFIG_BYTES_MAX));
        Ok(text.transpose()?)
    }
}
