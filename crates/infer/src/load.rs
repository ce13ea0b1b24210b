//! From what the user calls MODEL to an engine and its tokenizer.

use crate::{Engine, EngineOptions, InferError};
use checkpoint::hf::peft;
use checkpoint::{Loaded, OpenOptions, TokenizerFrom};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use text::{TextError, Tokenizer};

/// The tokenizer of a model, if it has one.
///
/// # Errors
/// It cannot be read.
pub fn tokenizer(loaded: &Loaded) -> Result<Option<Tokenizer>, TextError> {
    match &loaded.tokenizer {
        Some(TokenizerFrom::File(path)) => Tokenizer::load(path).map(Some),
        Some(TokenizerFrom::Json(json)) => Tokenizer::from_bytes(json).map(Some),
        None => Ok(None),
    }
}

/// An engine with what belongs to its model.
pub struct Model {
    /// the network
    pub engine: Engine,
    /// a sentence for everything that was passed over or taken for granted
    pub warnings: Vec<String>,
    /// Jinja source of the chat template
    pub chat_template: Option<String>,
    /// ids that end a text or an answer: those that the model declares, and those that the tokenizer's names tell
    pub end_ids: Vec<u32>,
    tokenizer: Option<Tokenizer>,
    path: PathBuf,
}

impl Model {
    /// Opens a model of any dialect; see [`checkpoint::open_with`].
    ///
    /// # Errors
    /// What that says, a damaged tokenizer, and [`Engine::new`]'s.
    pub fn open(path: &Path, how: &OpenOptions, options: EngineOptions) -> Result<Self, InferError> {
        let loaded = checkpoint::open_with(path, how)?;
        // Both take a second of a large model.
        let (engine, tokenizer) = thread::scope(|scope| {
            let tokenizer = scope.spawn(|| tokenizer(&loaded));
            let engine = Engine::new(&*loaded.source, options);
            (engine, tokenizer.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        let (engine, tokenizer) = (engine?, tokenizer?);
        let Loaded { warnings, chat_template, mut end_ids, path, .. } = loaded;
        end_ids.extend(tokenizer.as_ref().map(Tokenizer::end_ids).unwrap_or_default());
        end_ids.sort_unstable();
        end_ids.dedup();
        Ok(Self { engine, warnings, chat_template, end_ids, tokenizer, path })
    }

    /// The same model with the adapter in `folder` beside it, and the chat template that lies there; see [`peft::open`].
    ///
    /// # Errors
    /// What that says.
    pub fn adapted(self, folder: &Path) -> Result<Self, InferError> {
        let Self { engine, mut warnings, chat_template, end_ids, tokenizer, path } = self;
        let peft::Opened { adapter, base, chat_template: own } = peft::open(folder, engine.config())?;
        // A run is opened as one of its checkpoints.
        let is_named = |base: &String| {
            let name = Path::new(base).file_name();
            name.is_some_and(|name| path.iter().any(|part| part == name))
        };
        if let Some(base) = base.filter(|base| !is_named(base)) {
            warnings.push(format!(
                "{}: the adapter was made beside '{base}'; its shapes fit {}, and nothing else can be known",
                folder.display(),
                path.display()
            ));
        }
        let engine = engine.with_adapter(&adapter);
        Ok(Self { engine, warnings, chat_template: own.or(chat_template), end_ids, tokenizer, path })
    }

    /// The model's tokenizer.
    ///
    /// # Errors
    /// It has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer, InferError> {
        self.tokenizer.as_ref().ok_or_else(|| InferError::NoTokenizer { path: self.path.clone() })
    }
}
