//! A `tokenizer.json` as the metadata that llama.cpp and bitnet.cpp read.

use super::tokenizer::{LLAMA3, QWEN2};
use super::{END_KEYS, MORE_ENDS};
use crate::loaded::{Loaded, TokenizerFrom};
use formats::gguf::{Array, Value as Meta};
use formats::{FileError, Kind};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// Token types of GGUF.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// Names of the tokens that belong under [`END_KEYS`], in the order of these.
const END_NAMES: [&[&str]; END_KEYS.len()] = [
    &["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"],
    &["<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>"],
    &["<|eom_id|>"],
];

/// The keys of tokenizer, special ids and chat template, as far as the model has them. `size` is the vocabulary of the network: ids without a
/// token get a name of their own, since readers want one for each row of the embedding.
///
/// # Errors
/// The tokenizer is of a kind that GGUF does not know, or cuts text in a way that has no name there.
pub(super) fn metadata(model: &Loaded, size: usize) -> Result<Vec<(String, Meta)>, FileError> {
    let path = match &model.tokenizer {
        Some(TokenizerFrom::File(path)) => path,
        _ => &model.path,
    };
    let json = model.tokenizer.as_ref().map(|tokenizer| parse(tokenizer, path)).transpose()?;
    let table = json.as_ref().map(|json| Table { path, json });
    let mut keys = Vec::new();
    if let Some(bos) = model.bos {
        keys.push(("tokenizer.ggml.bos_token_id".to_owned(), Meta::U32(bos)));
    }
    keys.extend(ends(&model.end_ids, |id| table.as_ref()?.name(id)));
    if let Some(template) = &model.chat_template {
        keys.push(("tokenizer.chat_template".to_owned(), Meta::String(template.clone())));
    }
    if let Some(table) = table {
        let begins = table.begins_with(model.bos);
        keys.push(("tokenizer.ggml.add_bos_token".to_owned(), Meta::Bool(begins)));
        keys.extend(table.keys(size)?);
    }
    Ok(keys)
}

fn parse(tokenizer: &TokenizerFrom, path: &Path) -> Result<Value, FileError> {
    serde_json::from_slice(&tokenizer.bytes()?)
        .map_err(|e| FileError::damaged(path, format!("it is no JSON: {e}"), "get the file again"))
}

/// The ids that end a text or an answer, each under the key that the name of its token belongs to, the others under the
/// keys that are free. There is an end of text if there is any end: readers take one of their own where it is absent.
fn ends<'a>(ids: &[u32], name: impl Fn(u32) -> Option<&'a str>) -> Vec<(String, Meta)> {
    let mut left = ids.to_vec();
    let mut places = END_NAMES.map(|names| {
        let known = |id: &u32| name(*id).is_some_and(|name| names.contains(&name));
        let at = left.iter().position(known)?;
        Some(left.remove(at))
    });
    for place in places.iter_mut().filter(|place| place.is_none()) {
        *place = (!left.is_empty()).then(|| left.remove(0));
    }
    let [text, turn, message] = &mut places;
    *text = text.take().or_else(|| turn.take()).or_else(|| message.take());
    let placed = END_KEYS.into_iter().zip(places);
    let mut keys: Vec<_> = placed.filter_map(|(key, id)| Some((key.to_owned(), Meta::U32(id?)))).collect();
    if !left.is_empty() {
        keys.push((MORE_ENDS.to_owned(), Meta::Array(Array::U32(left))));
    }
    keys
}

struct Table<'a> {
    path: &'a Path,
    json: &'a Value,
}

impl<'a> Table<'a> {
    /// The token `id`.
    fn name(&self, id: u32) -> Option<&'a str> {
        let is_it = |value: &Value| value.as_u64() == Some(id.into());
        let added = self.json["added_tokens"].as_array().into_iter().flatten();
        let mut added = added.filter(|token| is_it(&token["id"]));
        let own = || self.json["model"]["vocab"].as_object()?.iter().find(|(_, id)| is_it(id));
        match added.next() {
            Some(token) => token["content"].as_str(),
            None => own().map(|(token, _)| token.as_str()),
        }
    }

    fn unfit(&self, what: String) -> FileError {
        FileError::new(self.path, Kind::Unfit, what, "export the model as a Hugging Face folder instead")
    }

    fn keys(&self, size: usize) -> Result<Vec<(String, Meta)>, FileError> {
        let model = &self.json["model"];
        if model["type"].as_str().unwrap_or("BPE") != "BPE" {
            return Err(
                self.unfit(format!("its model {} is not BPE, and GGUF gets no other here", model["type"]))
            );
        }
        let (tokens, types) = self.tokens(size)?;
        let merges = self.merges()?;
        let pieces = model["byte_fallback"] == true;
        let mut keys = Vec::new();
        let mut put = |key: &str, value: Meta| keys.push((format!("tokenizer.ggml.{key}"), value));
        if pieces {
            put("model", Meta::String("llama".into()));
            put("scores", Meta::Array(Array::F32(scores(&tokens, &merges))));
            let prefix = self.json["normalizer"].to_string().contains("\"Prepend\"");
            put("add_space_prefix", Meta::Bool(prefix));
        } else {
            put("model", Meta::String("gpt2".into()));
            put("pre", Meta::String(self.words()?.into()));
            let merges = merges.into_iter().map(|(left, right)| format!("{left} {right}")).collect();
            put("merges", Meta::Array(Array::String(merges)));
        }
        put("tokens", Meta::Array(Array::String(tokens)));
        put("token_type", Meta::Array(Array::I32(types)));
        Ok(keys)
    }

    fn tokens(&self, size: usize) -> Result<(Vec<String>, Vec<i32>), FileError> {
        let mut tokens: Vec<Option<String>> = vec![None; size];
        let mut types = vec![NORMAL; size];
        let mut put = |id: Option<u64>, token: &str, kind: i32| {
            let id = id.and_then(|id| usize::try_from(id).ok()).filter(|id| *id < size);
            let Some(id) = id else {
                let what = format!("token '{token}' has an id outside of the {size} of the network");
                return Err(self.unfit(what));
            };
            (tokens[id], types[id]) = (Some(token.to_owned()), kind);
            Ok(())
        };
        let model = &self.json["model"];
        let Some(vocabulary) = model["vocab"].as_object() else {
            return Err(self.unfit("it has no vocabulary".into()));
        };
        let is_byte = |token: &str| token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
        for (token, id) in vocabulary {
            let byte = model["byte_fallback"] == true && is_byte(token);
            put(id.as_u64(), token, if byte { BYTE } else { NORMAL })?;
        }
        for added in self.json["added_tokens"].as_array().into_iter().flatten() {
            let content = added["content"].as_str().unwrap_or_default();
            let kind = match added["special"] == true {
                true if model["unk_token"] == added["content"] => UNKNOWN,
                true => CONTROL,
                false => USER_DEFINED,
            };
            put(added["id"].as_u64(), content, kind)?;
        }
        let tokens = tokens.into_iter().enumerate().map(|(id, token)| {
            token.unwrap_or_else(|| {
                types[id] = UNUSED;
                format!("[PAD{id}]")
            })
        });
        let tokens = tokens.collect();
        Ok((tokens, types))
    }

    /// Merges are texts (`a b`) or pairs.
    fn merges(&self) -> Result<Vec<(String, String)>, FileError> {
        let list = self.json["model"]["merges"].as_array().into_iter().flatten();
        let pair = |merge: &Value| -> Option<(String, String)> {
            match merge {
                Value::String(text) => text.split_once(' ').map(|(l, r)| (l.to_owned(), r.to_owned())),
                pair => Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned())),
            }
        };
        list.map(|merge| pair(merge).ok_or_else(|| self.unfit(format!("{merge} is no merge")))).collect()
    }

    /// The name of the way in which it cuts text into words.
    fn words(&self) -> Result<&'static str, FileError> {
        let cut = &self.json["pre_tokenizer"];
        let parts: Vec<&Value> = match cut["pretokenizers"].as_array() {
            Some(parts) => parts.iter().collect(),
            None => vec![cut],
        };
        let kinds: Vec<&str> = parts.iter().map(|part| part["type"].as_str().unwrap_or_default()).collect();
        let plain = parts.iter().all(|part| part["add_prefix_space"] != true);
        let expression = parts.first().and_then(|part| part["pattern"]["Regex"].as_str());
        let own_regex = parts.last().is_some_and(|part| part["use_regex"] != false);
        match (kinds.as_slice(), expression) {
            (["ByteLevel"], _) if plain && own_regex => Ok("gpt-2"),
            (["Digits", "ByteLevel"], _) if plain && own_regex && parts[0]["individual_digits"] == true => {
                Ok("smollm")
            }
            (["Split", "ByteLevel"], Some(LLAMA3)) if plain && !own_regex => Ok("llama-bpe"),
            (["Split", "ByteLevel"], Some(QWEN2)) if plain && !own_regex => Ok("qwen2"),
            _ => Err(self
                .unfit(format!("the way it cuts text ({cut}) has no name in llama.cpp that is known here"))),
        }
    }

    /// Whether its template puts the token `bos` before a text.
    fn begins_with(&self, bos: Option<u32>) -> bool {
        let processor = &self.json["post_processor"];
        let parts = processor["processors"].as_array().cloned().unwrap_or_else(|| vec![processor.clone()]);
        let template = parts.iter().find(|part| part["type"] == "TemplateProcessing");
        template.is_some_and(|template| {
            let first = &template["single"][0]["SpecialToken"]["id"];
            let ids = first.as_str().map(|name| &template["special_tokens"][name]["ids"]);
            bos.is_some() && ids.is_some_and(|ids| ids[0].as_u64() == bos.map(u64::from))
        })
    }
}

/// SentencePiece merges the pair whose token has the best score: minus the rank of the first merge that makes it.
fn scores(tokens: &[String], merges: &[(String, String)]) -> Vec<f32> {
    let mut ranks: HashMap<String, usize> = HashMap::with_capacity(merges.len());
    for (rank, (left, right)) in merges.iter().enumerate() {
        ranks.entry(format!("{left}{right}")).or_insert(rank);
    }
    let last = merges.len();
    tokens.iter().map(|token| -(*ranks.get(token).unwrap_or(&last) as f32)).collect()
}
