//! Hugging Face folders as transformers wrote them (`tools/golden/hf.py`), and what becomes of damaged ones.

use checkpoint::{Dialect, TokenizerFrom};
use model::reference::Network;
use model::{Encoding, LinearKind, Source};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/hf")
}

/// The names of the committed folders.
fn cases() -> Vec<String> {
    let entries = std::fs::read_dir(golden()).expect("tests/golden/hf is committed");
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn expected(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn argmax(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    best.unwrap().0 as u32
}

/// Greatest difference, relative to the greatest magnitude.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

#[test]
fn the_reference_answers_as_transformers_does() {
    let cases = cases();
    assert!(cases.len() >= 9, "{cases:?}");
    for name in cases {
        let folder = golden().join(&name);
        let loaded = checkpoint::open(&folder).unwrap();
        assert_eq!((loaded.dialect, loaded.bos, &*loaded.end_ids), (Dialect::HuggingFace, Some(1), &[2][..]));
        let network = Network::read(&*loaded.source).unwrap();
        let expected = expected(&folder);
        let mut sequence = ids(&expected["ids"]);
        let rows = expected["logits"].as_array().unwrap().iter();
        let logits: Vec<f32> =
            rows.flat_map(|row| row.as_array().unwrap()).map(|x| x.as_f64().unwrap() as f32).collect();
        let starts = [0; 128];
        let ours = network.logits(&sequence, &starts, 1.0);
        let far = difference(&ours, &logits);
        assert!(far < 2e-3, "{name}: {far:e} from transformers");
        eprintln!("{name}: {far:.1e} of the largest logit");
        let vocabulary = loaded.config().vocabulary;
        // every greedy token at once: that after its predecessors is the likeliest
        let greedy = ids(&expected["greedy"]);
        let first = sequence.len() - 1;
        sequence.extend(&greedy);
        let logits = network.logits(&sequence, &starts, 1.0);
        for (step, (row, greedy)) in logits.chunks(vocabulary).skip(first).zip(greedy).enumerate() {
            assert_eq!(argmax(row), greedy, "{name}: greedy step {step}");
        }
    }
}

#[test]
fn what_is_packed_is_ternary_with_its_own_scale_and_what_is_latent_is_not() {
    for (name, ternary, linear) in [
        ("bitnet-online", false, LinearKind::Ternary),
        ("bitnet-offline-autobitlinear", true, LinearKind::Ternary),
        ("bitnet-offline-bitlinear", true, LinearKind::Ternary),
        ("llama-bitlinear", true, LinearKind::Ternary),
        ("onebit", false, LinearKind::Ternary),
        ("llama", false, LinearKind::Dense),
    ] {
        let loaded = checkpoint::open(&golden().join(name)).unwrap();
        let source: &dyn Source = &*loaded.source;
        assert_eq!(source.config().linear, linear, "{name}");
        let Encoding::Ternary { scale } = source.encoding("layers.1.down").unwrap() else {
            assert!(!ternary, "{name}");
            continue;
        };
        assert!(ternary, "{name}");
        let (rows, cols) = model::Projection::Down.shape(source.config());
        let (mut values, mut codes) = (vec![0.0; cols * rows], vec![0; cols * rows]);
        source.read("layers.1.down", 0..rows, &mut values).unwrap();
        source.read_codes("layers.1.down", 0..rows, &mut codes).unwrap();
        assert!(values.iter().zip(&codes).all(|(value, code)| *value == scale * f32::from(*code)));
        assert!(codes.contains(&-1) && codes.contains(&0) && codes.contains(&1));
        let mut part = vec![0; cols * 3];
        source.read_codes("layers.1.down", 5..8, &mut part).unwrap();
        assert_eq!(part, codes[5 * cols..8 * cols], "{name}: any rows can be read");
    }
}

/// A copy of a golden folder whose `config.json` went through `change`.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let dir = testkit::temp_dir();
    for entry in std::fs::read_dir(golden().join(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = dir.path().join("config.json");
    let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    dir
}

#[test]
fn what_cannot_be_read_is_refused_with_its_name() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change, &str); 15] = [
        ("llama", |c| c["architectures"] = json!(["LlamaForCausalLMs"]), "nearest known: LlamaForCausalLM"),
        ("llama", |c| c["architectures"] = json!(["GPT2LMHeadModel"]), "known are BitNetForCausalLM"),
        ("llama", |c| c["quantization_config"] = json!({"quant_method": "gptq"}), "the method 'gptq'"),
        ("bitnet-online", |c| c["hidden_act"] = json!("relu"), "did you mean 'relu2'?"),
        ("bitnet-online", |c| c["quantization_config"]["linear_class"] = json!("autobit"), "autobitlinear"),
        (
            "bitnet-online",
            |c| {
                c["quantization_config"]["modules_to_not_convert"] =
                    json!(["lm_head", "model.layers.0.mlp.down_proj"]);
            },
            "leaves 'model.layers.0.mlp.down_proj' as it was",
        ),
        ("bitnet-online", |c| c["quantization_config"]["use_rms_norm"] = json!(true), "use_rms_norm"),
        ("llama-bitlinear", |c| c["quantization_config"] = json!(null), "no quantization_config says how"),
        ("bitnet-online", |c| c["quantization_config"]["quantization_mode"] = json!("offline"), "are packed"),
        (
            "mistral",
            |c| c["architectures"] = json!(["BitNetForCausalLM"]),
            "attn_sub_norm.weight' is missing: the norm",
        ),
        ("qwen2", |c| c["architectures"] = json!(["LlamaForCausalLM"]), "k_proj.bias' has no place"),
        ("llama", |c| c["rope_parameters"]["rope_type"] = json!("yarn"), "rope scaling is 'yarn'"),
        ("llama", |c| c["hidden_size"] = json!(u64::MAX), "outside 1..=65536"),
        ("llama", |c| c["hidden_size"] = json!(64), "the network needs [101, 64]"),
        ("llama", |c| c["attention_bias"] = json!(true), "attention_bias"),
    ];
    for (name, change, sentence) in cases {
        let dir = changed(name, change);
        let error = checkpoint::open(dir.path()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(sentence), "{name}: {error:?} lacks {sentence:?}");
    }
}

#[test]
fn shards_are_complete_and_plain_files() {
    let spoil = |change: fn(&mut Value)| {
        let dir = changed("llama", |_| ());
        let path = dir.path().join("model.safetensors.index.json");
        let mut index: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut index);
        std::fs::write(&path, serde_json::to_vec(&index).unwrap()).unwrap();
        checkpoint::open(dir.path()).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let head = "lm_head.weight";
    assert_eq!(spoil(|_| ()), "");
    for (error, sentence) in [
        (spoil(|index| index["weight_map"]["lm_head.weight"] = json!("../secret")), "no file name"),
        (spoil(|index| index["weight_map"]["lm_head.weight"] = json!("/etc/passwd")), "no file name"),
        (
            spoil(|index| index["weight_map"]["lm_head.weight"] = json!("model-9.safetensors")),
            "does not exist",
        ),
        (
            spoil(|index| index["weight_map"]["none"] = index["weight_map"]["lm_head.weight"].clone()),
            "'none'",
        ),
        (spoil(|index| index["weight_map"] = json!({})), "0 shards"),
        (spoil(|index| *index = json!({})), "weight_map"),
    ] {
        assert!(error.contains(sentence), "{head}: {error}");
    }
}

#[test]
fn special_ids_and_templates_are_gathered() {
    let dir = changed("llama", |config| config["eos_token_id"] = json!([9, 2]));
    let write = |name: &str, content: &str| std::fs::write(dir.path().join(name), content).unwrap();
    write("generation_config.json", r#"{"eos_token_id": 7, "bos_token_id": 5}"#);
    write("tokenizer_config.json", r#"{"chat_template": [{"name": "default", "template": "{{ a }}"}]}"#);
    write("tokenizer.json", "{}");
    let loaded = checkpoint::open(dir.path()).unwrap();
    assert_eq!((loaded.end_ids, loaded.bos), (vec![2, 7, 9], Some(5)));
    assert_eq!(loaded.chat_template.as_deref(), Some("{{ a }}"));
    assert_eq!(loaded.tokenizer, Some(TokenizerFrom::File(dir.path().join("tokenizer.json"))));
    write("chat_template.jinja", "{{ b }}");
    assert_eq!(checkpoint::open(dir.path()).unwrap().chat_template.as_deref(), Some("{{ b }}"));
}

#[test]
fn a_sliding_window_cuts_the_context_and_says_so() {
    let loaded = checkpoint::open(&golden().join("mistral")).unwrap();
    assert_eq!(loaded.config().context, 128);
    assert!(loaded.warnings[0].contains("window of 128"), "{:?}", loaded.warnings);
    // Without the key transformers takes 4096, and null for none.
    let context = |change: fn(&mut serde_json::Map<String, Value>)| {
        let folder = changed("mistral", |config| {
            config["max_position_embeddings"] = json!(8192);
            change(config.as_object_mut().unwrap());
        });
        checkpoint::open(folder.path()).unwrap().config().context
    };
    assert_eq!(context(|config| _ = config.remove("sliding_window")), 4096);
    assert_eq!(context(|config| _ = config.insert("sliding_window".into(), Value::Null)), 8192);
}

/// Every truncation and many flipped bytes of every file: a sentence or a model, never a panic.
#[test]
fn damaged_folders_are_sentences() {
    let mut opened = 0;
    for (name, file) in [
        ("llama", "config.json"),
        ("llama", "model.safetensors.index.json"),
        ("bitnet-offline-bitlinear", "config.json"),
        ("qwen3", "config.json"),
    ] {
        let dir = changed(name, |_| ());
        let path = dir.path().join(file);
        let whole = std::fs::read(&path).unwrap();
        for length in (0..whole.len()).step_by(3) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(checkpoint::open(dir.path()).is_err(), "{file} cut to {length} bytes");
        }
        let mut state = 88172645463325252u64;
        for _ in 0..1500 {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let mut bytes = whole.clone();
            let place = state as usize % bytes.len();
            bytes[place] = match state >> 40 & 3 {
                0 => b'9',
                1 => b'-',
                2 => b'e',
                _ => (state >> 48) as u8,
            };
            std::fs::write(&path, &bytes).unwrap();
            opened += usize::from(checkpoint::open(dir.path()).is_ok());
        }
    }
    assert!(opened > 0, "some flips harm nothing");
}
