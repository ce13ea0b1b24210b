//! A tiny run on a tiny data set, for the tests of the trainer.

use std::path::Path;
use train::RunConfig;
use train::config::SourceConfig;

/// Prepares a data set in `dir` and returns the configuration of a run on it, with these `--set`s over it.
pub fn tiny_run(dir: &Path, sets: &[&str]) -> RunConfig {
    let data = testkit::dataset(dir, 400, 300);
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
