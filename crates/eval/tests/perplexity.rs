//! Perplexity against the definition, computed from the reference's logits, and against transformers.

use eval::{EvalError, Perplexity, Windows, perplexity};
use infer::{Engine, EngineOptions, InferError, KvType, Model};
use model::{Config, Weights, reference};
use serde_json::{Value, json};
use std::path::Path;
use text::Tokenizer;

const TEXT: &str = "the cat and the dog and the bird and the fish sat on the mat, naïvely: 東京";

fn tokenizer() -> Tokenizer {
    Tokenizer::from_bytes(&trained()).unwrap()
}

fn trained() -> Vec<u8> {
    let options = text::bpe::TrainOptions {
        vocabulary: 262,
        special_tokens: vec!["<|endoftext|>".into()],
        min_frequency: 1,
    };
    let documents = ["the cat and the dog and the bird".to_string()];
    text::bpe::train(documents.into_iter(), &options).unwrap()
}

fn weights(scale: f32) -> Weights {
    let config: Config = toml::from_str(
        "hidden = 32\nlayers = 2\nheads = 2\nkv_heads = 1\nhead_size = 16\nffn = 48\nvocabulary = 262\ncontext = 48",
    )
    .unwrap();
    let mut weights = Weights::random(&config, 9);
    weights.data.iter_mut().for_each(|w| *w *= scale);
    weights
}

fn measure(weights: &Weights, text: &str, windows: Windows) -> Result<Perplexity, EvalError> {
    let options = EngineOptions { threads: 1, ..EngineOptions::default() };
    let engine = Engine::new(weights, options).unwrap();
    let mut session = engine.session(48).unwrap();
    perplexity(&mut session, &tokenizer(), text, windows, &mut |_, _| ())
}

/// `−log p(ids[target])` by the reference, given `ids[start..target]`.
fn surprise(weights: &Weights, ids: &[u32], start: usize, target: usize) -> f64 {
    let context = &ids[start..target];
    let logits = reference::logits(weights, context, &vec![0; context.len()], 1.0);
    let logits = &logits[(context.len() - 1) * 262..];
    let sum: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
    sum.ln() - f64::from(logits[ids[target] as usize])
}

#[test]
fn every_token_but_the_first_is_scored_once_in_its_window() {
    let weights = weights(4.0);
    let ids = tokenizer().encode(TEXT, false);
    for (window, stride) in [(8, 8), (8, 3), (48, 48), (5, 1), (1, 1)] {
        let result = measure(&weights, TEXT, Windows { window, stride }).unwrap();
        let mut expected = 0.0;
        let mut start = 0;
        for target in 1..ids.len() {
            if target > start + window {
                start += stride;
            }
            expected += surprise(&weights, &ids, start, target);
        }
        let tokens = ids.len() - 1;
        assert_eq!(result.tokens, tokens as u64);
        let nll = expected / tokens as f64;
        assert!((result.nll_per_token / nll - 1.0).abs() < 1e-4, "{window} {stride}");
        assert!((result.perplexity / nll.exp() - 1.0).abs() < 1e-3);
    }
}

/// A template that ends a text, one that begins it, and one that does both: what is scored are the ids of the whole.
#[test]
fn what_a_template_puts_around_a_text_is_scored_at_its_place() {
    let weights = weights(4.0);
    let engine = Engine::new(&weights, EngineOptions { threads: 1, ..EngineOptions::default() }).unwrap();
    let mut session = engine.session(48).unwrap();
    let special = json!({"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}});
    let own = json!({"Sequence": {"id": "A", "type_id": 0}});
    for single in [json!([own, special]), json!([special, own]), json!([special, own, special])] {
        let mut json: Value = serde_json::from_slice(&trained()).unwrap();
        json["post_processor"] = json!({
            "type": "TemplateProcessing", "single": single,
            "pair": [own, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
        });
        let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
        let text = "the cat and the dog";
        let ids = tokenizer.encode(text, true);
        let windows = Windows { window: 48, stride: 48 };
        let found = perplexity(&mut session, &tokenizer, text, windows, &mut |_, _| ()).unwrap();
        assert_eq!(found.tokens as usize, ids.len() - 1, "{single}");
        let sum: f64 = (1..ids.len()).map(|target| surprise(&weights, &ids, 0, target)).sum();
        let expected = sum / (ids.len() - 1) as f64;
        assert!((found.nll_per_token / expected - 1.0).abs() < 1e-4, "{single}: {found:?}, not {expected}");
    }
}

#[test]
fn a_model_that_knows_nothing_has_the_uniform_perplexity() {
    let windows = Windows { window: 16, stride: 16 };
    let result = measure(&weights(0.0), TEXT, windows).unwrap();
    assert!((result.perplexity - 262.0).abs() < 1e-3);
    let ids = tokenizer().encode(TEXT, false);
    let first = tokenizer().token_bytes(ids[0]).unwrap().len();
    let total = 262f64.ln() * (ids.len() - 1) as f64;
    let bits = total / std::f64::consts::LN_2 / (TEXT.len() - first) as f64;
    assert!((result.bits_per_byte - bits).abs() < 1e-6);
    assert_eq!(result.words, 17);
    assert!((result.word_perplexity.unwrap().ln() - total / 17.0).abs() < 1e-6);
}

/// e to the likelihood of a whole text is beyond every number.
#[test]
fn a_text_without_blanks_has_no_word_perplexity() {
    let windows = Windows { window: 16, stride: 16 };
    for (text, words) in [("東京都".repeat(100), 1), (" \n".repeat(100), 0)] {
        let result = measure(&weights(0.0), &text, windows).unwrap();
        assert_eq!((result.words, result.word_perplexity), (words, None));
        let json = serde_json::to_value(result).unwrap();
        assert!(json.get("word_perplexity").is_none(), "{json}");
    }
}

#[test]
fn what_cannot_be_measured_is_an_error() {
    let sound = weights(4.0);
    let windows = |window, stride| Windows { window, stride };
    for text in ["", "t"] {
        let error = measure(&sound, text, windows(8, 8)).unwrap_err();
        assert!(matches!(error, EvalError::TooShort { .. }), "{error}");
    }
    for (window, stride) in [(0, 1), (49, 49), (8, 9), (8, 0)] {
        let error = measure(&sound, TEXT, windows(window, stride)).unwrap_err();
        assert!(matches!(error, EvalError::Windows { .. }), "{error}");
    }
    let mut damaged = sound;
    damaged.layout.final_norm.of_mut(&mut damaged.data)[0] = f32::NAN;
    let error = measure(&damaged, TEXT, windows(8, 8)).unwrap_err();
    assert!(matches!(error, EvalError::NotFinite { .. }), "{error}");
}

/// Each id i of a tiny model is the word `wi`.
fn words(vocabulary: usize) -> Tokenizer {
    let vocab: serde_json::Map<String, Value> =
        (0..vocabulary).map(|id| (format!("w{id}"), id.into())).collect();
    let json = json!({
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "w0" },
        "pre_tokenizer": { "type": "Whitespace" },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": false },
    });
    Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap()
}

/// A tokenizer of another model: in the first window, in a later one, and where an id is a target only.
#[test]
fn a_token_beyond_the_vocabulary_is_named_by_its_place_in_the_text() {
    let engine =
        Engine::new(&weights(4.0), EngineOptions { threads: 1, ..EngineOptions::default() }).unwrap();
    let mut session = engine.session(4).unwrap();
    let (tokenizer, windows) = (words(300), Windows { window: 4, stride: 4 });
    for strange in [0, 1, 6, 10] {
        let text: Vec<&str> = (0..11).map(|i| if i == strange { "w270" } else { "w7" }).collect();
        let error = perplexity(&mut session, &tokenizer, &text.join(" "), windows, &mut |_, _| ());
        let Err(EvalError::Infer(InferError::TokenOutOfRange { position, id, vocabulary })) = error else {
            panic!("{error:?}");
        };
        assert_eq!((position, id, vocabulary), (strange, 270, 262));
    }
}

/// The file comes from `tools/golden/perplexity.py`.
#[test]
fn the_perplexity_is_that_of_transformers() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let expected = std::fs::read(golden.join("perplexity.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let ids = expected["ids"].as_array().unwrap();
    let text: Vec<String> = ids.iter().map(|id| format!("w{id}")).collect();
    let (text, tokenizer) = (text.join(" "), words(101));
    assert_eq!(tokenizer.encode(&text, false).len(), ids.len());
    for case in expected["cases"].as_array().unwrap() {
        let folder = golden.join("hf").join(case["model"].as_str().unwrap());
        let options = EngineOptions { threads: 1, kv: Some(KvType::F32), ..EngineOptions::default() };
        let engine = Model::open(&folder, &Default::default(), options).unwrap().engine;
        let [window, stride] = ["window", "stride"].map(|key| case[key].as_u64().unwrap() as usize);
        let mut session = engine.session(window).unwrap();
        let windows = Windows { window, stride };
        let result = perplexity(&mut session, &tokenizer, &text, windows, &mut |_, _| ()).unwrap();
        let wanted = case["perplexity"].as_f64().unwrap();
        assert!((result.perplexity / wanted - 1.0).abs() < 1e-4, "{case}: {}", result.perplexity);
        assert_eq!(result.tokens as usize, ids.len() - 1);
    }
}
