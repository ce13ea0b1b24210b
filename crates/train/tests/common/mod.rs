//! A tiny data set and a tiny run, for the tests of the trainer.

use data::{PrepareOptions, generated};
use std::path::Path;
use text::bpe::{self, TrainOptions};
use train::RunConfig;
use train::config::SourceConfig;

/// Prepares the built-in corpus in `dir/data` and returns the configuration of a run on it.
pub fn tiny_run(dir: &Path, sets: &[&str]) -> RunConfig {
    let documents: Vec<String> = generated::corpus(1, 400).collect();
    let options = TrainOptions { vocabulary: 300, ..TrainOptions::default() };
    let tokenizer = dir.join("tokenizer.json");
    std::fs::write(&tokenizer, bpe::train(documents.iter().cloned(), &options).unwrap()).unwrap();
    let corpus = dir.join("corpus.txt");
    std::fs::write(&corpus, documents.join("\n<|endoftext|>\n")).unwrap();
    let data = dir.join("data");
    let prepare = PrepareOptions {
        inputs: vec![corpus],
        valid_share: 0.05,
        tokenizer,
        out: data.clone(),
        ..PrepareOptions::default()
    };
    data::prepare(&prepare, &()).unwrap();
    let mut all: Vec<String> = [
        "model.hidden=32",
        "model.layers=2",
        "model.heads=2",
        "model.kv_heads=1",
        "model.head_size=16",
        "model.ffn=48",
        "model.vocabulary=300",
        "model.context=32",
        "train.batch=2",
        "train.sequence=32",
        "train.accumulation=2",
        "train.steps=40",
        "train.record_every=5",
        "train.checkpoint_every=15",
        "train.validate_batches=2",
        "train.threads=2",
        "schedule.peak=3e-3",
    ]
    .map(str::to_owned)
    .to_vec();
    all.extend(sets.iter().map(|set| (*set).to_owned()));
    let mut config = RunConfig::resolve(Some("tiny"), None, &all).unwrap();
    config.data = vec![SourceConfig { path: data, weight: 1.0 }];
    config
}
