//! The program as a user runs it: one binary of tests, one file a subject.

mod adapters;
mod agree;
mod chat;
mod cluster;
mod convert;
mod diagnose;
mod flow;
mod heal;
mod kill;
mod mistakes;
mod partition;
mod study;

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program with arguments, its streams caught.
fn trilobit(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trilobit"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it and insists on success; returns what it printed.
fn succeed(args: &[&str]) -> String {
    let Output { status, stdout, stderr } = trilobit(args).output().unwrap();
    assert!(status.success(), "{args:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// Runs it with `--json` and reads the one object it printed.
fn json(args: &[&str]) -> serde_json::Value {
    let mut args = args.to_vec();
    args.push("--json");
    let text = succeed(&args);
    assert_eq!(text.lines().count(), 1, "{args:?} printed {text}");
    serde_json::from_str(&text).unwrap()
}

/// Runs it, insists on exit code 2 and one sentence, and returns that.
fn fail(args: &[&str]) -> String {
    let Output { status, stderr, .. } = trilobit(args).output().unwrap();
    let sentence = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{args:?}: {sentence}");
    assert!(!sentence.contains("panicked"), "{args:?}: {sentence}");
    sentence
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `--set` arguments of a network of 64 × 2 layers that trains in seconds, for `train.steps` steps.
fn tiny(steps: u64) -> Vec<String> {
    let sets = [
        "model.hidden=64",
        "model.layers=2",
        "model.heads=2",
        "model.kv_heads=1",
        "model.head_size=32",
        "model.ffn=96",
        "model.vocabulary=300",
        "model.context=64",
        "train.batch=4",
        "train.sequence=64",
        "train.record_every=7",
        "train.checkpoint_every=4",
        "train.keep_last=2",
        "train.validate_batches=1",
    ];
    let sets = sets.map(str::to_owned).into_iter().chain([format!("train.steps={steps}")]);
    ["train", "--preset", "tiny"]
        .map(str::to_owned)
        .into_iter()
        .chain(sets.flat_map(|set| ["--set".to_owned(), set]))
        .collect()
}
