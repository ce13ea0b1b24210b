//! A tokenizer goes into a GGUF file and comes out with the same ids.

use checkpoint::{Loaded, TokenizerFrom, arena, gguf, native};
use formats::gguf::File;
use formats::quant;
use model::{Config, Weights};
use serde_json::{Value, json};
use std::path::Path;

const MODEL: &str = "[model]\nhidden = 32\nlayers = 1\nheads = 1\nkv_heads = 1\nhead_size = 32\nffn = 32\n\
                     vocabulary = 300\ncontext = 16\n";
const TEXTS: [&str; 5] = ["Hello", "the llama", "Hello the\nHello 世", "l  Hell", ""];

/// A model that names neither a beginning nor an end of its texts.
fn model(dir: &Path) -> Loaded {
    let table: toml::Table = MODEL.parse().unwrap();
    let config: Config = table["model"].clone().try_into().unwrap();
    let weights = Weights::random(&config, 6);
    let parts = native::Parts {
        config: MODEL,
        tokenizer: None,
        chat_template: None,
        weights: &arena::tensors(&weights.layout, "", &weights.data),
        optimizer: &[],
        recorded: &[],
        state: &json!({"step": 1}),
    };
    native::save(dir, &parts).unwrap();
    checkpoint::open(dir).unwrap()
}

/// `<unk>`, `<s>`, the bytes, some letters and what they merge to; a template with `<s>` before a text.
fn tokenizer(normalizer: &Value, pre_tokenizer: &Value, decoder: &Value) -> TokenizerFrom {
    let merges = [("h", "e"), ("▁", "t"), ("▁t", "he"), ("l", "l"), ("▁", "H"), ("▁H", "e"), ("▁He", "ll")];
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let letters = ["▁", "H", "h", "e", "l", "o", "t", "a", "m"].map(str::to_owned);
    let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
    let names = ["<unk>", "<s>"].map(str::to_owned);
    let all = names.into_iter().chain(bytes).chain(letters).chain(merged);
    let vocab: serde_json::Map<String, Value> = all.enumerate().map(|(id, t)| (t, id.into())).collect();
    let token = |id: u32, content: &str| {
        json!({
            "id": id, "content": content, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let begin = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    let own = json!({"Sequence": {"id": "A", "type_id": 0}});
    let json = json!({
        "version": "1.0",
        "added_tokens": [token(0, "<unk>"), token(1, "<s>")],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": {
            "type": "TemplateProcessing", "single": [begin, own], "pair": [begin, own],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": decoder,
        "model": {
            "type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": vocab,
            "merges": merges.map(|(left, right)| json!([left, right])),
        },
    });
    TokenizerFrom::Json(serde_json::to_vec(&json).unwrap())
}

/// Writes a file and reads it again.
fn through(model: &Loaded, dir: &Path) -> Result<Loaded, String> {
    let out = dir.join("model.gguf");
    let f16 = quant::named("f16").unwrap();
    let options = gguf::Options { format: f16, embedding: f16, quantize: false, widen: false };
    gguf::export(model, &out, &options, &mut ()).map_err(|error| error.to_string())?;
    Ok(checkpoint::open(&out).unwrap())
}

fn metaspace(scheme: &str, split: bool) -> Value {
    json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split})
}

#[test]
fn every_way_to_write_spaces_keeps_its_ids() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = model(&dir.path().join("native"));
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let prepend = json!({"type": "Prepend", "prepend": "▁"});
    let sequence = json!({"type": "Sequence", "normalizers": [prepend, replace]});
    let split = json!({
        "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false
    });
    for (normalizer, pre_tokenizer, prefix) in [
        (sequence, Value::Null, true),
        (replace.clone(), Value::Null, false),
        (replace, split, false),
        (Value::Null, metaspace("first", false), true),
        (Value::Null, metaspace("always", true), true),
        (Value::Null, metaspace("never", false), false),
    ] {
        let what = format!("{normalizer}, {pre_tokenizer}");
        model.tokenizer = Some(tokenizer(&normalizer, &pre_tokenizer, &metaspace("never", false)));
        let again = through(&model, dir.path()).unwrap();
        assert_eq!(again.bos, Some(1), "{what}");
        let [before, after] = [&model, &again].map(|model| infer::tokenizer(model).unwrap().unwrap());
        for text in TEXTS {
            for special in [false, true] {
                assert_eq!(after.encode(text, special), before.encode(text, special), "{what}: {text:?}");
            }
        }
        let first = after.encode("Hello", true)[1];
        assert_eq!(after.id_to_token(first).unwrap(), if prefix { "▁Hell" } else { "H" }, "{what}");
    }
}

#[test]
fn what_llama_cpp_does_not_do_to_a_text_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = model(&dir.path().join("native"));
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let lower = json!({"type": "Sequence", "normalizers": [{"type": "Lowercase"}, replace]});
    let split = json!({"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": false});
    for (normalizer, pre_tokenizer) in [
        (lower, Value::Null),
        (Value::Null, Value::Null),
        (Value::Null, split),
        (replace, json!({"type": "Whitespace"})),
    ] {
        model.tokenizer = Some(tokenizer(&normalizer, &pre_tokenizer, &metaspace("never", false)));
        let error = through(&model, dir.path()).err().expect("it is no SentencePiece");
        assert!(error.contains("does for SentencePiece"), "{normalizer}, {pre_tokenizer}: {error}");
    }
}

/// llama.cpp's own way cuts off punctuation, then blanks and numbers, then threes of digits.
#[test]
fn the_default_way_to_cut_text_is_llama_cpp_s() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = model(&dir.path().join("native"));
    let split = |expression: &str| json!({"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false});
    let gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
    let expressions = [r"[\p{P}\$\+<=>\^~\|]+", gpt2, r"\p{N}+", "[0-9][0-9][0-9]"];
    let mut steps = expressions.map(split).to_vec();
    steps.push(
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}),
    );
    let merges =
        [("Ġ", "1"), ("3", "4"), ("Ġ", "a"), ("1", "2"), ("12", "3"), ("4", "5"), ("45", "6"), (",", ",")];
    let tokens = ["Ġ", "a", ",", "1", "2", "3", "4", "5", "6"].map(str::to_owned).into_iter();
    let tokens = tokens.chain(merges.iter().map(|(left, right)| format!("{left}{right}")));
    let vocab: serde_json::Map<String, Value> = tokens.enumerate().map(|(id, t)| (t, id.into())).collect();
    let json = json!({
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges.map(|(left, right)| json!([left, right]))},
    });
    model.tokenizer = Some(TokenizerFrom::Json(serde_json::to_vec(&json).unwrap()));
    let again = through(&model, dir.path()).unwrap();
    let file = File::open(&dir.path().join("model.gguf")).unwrap();
    assert_eq!(file.str("tokenizer.ggml.pre").unwrap(), "default");
    let tokenizer = infer::tokenizer(&again).unwrap().unwrap();
    for (text, pieces) in [
        ("a, 123456", &["a", ",", "Ġ", "123", "456"][..]),
        ("a a,,a1234", &["a", "Ġa", ",,", "a", "123", "4"]),
        ("  a", &["Ġ", "Ġa"]),
    ] {
        let ids = tokenizer.encode(text, true);
        let found: Vec<_> = ids.into_iter().map(|id| tokenizer.id_to_token(id).unwrap()).collect();
        assert_eq!(found, pieces, "{text:?}");
    }
}
