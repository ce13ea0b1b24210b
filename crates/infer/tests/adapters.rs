//! An engine with an adapter beside it: PEFT's logits, the same bits in any company, and sentences for what does not fit.

use checkpoint::hf::peft;
use formats::safetensors::{self, Dtype, File};
use infer::{Engine, EngineOptions, KvType, Model};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

const CASES: [(&str, &str); 2] = [("ternary", "bitnet-online"), ("dense", "qwen2")];

fn adapted((name, base): (&str, &str), threads: usize) -> Engine {
    let loaded = checkpoint::open(&golden().join("hf").join(base)).unwrap();
    let adapter = peft::open(&golden().join("lora").join(name), loaded.config()).unwrap().adapter;
    let options = EngineOptions { threads, kv: Some(KvType::F32), ..EngineOptions::default() };
    Engine::new(&*loaded.source, options).unwrap().with_adapter(&adapter)
}

#[test]
fn logits_are_pefts() {
    for case in CASES {
        let engine = adapted(case, 2);
        let file = File::open(&golden().join("lora").join(case.0).join("expected.safetensors")).unwrap();
        let time = file.info("tokens").unwrap().shape[1];
        let bytes = file.bytes("tokens").unwrap();
        let tokens: Vec<u32> =
            bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
        let expected = file.f32("logits").unwrap();
        let largest = expected.iter().fold(0.0f32, |max, logit| max.max(logit.abs()));
        let width = expected.len() / tokens.len();
        for (tokens, expected) in tokens.chunks(time).zip(expected.chunks(time * width)) {
            let logits = engine.session(time).unwrap().forward_all(tokens).unwrap();
            let away = logits.iter().zip(expected).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
            assert!(away < 1e-4 * largest, "{}: {away:e} of {largest}", case.0);
        }
    }
}

/// Beside a ternary model a token gets the same bits alone, in a prompt, and on any number of threads.
#[test]
fn a_token_gets_the_same_bits_in_any_company() {
    let ids = [1, 17, 42, 99, 3, 64, 8];
    let mut all: Vec<Vec<f32>> = Vec::new();
    for threads in [1, 3] {
        let engine = adapted(CASES[0], threads);
        let mut whole = engine.session(16).unwrap();
        all.push(whole.forward(&ids).unwrap().to_vec());
        let mut single = engine.session(16).unwrap();
        for id in ids {
            single.forward(&[id]).unwrap();
        }
        all.push(single.logits().to_vec());
    }
    assert!(all.iter().all(|logits| logits == &all[0]));
    let loaded = checkpoint::open(&golden().join("hf/bitnet-online")).unwrap();
    let plain = Engine::new(&*loaded.source, EngineOptions::default()).unwrap();
    assert_ne!(plain.session(16).unwrap().forward(&ids).unwrap(), all[0]);
    assert!(adapted(CASES[0], 1).decode_bytes(infer::Want::All) > plain.decode_bytes(infer::Want::All));
}

#[test]
fn a_model_says_what_its_adapter_was_made_beside() {
    let base = golden().join("hf/bitnet-online");
    let open = || Model::open(&base, &Default::default(), EngineOptions::default()).unwrap();
    let model = open().adapted(&golden().join("lora/ternary")).unwrap();
    assert!(model.warnings.iter().all(|warning| !warning.contains("made beside")), "{:?}", model.warnings);
    let dir = testkit::temp_dir();
    copy(dir.path(), |json| json["base_model_name_or_path"] = "other/model".into());
    std::fs::write(dir.path().join("chat_template.jinja"), "{{ messages }}").unwrap();
    let model = open().adapted(dir.path()).unwrap();
    assert!(model.warnings.iter().any(|warning| warning.contains("'other/model'")), "{:?}", model.warnings);
    assert_eq!(model.chat_template.as_deref(), Some("{{ messages }}"));
}

/// The golden adapter of the ternary model in another folder, its configuration changed.
fn copy(to: &Path, change: impl FnOnce(&mut Value)) {
    let from = golden().join("lora/ternary");
    let mut json: Value = serde_json::from_slice(&std::fs::read(from.join(peft::CONFIG)).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(to.join(peft::CONFIG), json.to_string()).unwrap();
    std::fs::copy(from.join(peft::WEIGHTS), to.join(peft::WEIGHTS)).unwrap();
}

fn sentence(folder: &Path) -> String {
    let config = checkpoint::open(&golden().join("hf/bitnet-online")).unwrap().config().clone();
    peft::open(folder, &config).unwrap_err().to_string()
}

#[test]
fn what_is_no_plain_lora_is_refused_with_a_reason() {
    let cases: [(&str, Value, &str); 11] = [
        ("peft_type", "IA3".into(), "IA3"),
        ("use_dora", true.into(), "use_dora"),
        ("bias", "all".into(), "bias"),
        ("rank_pattern", serde_json::json!({"q_proj": 8}), "rank_pattern"),
        ("modules_to_save", serde_json::json!(["lm_head"]), "modules_to_save"),
        ("init_lora_weights", "pissa_niter_4".into(), "changed the model"),
        ("r", 0.into(), "rank r"),
        ("r", 5.into(), "has shape [4, 60], and beside this model it needs [5, 60]"),
        ("r", (1u64 << 40).into(), "rank r"),
        ("lora_alpha", "eight".into(), "lora_alpha"),
        ("lora_alpha", 1e300.into(), "lora_alpha"),
    ];
    for (key, value, word) in cases {
        let dir = testkit::temp_dir();
        copy(dir.path(), |json| json[key] = value.clone());
        let said = sentence(dir.path());
        assert!(said.contains(word), "{key} = {value}: {said}");
    }
    let stabilised = testkit::temp_dir();
    copy(stabilised.path(), |json| json["use_rslora"] = true.into());
    let config = checkpoint::open(&golden().join("hf/bitnet-online")).unwrap().config().clone();
    assert_eq!(peft::open(stabilised.path(), &config).unwrap().adapter.rank.scale(), 4.0);
}

/// The tensors of the golden adapter, some of them changed, under its own configuration.
fn rewritten(to: &Path, change: impl FnOnce(&mut Vec<safetensors::Entry<'static>>)) {
    let from = File::open(&golden().join("lora/ternary").join(peft::WEIGHTS)).unwrap();
    copy(to, |_| ());
    let mut entries: Vec<safetensors::Entry> = from
        .tensors()
        .map(|tensor| {
            let bytes: &'static [u8] = from.bytes(&tensor.name).unwrap().to_vec().leak();
            (tensor.name.clone(), tensor.dtype, tensor.shape.clone(), bytes)
        })
        .collect();
    change(&mut entries);
    safetensors::write(&to.join(peft::WEIGHTS), &entries, &BTreeMap::new()).unwrap();
}

#[test]
fn missing_strange_and_damaged_matrices_are_named() {
    let dir = testkit::temp_dir();
    assert!(sentence(dir.path()).contains("there is no adapter_config.json"));
    let name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight";
    rewritten(dir.path(), |entries| entries.retain(|entry| entry.0 != name));
    assert!(sentence(dir.path()).contains(&format!("'{name}' is missing")));
    let pair = "layers.1.mlp.up_proj.";
    rewritten(dir.path(), |entries| entries.retain(|entry| !entry.0.contains(pair)));
    assert!(sentence(dir.path()).contains("up_proj.lora_A.weight' is missing"));
    rewritten(dir.path(), |entries| entries[0].0 = "base_model.model.lm_head.lora_A.weight".into());
    assert!(sentence(dir.path()).contains("none of the seven projections"));
    rewritten(dir.path(), |entries| entries[0].0 = entries[0].0.replace("layers.0", "layers.7"));
    assert!(sentence(dir.path()).contains("2 layers"));
    rewritten(dir.path(), |entries| {
        let mut bytes = entries[3].3.to_vec();
        bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        entries[3].3 = bytes.leak();
    });
    assert!(sentence(dir.path()).contains("not finite"));
    rewritten(dir.path(), |entries| entries[2].1 = Dtype::I32);
    assert!(sentence(dir.path()).contains("F32, F16 or BF16"));
    rewritten(dir.path(), Vec::clear);
    assert!(sentence(dir.path()).contains("no matrix"));
    copy(dir.path(), |_| ());
    let path = dir.path().join(peft::WEIGHTS);
    let bytes = std::fs::read(&path).unwrap();
    for len in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..len]).unwrap();
        assert!(!sentence(dir.path()).is_empty(), "{len} bytes");
    }
    std::fs::write(dir.path().join(peft::CONFIG), "[1]").unwrap();
    sentence(dir.path());
    std::fs::remove_file(&path).unwrap();
    copy(dir.path(), |_| ());
    std::fs::rename(&path, dir.path().join("adapter_model.bin")).unwrap();
    assert!(sentence(dir.path()).contains("safe_serialization"));
}
