//! A checkpoint on disk becomes the engine that its weights in memory make.

use checkpoint::{OpenOptions, arena, native};
use infer::{Engine, EngineOptions, InferError, Model};
use model::{Config, Weights};
use serde_json::json;
use std::path::Path;

const MODEL: &str = "[model]\nhidden = 16\nlayers = 1\nheads = 2\nkv_heads = 1\nhead_size = 8\nffn = 24\n\
                     vocabulary = 260\ncontext = 16\n";

fn weights() -> Weights {
    let table: toml::Table = MODEL.parse().unwrap();
    let config: Config = table["model"].clone().try_into().unwrap();
    Weights::random(&config, 6)
}

fn save(dir: &Path, tokenizer: Option<&[u8]>) {
    let weights = weights();
    let parts = native::Parts {
        config: MODEL,
        tokenizer,
        chat_template: None,
        weights: &arena::tensors(&weights.layout, "", &weights.data),
        optimizer: &[],
        recorded: &[],
        state: &json!({"step": 1}),
    };
    native::save(dir, &parts).unwrap();
}

fn tokenizer() -> Vec<u8> {
    let options = text::bpe::TrainOptions {
        vocabulary: 258,
        special_tokens: vec!["<|endoftext|>".into()],
        min_frequency: 1,
    };
    let documents = ["the cat and the dog and the bird".to_string()];
    text::bpe::train(documents.into_iter(), &options).unwrap()
}

#[test]
fn the_loaded_engine_is_the_one_that_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    save(&dir, Some(&tokenizer()));
    let model = Model::open(&dir, &OpenOptions::default(), EngineOptions::default()).unwrap();
    let ids = model.tokenizer().unwrap().encode("the cat", true);
    let engine = Engine::new(&weights(), EngineOptions::default()).unwrap();
    let mut loaded = model.engine.session(16).unwrap();
    let mut direct = engine.session(16).unwrap();
    assert_eq!(loaded.forward(&ids).unwrap(), direct.forward(&ids).unwrap());
}

#[test]
fn a_missing_tokenizer_is_an_error_only_when_text_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    save(&dir, None);
    let model = Model::open(&dir, &OpenOptions::default(), EngineOptions::default()).unwrap();
    let Err(error @ InferError::NoTokenizer { .. }) = model.tokenizer() else {
        panic!("a tokenizer from nowhere");
    };
    assert!(error.to_string().contains("tokenizer.json"));
}

#[test]
fn what_is_no_model_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("none")] {
        let error = Model::open(&path, &OpenOptions::default(), EngineOptions::default()).err().unwrap();
        assert!(matches!(error, InferError::File(_)), "{error}");
    }
}
