//! GGUF files written here and read again; the tokenizer through GGUF and back; a real file where it is.

use checkpoint::{Loaded, OpenOptions, Phase, Progress, TokenizerFrom, Written, gguf, hf};
use formats::FileError;
use formats::gguf::{Array, Declaration, File, Value as Meta, Writer};
use formats::quant::{self, BlockFormat};
use model::reference::Network;
use model::{Config, Encoding, LinearKind, NormPlacement, RopeScaling, RopeStyle, Weights};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const IDS: [u32; 6] = [1, 9, 4, 16, 3, 7];

/// Rows of 256 fit every format.
fn base() -> Config {
    toml::from_str(
        "hidden = 256\nlayers = 2\nheads = 4\nkv_heads = 2\nhead_size = 64\nffn = 256\nvocabulary = 35\ncontext = 32",
    )
    .unwrap()
}

fn format(name: &str) -> &'static dyn BlockFormat {
    quant::named(name).unwrap()
}

fn options(kind: &str, embedding: &str) -> gguf::Options {
    gguf::Options { format: format(kind), embedding: format(embedding), quantize: false, widen: false }
}

fn native(dir: &Path, config: &Config) -> Loaded {
    let mut weights = Weights::random(config, 5);
    for (index, w) in weights.data.iter_mut().enumerate() {
        *w *= 3.0 + (index % 7) as f32 * 0.1;
    }
    let text = format!("[model]\n{}", toml::to_string(config).unwrap());
    let tensors = checkpoint::arena::tensors(&weights.layout, "", &weights.data);
    let parts = checkpoint::native::Parts {
        config: &text,
        tokenizer: None,
        chat_template: None,
        weights: &tensors,
        optimizer: &[],
        recorded: &[],
        state: &json!({"end_ids": [2, 5], "bos_ids": [1]}),
    };
    checkpoint::native::save(dir, &parts).unwrap();
    checkpoint::open(dir).unwrap()
}

fn logits(model: &Loaded) -> Vec<f32> {
    Network::read(&*model.source).unwrap().logits(&IDS, &[0; 6], 1.0)
}

/// Greatest difference, relative to the greatest magnitude.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    let largest = b.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

#[test]
fn every_type_of_a_ternary_network_computes_the_same() {
    let turned = |turn: fn(&mut Config)| {
        let mut config = base();
        turn(&mut config);
        config
    };
    for (name, config) in [
        ("sub-norms", base()),
        ("llama-shaped, tied", turned(|c| (c.sub_norms, c.tied) = (false, true))),
        (
            "norms inside, interleaved",
            turned(|c| {
                c.norm_placement = NormPlacement::Inside;
                c.rope_style = RopeStyle::Interleaved;
            }),
        ),
    ] {
        let dir = testkit::temp_dir();
        let model = native(&dir.path().join("native"), &config);
        let expected = logits(&model);
        // f16 scales differ by up to 2^-11, and embeddings by their own rounding
        for (kind, embedding, tolerance) in [
            ("i2_s", "f32", 1e-4),
            ("tq1_0", "f16", 5e-2),
            ("tq2_0", "f32", 5e-2),
            ("f16", "q8_0", 1e-1),
            ("i2_s", "q6_k", 2e-1),
        ] {
            let what = format!("{name}, {kind}, {embedding}");
            let out = dir.path().join("model.gguf");
            let report = gguf::export(&model, &out, &options(kind, embedding), &mut ()).unwrap();
            assert_eq!(report.distortions.len(), 14, "{what}");
            assert!(report.largest <= report.tolerance, "{what}: {report:?}");
            let again = checkpoint::open(&out).unwrap();
            assert_eq!((&*again.end_ids, again.bos), (&[2, 5][..], Some(1)));
            assert_eq!(again.config().linear, LinearKind::Ternary, "{what}");
            assert!(matches!(again.source.encoding("layers.1.up").unwrap(), Encoding::Ternary { .. }));
            let far = difference(&logits(&again), &expected);
            eprintln!("{what}: {far:.1e} of the largest logit");
            assert!(far < tolerance, "{what}: {far:e}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "no leftovers");
        }
    }
}

#[test]
fn dense_networks_go_through_as_f16_and_are_packed_only_when_asked_to() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/hf");
    for name in ["qwen2", "qwen3", "mistral"] {
        let dir = testkit::temp_dir();
        let model = checkpoint::open(&golden.join(name)).unwrap();
        let out = dir.path().join("model.gguf");
        gguf::export(&model, &out, &options("f16", "f16"), &mut ()).unwrap();
        let far = difference(&logits(&checkpoint::open(&out).unwrap()), &logits(&model));
        assert!(far < 2e-3, "{name}: {far:e}");
        let error = gguf::export(&model, &out, &options("tq2_0", "f16"), &mut ()).unwrap_err().to_string();
        assert!(error.contains("--quantize"), "{error}");
        let asked = gguf::Options { quantize: true, ..options("tq2_0", "f16") };
        checkpoint::open(&out).expect("a refused export leaves the old file");
        let report = gguf::export(&model, &out, &asked, &mut ()).unwrap();
        assert!(report.notes.iter().any(|note| note.contains("rows of 60 weights")), "{:?}", report.notes);
        let ternary = checkpoint::open(&out).unwrap();
        assert_eq!(ternary.config().linear, LinearKind::Ternary, "F16 holds three values, too");
    }
}

/// Rows of 48 and 80 weights become rows of 128 or 256: no other answers, and nothing left in F16.
#[test]
fn a_widened_network_computes_the_same() {
    let narrow =
        Config { hidden: 48, heads: 6, kv_heads: 2, head_size: 12, ffn: 80, sub_norms: false, ..base() };
    for (name, config) in [
        ("llama-shaped", narrow.clone()),
        ("tied, a norm of its own", Config { tied: true, final_norm_epsilon: Some(1e-3), ..narrow.clone() }),
        ("biases", Config { qkv_bias: true, ..narrow.clone() }),
        ("head norms", Config { qk_norm: true, ..narrow.clone() }),
        ("one head of keys", Config { kv_heads: 1, ..narrow.clone() }),
        ("dense", Config { linear: LinearKind::Dense, ..narrow.clone() }),
    ] {
        for (kind, block, tolerance) in [("i2_s", 128, 1e-4), ("tq1_0", 256, 5e-2), ("tq2_0", 256, 5e-2)] {
            let dir = testkit::temp_dir();
            let model = native(&dir.path().join("native"), &config);
            let out = dir.path().join("model.gguf");
            let asked = gguf::Options { widen: true, quantize: true, ..options(kind, "f32") };
            let report = gguf::export(&model, &out, &asked, &mut ()).unwrap();
            assert!(
                report.notes.iter().any(|note| note.contains("widened with zeros")),
                "{:?}",
                report.notes
            );
            assert!(!report.notes.iter().any(|note| note.contains("they are F16")), "{:?}", report.notes);
            assert_eq!(report.distortions.len(), 14);
            let wide = checkpoint::open(&out).unwrap();
            let (wider, group) = (wide.config(), wide.config().heads / wide.config().kv_heads);
            assert_eq!((wider.hidden, wider.ffn), (block, block), "{name}, {kind}");
            assert_eq!((wider.query_width() % block, group), (0, config.heads / config.kv_heads));
            // What is dense is ternary in the file, as the reference makes it.
            let ternary = Config { linear: LinearKind::Ternary, ..config.clone() };
            let far = difference(&logits(&wide), &logits(&native(&dir.path().join("ternary"), &ternary)));
            assert!(far < tolerance, "{name}, {kind}: {far:e}");
        }
    }
}

#[test]
fn sub_norms_are_not_widened() {
    let dir = testkit::temp_dir();
    let model = native(&dir.path().join("native"), &Config { ffn: 300, ..base() });
    let out = dir.path().join("model.gguf");
    let asked = gguf::Options { widen: true, ..options("tq2_0", "f16") };
    let error = gguf::export(&model, &out, &asked, &mut ()).unwrap_err().to_string();
    assert!(error.contains("sub-norms") && error.contains("--widen") && !out.exists(), "{error}");
    let fits = native(&dir.path().join("fits"), &base());
    gguf::export(&fits, &out, &asked, &mut ()).expect("nothing to be added");
}

/// A healing that was stopped on its way is no ternary model yet, in any type.
#[test]
fn what_has_not_reached_lambda_1_is_written_only_where_that_is_asked_for() {
    let dir = testkit::temp_dir();
    let config = Config { hidden: 32, heads: 1, kv_heads: 1, head_size: 32, ffn: 32, ..base() };
    let mut model = native(&dir.path().join("native"), &config);
    model.lambda = Some(0.6);
    let out = dir.path().join("model.gguf");
    for kind in ["i2_s", "tq1_0", "tq2_0", "f16"] {
        let error = gguf::export(&model, &out, &options(kind, "f16"), &mut ()).unwrap_err().to_string();
        assert!(error.contains("λ = 0.600") && error.contains("--quantize"), "{kind}: {error}");
        assert!(!out.exists());
    }
    let asked = gguf::Options { quantize: true, ..options("f16", "f16") };
    gguf::export(&model, &out, &asked, &mut ()).unwrap();
}

#[test]
fn what_is_not_finite_is_not_written() {
    let dir = testkit::temp_dir();
    let mut weights = Weights::random(&base(), 5);
    weights.data[3] = f32::NAN;
    let damaged = Loaded { source: Box::new(weights), ..native(&dir.path().join("native"), &base()) };
    for embedding in ["f16", "q8_0", "q6_k"] {
        let out = dir.path().join("model.gguf");
        let error =
            gguf::export(&damaged, &out, &options("i2_s", embedding), &mut ()).unwrap_err().to_string();
        assert!(error.contains("'embedding' holds a value that is not finite") && !out.exists(), "{error}");
    }
}

/// A tokenizer of the shared data goes into a file and comes out with the same ids.
fn through_gguf(tokenizer: &Path) -> (Value, Value) {
    let dir = testkit::temp_dir();
    let json: Value = serde_json::from_slice(&std::fs::read(tokenizer).unwrap()).unwrap();
    let size = json["model"]["vocab"].as_object().unwrap().len().max(512);
    let config =
        Config { vocabulary: size, hidden: 32, heads: 1, kv_heads: 1, head_size: 32, ffn: 32, ..base() };
    let mut model = native(&dir.path().join("native"), &config);
    model.tokenizer = Some(TokenizerFrom::File(tokenizer.to_owned()));
    let out = dir.path().join("model.gguf");
    gguf::export(&model, &out, &options("f16", "f16"), &mut ()).unwrap();
    match checkpoint::open(&out).unwrap().tokenizer {
        Some(TokenizerFrom::Json(bytes)) => (json, serde_json::from_slice(&bytes).unwrap()),
        other => panic!("{other:?} is not made from the metadata"),
    }
}

#[test]
fn a_tokenizer_keeps_its_vocabulary_merges_and_cuts() {
    let Some(data) = testkit::shared_data() else {
        return testkit::skip("1 test needs TRILOBIT_DATA: the tokenizers");
    };
    for name in ["tokenizers/gpt2", "tokenizers/smollm2", "models/bitllama2"] {
        let (before, after) = through_gguf(&data.join(name).join("tokenizer.json"));
        assert_eq!(after["model"]["vocab"], before["model"]["vocab"], "{name}");
        assert_eq!(after["pre_tokenizer"], before["pre_tokenizer"], "{name}");
        assert_eq!(after["normalizer"], before["normalizer"], "{name}");
        if name != "models/bitllama2" {
            let pair = |merge: &Value| match merge {
                Value::String(text) => text.clone(),
                pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
            };
            let list = |json: &Value| -> Vec<String> {
                json["model"]["merges"].as_array().unwrap().iter().map(pair).collect()
            };
            assert_eq!(list(&after), list(&before), "{name}");
        }
    }
}

#[test]
fn the_real_ternary_model_keeps_its_answers_through_every_dialect() {
    let Some(data) = testkit::shared_data() else {
        return testkit::skip("1 test needs TRILOBIT_DATA: bitllama-3M");
    };
    let models = data.join("models/bitllama2");
    let options_in = OpenOptions { tokenizer: Some(models.join("tokenizer.json")), ..OpenOptions::default() };
    let model = checkpoint::open_with(&models.join("bitllama-3M.bin"), &options_in).unwrap();
    let expected = logits(&model);
    let dir = testkit::temp_dir();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    for (number, (kind, embedding, tolerance)) in
        [("i2_s", "f32", 1e-5), ("tq2_0", "f32", 5e-2), ("i2_s", "f16", 5e-2)].into_iter().enumerate()
    {
        let out = path(&format!("{number}.gguf"));
        gguf::export(&model, &out, &options(kind, embedding), &mut ()).unwrap();
        let far = difference(&logits(&checkpoint::open(&out).unwrap()), &expected);
        eprintln!("bitllama-3M as {kind}, embedding {embedding}: {far:.1e} of the largest logit");
        assert!(far < tolerance, "{kind}, {embedding}: {far:e}");
    }
    let packed = hf::Options {
        storing: hf::Storing::Offline,
        bf16: false,
        quantize: false,
        shard_bytes: hf::SHARD_BYTES_MAX,
    };
    let gguf = checkpoint::open(&path("0.gguf")).unwrap();
    hf::export(&gguf, &path("hf"), &packed, &mut ()).unwrap();
    checkpoint::import(&checkpoint::open(&path("hf")).unwrap(), &path("native"), &mut ()).unwrap();
    let end = checkpoint::open(&path("native")).unwrap();
    assert!(difference(&logits(&end), &expected) < 1e-5);
    assert!(end.tokenizer.is_some());
}

/// Truncations and flipped bytes, most of them in the header: a sentence or a model, never a panic.
#[test]
fn damaged_files_are_sentences() {
    let dir = testkit::temp_dir();
    let config = Config { hidden: 32, heads: 1, kv_heads: 1, head_size: 32, ffn: 32, ..base() };
    let model = native(&dir.path().join("native"), &config);
    let path = dir.path().join("model.gguf");
    gguf::export(&model, &path, &options("f16", "f16"), &mut ()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(checkpoint::open(&path).is_err(), "cut to {length} bytes");
    }
    let mut state = 88172645463325252u64;
    for _ in 0..4000 {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let mut bytes = whole.clone();
        bytes[state as usize % 3000] = (state >> 48) as u8;
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(loaded) = checkpoint::open(&path) {
            // other values may be read, or refused
            let _ = checkpoint::inspect::verify_source(&*loaded.source, &path);
        }
    }
}

/// The file at `path` with other keys and further tensors of F32.
fn changed(path: &Path, keys: &[(&str, Meta)], tensors: &[(&str, f32)]) -> PathBuf {
    let file = File::open(path).unwrap();
    let mut metadata = file.metadata().to_vec();
    metadata.retain(|(key, _)| keys.iter().all(|(other, _)| other != key));
    metadata.extend(keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    let own = file.tensors().map(|info| Declaration {
        name: info.name.clone(),
        shape: info.shape.clone(),
        format: info.format.clone().unwrap(),
    });
    let more = tensors.iter().map(|(name, _)| Declaration {
        name: (*name).to_owned(),
        shape: vec![1],
        format: format("f32"),
    });
    let out = path.with_extension("changed.gguf");
    let mut writer = Writer::create(&out, &metadata, &own.chain(more).collect::<Vec<_>>()).unwrap();
    file.tensors().for_each(|info| writer.write(&info.name, file.tensor(&info.name).unwrap().bytes).unwrap());
    tensors.iter().for_each(|(name, value)| writer.write(name, &value.to_le_bytes()).unwrap());
    writer.finish().unwrap();
    out
}

/// A file without a tokenizer.
fn small(dir: &Path) -> PathBuf {
    let config = Config { hidden: 32, heads: 1, kv_heads: 1, head_size: 32, ffn: 32, ..base() };
    let model = native(&dir.join("native"), &config);
    let path = dir.join("model.gguf");
    gguf::export(&model, &path, &options("f16", "f16"), &mut ()).unwrap();
    path
}

/// The file at `path` with its projections in another format.
fn reencoded(path: &Path, kind: &str) -> PathBuf {
    let file = File::open(path).unwrap();
    let format_of =
        |name: &str, own| if name.starts_with("blk") && !name.contains("norm") { format(kind) } else { own };
    let declared = file.tensors().map(|info| Declaration {
        name: info.name.clone(),
        shape: info.shape.clone(),
        format: format_of(&info.name, info.format.clone().unwrap()),
    });
    let declared: Vec<Declaration> = declared.collect();
    let out = path.with_extension(format!("{kind}.gguf"));
    let mut writer = Writer::create(&out, file.metadata(), &declared).unwrap();
    for tensor in &declared {
        let own = file.tensor(&tensor.name).unwrap();
        let mut values = vec![0.0; own.info.elements()];
        own.f32_into(0, &mut values).unwrap();
        let mut bytes = vec![0; tensor.format.bytes_for(values.len()).unwrap()];
        tensor.format.encoder().unwrap()(&values, &mut bytes);
        writer.write(&tensor.name, &bytes).unwrap();
    }
    writer.finish().unwrap();
    out
}

#[test]
fn ternary_weights_in_blocks_of_values_keep_their_scale_or_are_warned_about() {
    let dir = testkit::temp_dir();
    let path = small(dir.path());
    let expected = checkpoint::open(&path).unwrap();
    let Encoding::Ternary { scale } = expected.source.encoding("layers.1.gate").unwrap() else { panic!() };
    let kept = checkpoint::open(&reencoded(&path, "q8_0")).unwrap();
    let Encoding::Ternary { scale: kept_scale } = kept.source.encoding("layers.1.gate").unwrap() else {
        panic!()
    };
    assert!((kept_scale / scale - 1.0).abs() < 1.0 / 1024.0, "{kept_scale} for {scale}");
    let codes = |model: &Loaded| {
        let mut codes = vec![0; 32 * 32];
        model.source.read_codes("layers.1.gate", 0..32, &mut codes).unwrap();
        codes
    };
    assert_eq!(codes(&kept), codes(&expected));
    assert!(kept.warnings.iter().all(|warning| !warning.contains("ternarised")), "{:?}", kept.warnings);
    let blurred = checkpoint::open(&reencoded(&path, "q4_0")).unwrap();
    let warned =
        blurred.warnings.iter().any(|warning| warning.contains("14 projections") && warning.contains("Q4_0"));
    assert!(warned, "{:?}", blurred.warnings);
}

#[test]
fn a_factor_without_a_type_scales_linearly() {
    let dir = testkit::temp_dir();
    let path = small(dir.path());
    let key = |name: &str| format!("bitnet.{name}");
    let scaling = |keys: &[(&str, Meta)]| {
        checkpoint::open(&changed(&path, keys, &[])).map(|model| model.config().rope_scaling)
    };
    let linear = |factor| Some(RopeScaling::Linear { factor });
    let (former, factor, kind) =
        (key("rope.scale_linear"), key("rope.scaling.factor"), key("rope.scaling.type"));
    assert_eq!(scaling(&[(&former, Meta::F32(4.0))]).unwrap(), linear(4.0));
    assert_eq!(scaling(&[(&factor, Meta::F32(2.0)), (&former, Meta::F32(4.0))]).unwrap(), linear(2.0));
    assert_eq!(scaling(&[(&former, Meta::F32(0.0))]).unwrap(), None);
    assert_eq!(scaling(&[(&kind, Meta::String("none".into())), (&factor, Meta::F32(2.0))]).unwrap(), None);
}

#[test]
fn factors_belong_to_projections_and_are_numbers() {
    let dir = testkit::temp_dir();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/hf/mistral");
    let path = dir.path().join("model.gguf");
    gguf::export(&checkpoint::open(&golden).unwrap(), &path, &options("f16", "f16"), &mut ()).unwrap();
    let doubled = changed(&path, &[], &[("blk.0.attn_q.scale", 2.0)]);
    let first = |path: &Path| {
        let model = checkpoint::open(path).unwrap();
        let mut row = vec![0.0; model.config().hidden];
        model.source.read("layers.0.q", 0..1, &mut row).unwrap();
        row[0]
    };
    assert_eq!(first(&doubled), 2.0 * first(&path));
    for (name, value, expected) in [
        ("blk.0.attn_q.scale", f32::INFINITY, "'blk.0.attn_q.scale' holds inf"),
        ("blk.0.attn_q.scale", f32::NAN, "'blk.0.attn_q.scale' holds NaN"),
        ("blk.0.attn_norm.scale", 2.0, "'blk.0.attn_norm.scale' has no place"),
        ("token_embd.scale", 2.0, "'token_embd.scale' has no place"),
        ("output_norm.scale", 2.0, "'output_norm.scale' has no place"),
    ] {
        let error = checkpoint::open(&changed(&path, &[], &[(name, value)])).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_sentence_piece_token_of_any_length_is_not_cut_everywhere() {
    let dir = testkit::temp_dir();
    let path = small(dir.path());
    let with = |bytes: usize| {
        let mut tokens: Vec<String> = (0..35).map(|id| format!("t{id}")).collect();
        tokens[7] = "x".repeat(bytes);
        changed(
            &path,
            &[
                ("tokenizer.ggml.model", Meta::String("llama".into())),
                ("tokenizer.ggml.scores", Meta::Array(Array::F32(vec![0.0; tokens.len()]))),
                ("tokenizer.ggml.tokens", Meta::Array(Array::String(tokens))),
            ],
            &[],
        )
    };
    assert!(checkpoint::open(&with(1024)).unwrap().tokenizer.is_some());
    let error = checkpoint::open(&with(1025)).err().unwrap().to_string();
    assert!(error.contains("one of its tokens has 1025 bytes"), "{error}");
}

/// A byte-level tokenizer with named ids.
fn named(pre_tokenizer: Value) -> TokenizerFrom {
    let names = ["<|eom_id|>", "<|other|>", "<|eot_id|>", "<|end_of_text|>", "<|more|>"];
    let token = |(id, name): (usize, &str)| json!({"id": id + 3, "content": name, "special": true});
    let json = json!({
        "added_tokens": names.into_iter().enumerate().map(token).collect::<Vec<_>>(),
        "pre_tokenizer": pre_tokenizer,
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
    });
    TokenizerFrom::Json(serde_json::to_vec(&json).unwrap())
}

/// Ids that end an answer, those under the keys of end of text, turn and message, and those that are left.
type Ends = (&'static [u32], [Option<u32>; 3], &'static [u32]);

#[test]
fn every_id_that_ends_an_answer_goes_through_under_the_key_of_its_name() {
    let dir = testkit::temp_dir();
    let config = Config { hidden: 32, heads: 1, kv_heads: 1, head_size: 32, ffn: 32, ..base() };
    let mut model = native(&dir.path().join("native"), &config);
    model.tokenizer = Some(named(json!({"type": "ByteLevel", "add_prefix_space": false})));
    let out = dir.path().join("model.gguf");
    let cases: [Ends; 5] = [
        (&[3, 4, 5, 6, 7], [Some(6), Some(5), Some(3)], &[4, 7]),
        (&[4, 6, 7], [Some(6), Some(4), Some(7)], &[]),
        (&[3, 5], [Some(5), None, Some(3)], &[]),
        (&[5], [Some(5), None, None], &[]),
        (&[], [None; 3], &[]),
    ];
    for (ids, places, more) in cases {
        model.end_ids = ids.to_vec();
        gguf::export(&model, &out, &options("f16", "f16"), &mut ()).unwrap();
        assert_eq!(checkpoint::open(&out).unwrap().end_ids, ids);
        let file = File::open(&out).unwrap();
        let found =
            ["eos", "eot", "eom"].map(|name| file.u32(&format!("tokenizer.ggml.{name}_token_id")).ok());
        assert_eq!(found, places, "{ids:?}");
        let rest = (!more.is_empty()).then(|| Meta::Array(Array::U32(more.to_vec())));
        assert_eq!(file.get("trilobit.end_token_ids"), rest.as_ref(), "{ids:?}");
    }
}

#[test]
fn a_way_to_cut_text_that_has_no_name_is_refused() {
    let dir = testkit::temp_dir();
    let mut model = native(&dir.path().join("native"), &base());
    for cut in [json!({"type": "Sequence", "pretokenizers": []}), json!({"type": "Whitespace"}), Value::Null]
    {
        model.tokenizer = Some(named(cut.clone()));
        let error = gguf::export(&model, &dir.path().join("a.gguf"), &options("f16", "f16"), &mut ());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("has no name in llama.cpp"), "{cut}: {error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no leftovers");
}

/// The files of BitNet 2B4T that went round have Llama-3's tokens and not the key.
#[test]
fn how_text_is_cut_is_told_by_the_number_of_tokens_where_the_file_does_not_say() {
    for (size, whose, is_llama3) in [(300, "GPT-2's", false), (128_256, "Llama-3's", true)] {
        let dir = testkit::temp_dir();
        let config =
            Config { vocabulary: size, hidden: 16, heads: 1, kv_heads: 1, head_size: 16, ffn: 16, ..base() };
        let model = native(&dir.path().join("native"), &config);
        let path = dir.path().join("model.gguf");
        gguf::export(&model, &path, &options("f16", "f16"), &mut ()).unwrap();
        let tokens = (0..size).map(|id| format!("t{id}")).collect();
        let cut = changed(
            &path,
            &[
                ("tokenizer.ggml.model", Meta::String("gpt2".into())),
                ("tokenizer.ggml.tokens", Meta::Array(Array::String(tokens))),
                ("tokenizer.ggml.merges", Meta::Array(Array::String(Vec::new()))),
            ],
            &[],
        );
        let again = checkpoint::open(&cut).unwrap();
        assert!(again.warnings.iter().any(|warning| warning.contains(whose)), "{:?}", again.warnings);
        let Some(TokenizerFrom::Json(json)) = again.tokenizer else { panic!("the file has a tokenizer") };
        let json: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["model"]["ignore_merges"], is_llama3);
    }
}

/// Judges as it is told, and counts the phases that began.
struct Judge(bool, usize);

impl Progress for Judge {
    fn begin(&mut self, _: Phase, _: usize) {
        self.1 += 1;
    }

    fn advance(&mut self, _: &str) {}

    fn judge(&mut self, _: &Written) -> Result<(), FileError> {
        match self.0 {
            true => Ok(()),
            false => Err(FileError::damaged(Path::new("it"), "it answers otherwise", "report this")),
        }
    }
}

#[test]
fn only_the_place_itself_is_written_to_and_only_when_all_is_good() {
    let dir = testkit::temp_dir();
    let at = |name: &str| dir.path().join(name);
    let model = native(&at("native"), &base());
    let export = |out: &Path, judge: &mut Judge| gguf::export(&model, out, &options("tq2_0", "f16"), judge);
    std::fs::write(at("m.gguf.partial"), "mine").unwrap();
    std::fs::write(at("real.gguf"), "old").unwrap();
    std::os::unix::fs::symlink(at("real.gguf"), at("m.tq2")).unwrap();
    let error = export(&at("m.tq2"), &mut Judge(false, 0)).unwrap_err().to_string();
    assert!(error.contains("answers otherwise"), "{error}");
    assert_eq!(std::fs::read(at("real.gguf")).unwrap(), b"old");
    export(&at("m.tq2"), &mut Judge(true, 0)).unwrap();
    assert!(at("m.tq2").is_symlink());
    checkpoint::open(&at("real.gguf")).unwrap();
    let mut judge = Judge(true, 0);
    let error = export(&at("native"), &mut judge).unwrap_err().to_string();
    assert!(error.contains("a folder is in its place") && judge.1 == 0, "{error}");
    assert_eq!(std::fs::read(at("m.gguf.partial")).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4, "no leftovers");
}
