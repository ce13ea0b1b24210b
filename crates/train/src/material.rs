//! What a run reads: token shards, or conversations in the words of the model that it begins with.

use crate::TrainError;
use crate::config::{RunConfig, SftConfig};
use crate::heal::Speech;
use checkpoint::Loaded;
use data::dataset::same_ids;
use data::{ChatOptions, Chats, Dataset, Loader, LoaderOptions, Source, Split};
use formats::{bounded, limits};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;

/// The built-in template of a model that has none.
const DEFAULT_TEMPLATE: &str = "turns";

/// Opened, and what the run says and understands.
pub(crate) struct Material {
    content: Content,
    /// `tokenizer.json`
    pub(crate) tokenizer: Vec<u8>,
    /// (V) bytes of text in each token
    pub(crate) token_bytes: Vec<u16>,
    /// what the run's user should know of it, a sentence each
    pub(crate) notes: Vec<String>,
}

enum Content {
    Shards { sources: Vec<Source>, first: Box<Dataset> },
    Chats(Arc<Chats>),
}

impl Speech {
    /// What a run that begins with a model says and understands at first.
    pub(crate) fn at_first(config: &RunConfig, model: Option<&Loaded>) -> Self {
        let own = model.map(Self::of).unwrap_or_default();
        let named = config.sft.as_ref().and_then(|sft| sft.template.clone());
        Self { chat_template: named.or(own.chat_template), ..own }
    }
}

impl Material {
    /// Opens what `config` reads. Conversations are told with the tokenizer and the template of `model`, which a run that
    /// reads them begins with; where it has no template, `speech` is given one.
    ///
    /// # Errors
    /// Nothing is to be read, or it cannot be; the model has no tokenizer to tell conversations with.
    pub(crate) fn open(
        config: &RunConfig,
        model: Option<&Loaded>,
        speech: &mut Speech,
    ) -> Result<Self, TrainError> {
        match (&config.sft, model) {
            (Some(sft), Some(model)) => Self::chats(config, sft, model, speech),
            _ => Self::shards(config),
        }
    }

    fn shards(config: &RunConfig) -> Result<Self, TrainError> {
        let sources = config.sources();
        let first = Dataset::open(&sources.first().ok_or(TrainError::NoData)?.path)?;
        let advice = first.manifest().warnings.iter();
        Ok(Self {
            tokenizer: bounded::read(&first.tokenizer_path(), limits::TOKENIZER_BYTES_MAX)?,
            token_bytes: first.token_bytes().to_vec(),
            notes: advice.map(|advice| format!("{}: {advice}", first.folder().display())).collect(),
            content: Content::Shards { sources, first: Box::new(first) },
        })
    }

    fn chats(
        config: &RunConfig,
        sft: &SftConfig,
        model: &Loaded,
        speech: &mut Speech,
    ) -> Result<Self, TrainError> {
        let from = || model.path.clone();
        let tokenizer = model.tokenizer.as_ref().ok_or_else(|| TrainError::NoTokenizer { path: from() })?;
        let tokenizer = tokenizer.bytes()?.into_owned();
        let mut notes = Vec::new();
        let named = speech.chat_template.clone().unwrap_or_else(|| {
            notes.push(format!(
                "{} has no chat template: it learns to talk in plain text ('User: …', 'Assistant: …'); sft.template names another",
                model.path.display()
            ));
            DEFAULT_TEMPLATE.to_owned()
        });
        let source = match data::chats::built_in(&named) {
            Some(source) => source.to_owned(),
            None if named.contains("{{") || named.contains("{%") => named,
            None => bounded::read_text(named.as_ref(), limits::CONFIG_BYTES_MAX)?,
        };
        if speech.end_ids.is_empty() {
            speech.end_ids = data::chats::end_ids(&tokenizer)?;
        }
        let chats = Chats::read(&ChatOptions {
            files: &sft.files,
            tokenizer: &tokenizer,
            template: &source,
            end_ids: &speech.end_ids,
            sequence: config.train.sequence,
            valid_share: sft.valid_share,
        })?;
        speech.chat_template = Some(source);
        notes.extend(chats.notes());
        let token_bytes = chats.token_bytes().to_vec();
        Ok(Self { content: Content::Chats(Arc::new(chats)), tokenizer, token_bytes, notes })
    }

    /// A loader of one split.
    pub(crate) fn loader(&self, split: Split, options: LoaderOptions) -> Result<Loader, TrainError> {
        Ok(match &self.content {
            Content::Shards { sources, .. } => Loader::open(sources, split, options)?,
            Content::Chats(chats) => Loader::of_chats(chats.clone(), split, options)?,
        })
    }

    /// Refuses a model to learn on from, if an id of what is read means another text to it.
    pub(crate) fn agree(&mut self, config: &RunConfig, model: &Loaded) -> Result<(), TrainError> {
        let own = model.path.display();
        self.agree_or(
            config,
            model,
            &format!("prepare the data with the model's own: data prepare --tokenizer {own}"),
        )
    }

    /// Refuses a teacher to whom an id of what is read means another text.
    pub(crate) fn agree_with_teacher(
        &mut self,
        config: &RunConfig,
        teacher: &Loaded,
    ) -> Result<(), TrainError> {
        self.agree_or(config, teacher, "choose a teacher with the student's tokenizer")
    }

    fn agree_or(&mut self, config: &RunConfig, model: &Loaded, remedy: &str) -> Result<(), TrainError> {
        let Some(theirs) = &model.tokenizer else {
            self.notes.push(format!(
                "{}: it has no tokenizer, so whether the data was prepared with its own cannot be known",
                model.path.display()
            ));
            return Ok(());
        };
        let theirs = (&*theirs.bytes()?, model.path.as_path());
        match (&self.content, config.origin()) {
            (Content::Shards { first, .. }, _) => first.agree(theirs, remedy)?,
            (Content::Chats(_), origin) => {
                let ours = (&*self.tokenizer, origin.unwrap_or(Path::new("")));
                same_ids(ours, theirs, remedy)?;
            }
        }
        Ok(())
    }

    /// Refuses what has token ids that the run's network has not.
    pub(crate) fn fits(&self, config: &RunConfig) -> Result<(), TrainError> {
        let data = self.token_bytes.len();
        match (&self.content, config.model.vocabulary) {
            (Content::Shards { sources, .. }, model) if data > model => {
                Err(TrainError::Vocabulary { path: sources[0].path.clone(), data, model })
            }
            (Content::Chats(chats), model) if chats.largest_id() as usize >= model => {
                let path = config.origin().map(Path::to_path_buf).unwrap_or_default();
                Err(TrainError::Vocabulary { path, data: chats.largest_id() as usize + 1, model })
            }
            _ => Ok(()),
        }
    }

    /// For `run.json`.
    pub(crate) fn facts(&self) -> Map<String, Value> {
        object(match &self.content {
            Content::Shards { first, .. } => json!({
                "unigram_entropy": first.unigram_entropy(),
                "data_fingerprint": first.fingerprint(),
                "train_tokens": first.tokens(Split::Train),
            }),
            Content::Chats(chats) => json!({
                "unigram_entropy": chats.unigram_entropy(),
                "data_fingerprint": chats.fingerprint(),
                "train_tokens": chats.counts().tokens,
                "answer_tokens": chats.counts().scored,
            }),
        })
    }
}

/// The entries of an object literal.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => unreachable!("{other} is no object literal"),
    }
}
