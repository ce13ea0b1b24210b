//! A tiny model, conversations for it, and the configuration of their fine-tuning.

use crate::common::tiny_run;
use std::path::{Path, PathBuf};
use train::config::StartConfig;
use train::{Limits, RunConfig, Trainer};

/// A model that a short run leaves in `dir`, and conversations beside it.
pub fn model_and_conversations(dir: &Path, sets: &[&str]) -> (PathBuf, PathBuf) {
    let mut config = tiny_run(dir, sets);
    config.train.steps = 4;
    let run = dir.join("base");
    let limits = Limits { interrupted: &|| false, time: None };
    Trainer::create(config, &run, None).unwrap().run(&limits, &mut ()).unwrap();
    let line = |n: usize| {
        serde_json::json!({ "question": format!("{n} plus {}?", n % 3), "answer": (n + n % 3).to_string() })
            .to_string()
    };
    let file = dir.join("chats.jsonl");
    std::fs::write(&file, (0..40).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    (run, file)
}

/// Fine-tuning of `base` on `file` for 8 steps, with these `--set`s over it.
pub fn sft(base: &Path, file: &Path, more: &[&str]) -> RunConfig {
    let mut sets: Vec<String> = [
        "train.steps=8",
        "train.batch=2",
        "train.threads=2",
        "train.record_every=4",
        "train.checkpoint_every=2",
        "schedule.warmup=1",
        "sft.valid_share=0.1",
    ]
    .map(str::to_owned)
    .to_vec();
    sets.push(format!("sft.files=['{}']", file.display()));
    sets.extend(more.iter().map(|set| (*set).to_owned()));
    let source = checkpoint::open(base).unwrap();
    RunConfig::start(&StartConfig { from: base.into() }, source.config(), None, &sets).unwrap()
}
