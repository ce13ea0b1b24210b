//! What stands beside the weights of a Hugging Face folder: tokenizer, chat template, special ids.

use super::describe::spelling;
use super::object;
use crate::special::SpecialTokens;
use formats::{FileError, bounded, limits};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Everything about text and its end; each may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// `tokenizer.json`
    pub tokenizer: Option<PathBuf>,
    /// Jinja source of the chat template
    pub chat_template: Option<String>,
    /// ids that end an answer, ascending
    pub end_ids: Vec<u32>,
    /// id that begins a text
    pub bos: Option<u32>,
    /// the tokens that begin and end a text
    pub special: SpecialTokens,
}

impl Extras {
    /// Reads `generation_config.json`, `tokenizer_config.json` and `chat_template.jinja` where they are; `config` is the
    /// content of `config.json`.
    pub(super) fn read(dir: &Path, config: &Map<String, Value>) -> Result<Self, FileError> {
        let generation = optional(&dir.join("generation_config.json"))?;
        let texts = optional(&dir.join("tokenizer_config.json"))?;
        let mut end_ids: Vec<u32> =
            [&generation, config].iter().flat_map(|json| ids(json.get("eos_token_id"))).collect();
        end_ids.sort_unstable();
        end_ids.dedup();
        let bos = [&generation, config].iter().find_map(|json| ids(json.get("bos_token_id")).next());
        let template = dir.join("chat_template.jinja");
        let chat_template = match template.is_file() {
            true => Some(bounded::read_text(&template, limits::CONFIG_BYTES_MAX)?),
            false => texts.get("chat_template").and_then(default_template),
        };
        let mut read =
            Self { tokenizer: None, chat_template, end_ids, bos, special: SpecialTokens::default() };
        read.tokenizer = Some(dir.join("tokenizer.json")).filter(|path| path.is_file());
        read.special =
            SpecialTokens { bos: token(texts.get("bos_token")), eos: token(texts.get("eos_token")) };
        read.name_ids()?;
        read.chat_template = read.chat_template.map(|template| read.special.bind(template));
        Ok(read)
    }

    /// Where the template wants a token that no file names: that of the id that begins a text, or of the only one that ends it.
    fn name_ids(&mut self) -> Result<(), FileError> {
        let (Some(template), Some(path)) = (&self.chat_template, &self.tokenizer) else { return Ok(()) };
        if !self.special.lacks(template) {
            return Ok(());
        }
        // what is wrong with it is said where it is used
        let bytes = bounded::read(path, limits::TOKENIZER_BYTES_MAX)?;
        let json = serde_json::from_slice(&bytes).unwrap_or_default();
        let end = if let [one] = self.end_ids[..] { Some(one) } else { None };
        let named = |id: Option<u32>| spelling(&json, id?);
        let SpecialTokens { bos, eos } = &mut self.special;
        *bos = bos.take().or_else(|| named(self.bos));
        *eos = eos.take().or_else(|| named(end));
        Ok(())
    }
}

/// A token as `tokenizer_config.json` names it: a text, or an object with its content; empty where that says there is none.
fn token(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Null => Some(String::new()),
        Value::Object(token) => token.get("content")?.as_str().map(str::to_owned),
        other => other.as_str().map(str::to_owned),
    }
}

/// The object in `path`, empty where there is no such file.
fn optional(path: &Path) -> Result<Map<String, Value>, FileError> {
    if path.is_file() { object(path) } else { Ok(Map::new()) }
}

/// One id or a list of them.
fn ids(value: Option<&Value>) -> impl Iterator<Item = u32> + '_ {
    let list = match value {
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    list.iter().filter_map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
}

/// The template, or of several named ones that named `default`.
fn default_template(value: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let named = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some("default");
    match value {
        Value::Array(list) => text(list.iter().find(named)?.get("template")?),
        other => text(other),
    }
}
