//! A `tokenizer.json` as the metadata that llama.cpp and bitnet.cpp read.

use super::tokenizer::{DEFAULT, LLAMA3, QWEN2};
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
    let begins = table.as_ref().and_then(Table::begins_with);
    let bos = model.bos.or(begins);
    let mut keys = Vec::new();
    if let Some(bos) = bos {
        keys.push(("tokenizer.ggml.bos_token_id".to_owned(), Meta::U32(bos)));
    }
    keys.extend(ends(&model.end_ids, |id| table.as_ref()?.name(id)));
    if let Some(template) = &model.chat_template {
        keys.push(("tokenizer.chat_template".to_owned(), Meta::String(template.clone())));
    }
    if let Some(table) = table {
        let adds_bos = begins.is_some() && begins == bos;
        keys.push(("tokenizer.ggml.add_bos_token".to_owned(), Meta::Bool(adds_bos)));
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
            put("add_space_prefix", Meta::Bool(self.space_prefix(&tokens)?));
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
        let expressions: Vec<&str> =
            parts.iter().filter_map(|part| part["pattern"]["Regex"].as_str()).collect();
        let own_regex = parts.last().is_some_and(|part| part["use_regex"] != false);
        match (kinds.as_slice(), expressions.as_slice()) {
            (["ByteLevel"], _) if plain && own_regex => Ok("gpt-2"),
            (["Digits", "ByteLevel"], _) if plain && own_regex && parts[0]["individual_digits"] == true => {
                Ok("smollm")
            }
            (["Split", "ByteLevel"], [LLAMA3]) if plain && !own_regex => Ok("llama-bpe"),
            (["Split", "ByteLevel"], [QWEN2]) if plain && !own_regex => Ok("qwen2"),
            ([splits @ .., "ByteLevel"], four)
                if plain && !own_regex && *four == DEFAULT && splits == ["Split"; 4] =>
            {
                Ok("default")
            }
            _ => Err(self
                .unfit(format!("the way it cuts text ({cut}) has no name in llama.cpp that is known here"))),
        }
    }

    /// Whether SentencePiece puts a space before a text. In a `tokenizer.json` the normalizer or the pre-tokenizer does it, and
    /// one of them writes every space as `▁`; llama.cpp does both, and nothing else.
    fn space_prefix(&self, tokens: &[String]) -> Result<bool, FileError> {
        let (normalizer, cut) = (&self.json["normalizer"], &self.json["pre_tokenizer"]);
        let steps: Vec<&Value> =
            [normalizer, cut].into_iter().flat_map(steps).filter(|step| !step.is_null()).collect();
        // a cut in front of each ▁ changes nothing where no token has one further on
        let goes_over = || tokens.iter().any(|token| token.chars().skip(1).any(|c| c == SPACE));
        let (mut prefix, mut spaces) = (false, false);
        for step in steps {
            let is_known = match step["type"].as_str().unwrap_or_default() {
                "Prepend" => step["prepend"] == "▁",
                "Replace" => step["pattern"]["String"] == " " && step["content"] == "▁",
                "Metaspace" => step["replacement"] == "▁" && (step["split"] == false || !goes_over()),
                // Gemma's: there is no space left to cut at
                "Split" => spaces && step["pattern"]["String"] == " ",
                _ => false,
            };
            if !is_known {
                return Err(self.unfit(format!(
                    "the way it prepares text ({normalizer}, then {cut}) is not what llama.cpp does for SentencePiece"
                )));
            }
            spaces |= step["type"] == "Replace" || step["type"] == "Metaspace";
            prefix |= step["type"] == "Prepend" || (step["type"] == "Metaspace" && prepends(step));
        }
        match spaces {
            true => Ok(prefix),
            false => {
                Err(self.unfit("it does not write spaces as ▁, as llama.cpp does for SentencePiece".into()))
            }
        }
    }

    /// The id that its template puts before a text.
    fn begins_with(&self) -> Option<u32> {
        let parts = steps(&self.json["post_processor"]);
        let template = parts.into_iter().find(|part| part["type"] == "TemplateProcessing")?;
        let first = template["single"][0]["SpecialToken"]["id"].as_str()?;
        u32::try_from(template["special_tokens"][first]["ids"][0].as_u64()?).ok()
    }
}

/// SentencePiece's sign for a space.
const SPACE: char = '▁';

/// The steps of a part of a `tokenizer.json`, those of a `Sequence` one by one.
fn steps(part: &Value) -> Vec<&Value> {
    let lists = ["normalizers", "pretokenizers", "processors"];
    match lists.iter().find_map(|name| part[name].as_array()) {
        Some(list) => list.iter().flat_map(steps).collect(),
        None => vec![part],
    }
}

/// Whether a Metaspace puts a space before a text; it always did before it could be told.
fn prepends(metaspace: &Value) -> bool {
    metaspace["prepend_scheme"] != "never" && metaspace["add_prefix_space"] != false
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
