//! A GGUF file's tokenizer as a Hugging Face `tokenizer.json`.

use formats::gguf::File;
use formats::{FileError, Kind, limits, nearest};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::ops::RangeInclusive;

/// Token types of GGUF that are no ordinary text.
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// How text is cut into words before byte-level BPE: (`tokenizer.ggml.pre`, what Hugging Face calls it).
#[derive(Clone, Copy, PartialEq)]
enum Words {
    Gpt2,
    /// llama.cpp's own, where a file has no other name: four expressions, one after the other
    Default,
    /// digits one by one, then as GPT-2
    Smollm,
    /// Llama-3's expression
    Llama3,
    /// Qwen2's expression, after NFC
    Qwen2,
}

/// Sizes of Llama-3's vocabulary, with few or many of its reserved tokens.
const LLAMA3_TOKENS: RangeInclusive<usize> = 128_000..=128_512;

const PRE: [(&str, Words); 10] = [
    ("gpt-2", Words::Gpt2),
    ("gpt2", Words::Gpt2),
    ("default", Words::Default),
    ("smollm", Words::Smollm),
    ("llama-bpe", Words::Llama3),
    ("llama3", Words::Llama3),
    ("llama-v3", Words::Llama3),
    ("falcon3", Words::Llama3),
    ("qwen2", Words::Qwen2),
    ("deepseek-r1-qwen", Words::Qwen2),
];

/// Each cuts what the one before it left (`llama-vocab.cpp`).
pub(super) const DEFAULT: [&str; 4] = [
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];
pub(super) const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub(super) const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

struct Vocabulary<'a> {
    file: &'a File,
    tokens: &'a [String],
    types: Vec<i32>,
}

/// The `tokenizer.json`, or `None` where the file holds no tokenizer. `bos` begins each text where the file says so.
///
/// # Errors
/// The tokenizer is of a kind or has a pre-tokenizer that is not known here; its lists do not belong together.
pub(super) fn json(
    file: &File,
    bos: Option<u32>,
    warnings: &mut Vec<String>,
) -> Result<Option<Vec<u8>>, FileError> {
    let kind = "tokenizer.ggml.model";
    if file.get(kind).is_none() {
        return Ok(None);
    }
    let tokens = file.strings("tokenizer.ggml.tokens")?;
    let types = match file.get("tokenizer.ggml.token_type") {
        Some(_) => file.i32s("tokenizer.ggml.token_type")?,
        None => vec![1; tokens.len()],
    };
    if types.len() != tokens.len() {
        let what = format!("it has {} tokens and {} token types", tokens.len(), types.len());
        return Err(FileError::damaged(file.path(), what, "get the file again"));
    }
    let vocabulary = Vocabulary { file, tokens, types };
    let mut json = match file.str(kind)? {
        "gpt2" => vocabulary.byte_level(warnings)?,
        "llama" => vocabulary.sentence_piece()?,
        other => {
            let hint = nearest::hint(other, ["gpt2", "llama"]);
            let what = format!("its tokenizer is of kind '{other}'{hint}, and gpt2 and llama are known here");
            return Err(FileError::new(file.path(), Kind::Unfit, what, "give a tokenizer.json beside it"));
        }
    };
    let key = "tokenizer.ggml.add_bos_token";
    let adds_bos = match file.get(key) {
        Some(_) => file.bool(key)?,
        None => json["model"]["byte_fallback"] == true || json["model"]["ignore_merges"] == true,
    };
    if let Some(token) = bos.filter(|_| adds_bos).and_then(|id| tokens.get(id as usize).zip(Some(id))) {
        json["post_processor"] = begins_with(token.0, token.1);
    }
    json["added_tokens"] = vocabulary.added();
    Ok(Some(serde_json::to_vec(&json).expect("plain data becomes JSON")))
}

/// A template that puts one token before a text.
fn begins_with(token: &str, id: u32) -> Value {
    let special = json!({"SpecialToken": {"id": token, "type_id": 0}});
    json!({
        "type": "TemplateProcessing",
        "single": [special, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [special, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}},
    })
}

impl Vocabulary<'_> {
    fn ids(&self) -> Value {
        let entry = |(id, token): (usize, &String)| (token.clone(), id.into());
        Value::Object(self.tokens.iter().enumerate().map(entry).collect::<Map<_, _>>())
    }

    fn added(&self) -> Value {
        let special = self.types.iter().enumerate();
        let special = special.filter(|(_, kind)| [UNKNOWN, CONTROL, USER_DEFINED].contains(kind));
        let token = |(id, kind): (usize, &i32)| {
            json!({
                "id": id,
                "content": self.tokens[id],
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
                "normalized": false,
                "special": *kind != USER_DEFINED,
            })
        };
        special.map(token).collect()
    }

    fn byte_level(&self, warnings: &mut Vec<String>) -> Result<Value, FileError> {
        let words = self.words(warnings)?;
        let merges = self.file.strings("tokenizer.ggml.merges")?;
        let level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let split = |expression: &str| {
            let pattern = json!({"Regex": expression});
            json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false})
        };
        let sequence = |mut steps: Vec<Value>, use_regex: bool| {
            steps.push(level(use_regex));
            json!({"type": "Sequence", "pretokenizers": steps})
        };
        Ok(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": [],
            "normalizer": if words == Words::Qwen2 { json!({"type": "NFC"}) } else { Value::Null },
            "pre_tokenizer": match words {
                Words::Gpt2 => level(true),
                Words::Default => sequence(DEFAULT.map(split).to_vec(), false),
                Words::Smollm => sequence(vec![json!({"type": "Digits", "individual_digits": true})], true),
                Words::Llama3 => sequence(vec![split(LLAMA3)], false),
                Words::Qwen2 => sequence(vec![split(QWEN2)], false),
            },
            "post_processor": null,
            "decoder": level(true),
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": null,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": words == Words::Llama3,
                "vocab": self.ids(),
                "merges": merges,
            },
        }))
    }

    fn words(&self, warnings: &mut Vec<String>) -> Result<Words, FileError> {
        let key = "tokenizer.ggml.pre";
        let name = match self.file.get(key) {
            Some(_) => self.file.str(key)?,
            None => {
                let tokens = self.tokens.len();
                let (name, whose) = match LLAMA3_TOKENS.contains(&tokens) {
                    true => ("llama-bpe", "Llama-3's way is taken, whose number of tokens it has"),
                    false => ("gpt-2", "GPT-2's way is taken"),
                };
                let path = self.file.path().display();
                warnings.push(format!(
                    "{path}: it does not say {key}, how text is cut before it is tokenized; {whose} ({tokens})"
                ));
                name
            }
        };
        if let Some((_, words)) = PRE.iter().find(|(known, _)| *known == name) {
            return Ok(*words);
        }
        let hint = nearest::hint(name, PRE.iter().map(|(known, _)| *known));
        let what = format!("{key} is '{name}', a way to cut text that is not known here{hint}");
        Err(FileError::new(self.file.path(), Kind::Unfit, what, "give a tokenizer.json beside it"))
    }

    /// SentencePiece BPE: a merge for each cut of a token into two, best score first, as Hugging Face converts it.
    fn sentence_piece(&self) -> Result<Value, FileError> {
        let scores = self.file.f32s("tokenizer.ggml.scores")?;
        if scores.len() != self.tokens.len() {
            let what = format!("it has {} tokens and {} scores", self.tokens.len(), scores.len());
            return Err(FileError::damaged(self.file.path(), what, "get the file again"));
        }
        if let Some(long) = self.tokens.iter().find(|token| token.len() > limits::SENTENCE_PIECE_BYTES_MAX) {
            let (bytes, most) = (long.len(), limits::SENTENCE_PIECE_BYTES_MAX);
            let what = format!("one of its tokens has {bytes} bytes, more than the {most} allowed");
            return Err(FileError::damaged(self.file.path(), what, "get the file again"));
        }
        let ids: HashMap<&str, usize> =
            self.tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
        let mut merges: Vec<(f32, usize, usize, &str, &str)> = Vec::new();
        for (token, score) in self.tokens.iter().zip(scores) {
            let mut cuts: Vec<(usize, usize, &str, &str)> = token
                .char_indices()
                .skip(1)
                .filter_map(|(at, _)| {
                    let (left, right) = token.split_at(at);
                    Some((*ids.get(left)?, *ids.get(right)?, left, right))
                })
                .collect();
            cuts.sort_unstable();
            merges.extend(
                cuts.into_iter().map(|(_, _, l, r)| (*score, l.chars().count(), r.chars().count(), l, r)),
            );
        }
        // stable: cuts of one token stay in the order of their halves' ids
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2)));
        let merges: Vec<Value> = merges.into_iter().map(|(.., l, r)| json!([l, r])).collect();
        let unknown = self.types.iter().position(|kind| *kind == UNKNOWN).map(|id| self.tokens[id].clone());
        let key = "tokenizer.ggml.add_space_prefix";
        let prefix = if self.file.get(key).is_some() { self.file.bool(key)? } else { true };
        let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let back = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
        let mut normalizers = vec![space];
        let mut decoders = vec![back, json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
        if prefix {
            normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        Ok(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": [],
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": null,
            "post_processor": null,
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": unknown,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": true,
                "byte_fallback": true,
                "ignore_merges": false,
                "vocab": self.ids(),
                "merges": merges,
            },
        }))
    }
}
