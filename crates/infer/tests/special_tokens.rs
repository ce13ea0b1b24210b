//! A chat template means the same whichever way its model went: the tokens that it knows by name go with it.

use checkpoint::{Loaded, OpenOptions, gguf, hf, import};
use formats::quant;
use serde_json::{Value, json};
use std::path::Path;
use text::chat::{ChatTemplate, Message};

const TEMPLATE: &str = "{%- macro end() -%}{{ eos_token }}{%- endmacro -%}{{ bos_token }}\
    {%- for m in messages -%}{{ m.content + eos_token }}{{ end() }}{%- endfor -%}";

/// The golden Mistral with a tokenizer whose usual end of text is not the token that ends an answer.
fn model(dir: &Path, about: &Value, config: &Value) -> Loaded {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/hf/mistral");
    std::fs::create_dir(dir).unwrap();
    for file in std::fs::read_dir(golden).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), dir.join(file.file_name())).unwrap();
    }
    let change = |name: &str, change: &Value| {
        let path = dir.join(name);
        let text = std::fs::read(&path).unwrap_or_else(|_| b"{}".to_vec());
        let mut json: Value = serde_json::from_slice(&text).unwrap();
        for (key, value) in change.as_object().unwrap() {
            json[key] = value.clone();
        }
        std::fs::write(path, json.to_string()).unwrap();
    };
    change("config.json", config);
    change("tokenizer_config.json", about);
    let names = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"];
    let special = |(id, name): (usize, &str)| json!({"id": id, "content": name, "special": true});
    let added: Vec<Value> = names.into_iter().enumerate().map(special).collect();
    let level = json!({"type": "ByteLevel", "add_prefix_space": false});
    change(
        "tokenizer.json",
        &json!({
            "added_tokens": added, "pre_tokenizer": level, "decoder": level,
            "model": {"type": "BPE", "vocab": {names[0]: 0, names[1]: 1, names[2]: 2, "a": 3}, "merges": []},
        }),
    );
    checkpoint::open(dir).unwrap()
}

/// What the model's template makes of one message, where the names are guessed as `?`.
fn rendered(model: &Loaded) -> String {
    let template = ChatTemplate::new(model.chat_template.as_ref().unwrap(), "?", "?").unwrap();
    template.render(&[Message { role: "user".into(), content: "a".into() }], false).unwrap()
}

#[test]
fn the_names_of_tokenizer_config_go_through_every_dialect() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let about = json!({
        "bos_token": {"content": "<|begin_of_text|>", "lstrip": false}, "eos_token": "<|eot_id|>",
        "chat_template": TEMPLATE,
    });
    let ids = json!({"bos_token_id": 0, "eos_token_id": [1, 2]});
    let model = model(&path("model"), &about, &ids);
    let expected = "<|begin_of_text|>a<|eot_id|><|eot_id|>";
    assert_eq!(rendered(&model), expected);

    let dense = hf::Options {
        storing: hf::Storing::Dense,
        bf16: false,
        quantize: false,
        shard_bytes: hf::SHARD_BYTES_MAX,
    };
    let f16 = quant::named("f16").unwrap();
    let options = gguf::Options { format: f16, embedding: f16, quantize: false, widen: false };
    import(&model, &path("native"), &mut ()).unwrap();
    gguf::export(&model, &path("a.gguf"), &options, &mut ()).unwrap();
    for (from, out) in [("model", "b"), ("native", "c")] {
        hf::export(&checkpoint::open(&path(from)).unwrap(), &path(out), &dense, &mut ()).unwrap();
        let written = std::fs::read(path(out).join("tokenizer_config.json")).unwrap();
        let written: Value = serde_json::from_slice(&written).unwrap();
        let names = (&written["bos_token"], &written["eos_token"]);
        assert_eq!(names, (&json!("<|begin_of_text|>"), &json!("<|eot_id|>")), "{from}");
    }
    for copy in ["native", "a.gguf", "b", "c"] {
        let copy = checkpoint::open(&path(copy)).unwrap();
        assert_eq!(rendered(&copy), expected, "{:?}", copy.path);
        assert_eq!(copy.chat_template, model.chat_template, "{:?}: set once", copy.path);
    }
}

#[test]
fn what_tokenizer_config_does_not_name_is_told_by_the_ids() {
    let dir = tempfile::tempdir().unwrap();
    let one = json!({"bos_token_id": 0, "eos_token_id": 2});
    let many = json!({"bos_token_id": null, "eos_token_id": [1, 2]});
    for (number, (about, ids, expected)) in [
        (json!({}), &one, "<|begin_of_text|>a<|eot_id|><|eot_id|>"),
        (json!({"bos_token": null}), &one, "a<|eot_id|><|eot_id|>"),
        (json!({"eos_token": "<|end_of_text|>"}), &many, "?a<|end_of_text|><|end_of_text|>"),
        (json!({}), &many, "?a??"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut about = about;
        about["chat_template"] = TEMPLATE.into();
        assert_eq!(rendered(&model(&dir.path().join(number.to_string()), &about, ids)), expected, "{about}");
    }
}

/// The ids of a GGUF file are those that llama.cpp gives a template.
#[test]
fn a_gguf_file_names_its_tokens_by_their_ids() {
    let dir = tempfile::tempdir().unwrap();
    let ids = json!({"bos_token_id": 0, "eos_token_id": [2]});
    let mut model = model(&dir.path().join("model"), &json!({}), &ids);
    model.chat_template = Some(TEMPLATE.into());
    let f16 = quant::named("f16").unwrap();
    let options = gguf::Options { format: f16, embedding: f16, quantize: false, widen: false };
    let out = dir.path().join("a.gguf");
    gguf::export(&model, &out, &options, &mut ()).unwrap();
    let copy = checkpoint::open(&out).unwrap();
    assert_eq!(rendered(&copy), "<|begin_of_text|>a<|eot_id|><|eot_id|>");
    assert_eq!(copy.special.eos.as_deref(), Some("<|eot_id|>"));
}

/// The program of llama2.c puts the id that begins a text before every prompt, whatever the tokenizer beside the file says.
#[test]
fn a_llama2c_file_reads_prompts_as_its_own_program_does() {
    let Some(data) = testkit::shared_data() else {
        return testkit::skip("1 test needs TRILOBIT_DATA: bitllama2");
    };
    let folder = data.join("models/bitllama2");
    let options = OpenOptions { tokenizer: Some(folder.join("tokenizer.json")), ..OpenOptions::default() };
    let loaded = checkpoint::open_with(&folder.join("bitllama-3M.bin"), &options).unwrap();
    let ids = infer::tokenizer(&loaded).unwrap().unwrap().encode("Once upon a time", true);
    assert_eq!(ids, [1, 403, 407, 261, 378]);
}
