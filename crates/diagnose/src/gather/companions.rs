//! What stands beside a model, or alone in a folder: a trainer's state, its arguments, its logs.

use super::{logs, parse};
use crate::keys::{Keys, normal, number};
use crate::recipe::Recipe;
use crate::subject::Subject;
use formats::{bounded, limits};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Most files of a folder that are looked at.
const FILES_MAX: usize = 1000;
/// Files that belong to the model and not to its training.
const NOT_TRAINING: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "model.safetensors.index.json",
    "manifest.json",
];
/// States of trainers, by name.
const STATES: &[&str] = &["trainer_state.json", "training_state.json", "state.json"];

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().take(FILES_MAX);
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !NOT_TRAINING.contains(&name.as_ref())
            && ["json", "yaml", "yml", "csv", "jsonl", "ndjson", "toml"].contains(&ending(path).as_str())
    });
    files.sort();
    files
}

fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

fn is_state(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| STATES.contains(&name))
}

/// Whether the folder holds anything that training leaves behind.
pub(super) fn any(dir: &Path) -> bool {
    files(dir).iter().any(|path| is_state(path) || logs::read(path).is_ok())
}

/// Reads all that is in `dir`; what cannot be read is passed over, since anything may lie in a folder.
pub(super) fn read(subject: &mut Subject, dir: &Path) {
    for path in files(dir) {
        if matches!(ending(&path).as_str(), "csv" | "jsonl" | "ndjson") {
            if let Ok(points) = logs::read(&path) {
                subject.series = logs::join(std::mem::take(&mut subject.series), points);
            }
            continue;
        }
        let Ok(text) = bounded::read_text(&path, limits::CONFIG_BYTES_MAX) else { continue };
        match parse::json(&text).filter(|_| is_state(&path)) {
            Some(value) => state(subject, value),
            None => {
                let known = std::mem::take(&mut subject.recipe);
                subject.recipe = known.or(recipe(&text, &path).unwrap_or_default());
            }
        }
    }
}

/// The recipe that a text holds, by the ending of its file.
pub(super) fn recipe(text: &str, path: &Path) -> Option<Recipe> {
    let value = match ending(path).as_str() {
        "toml" => parse::toml(text),
        "json" => parse::json(text),
        _ => parse::yaml(text),
    };
    value.filter(Value::is_object).map(|value| Recipe::of_keys(&Keys::of(&value)))
}

fn state(subject: &mut Subject, mut value: Value) {
    let points = logs::points(logs::history(&value));
    subject.series = logs::join(std::mem::take(&mut subject.series), points);
    let Some(table) = value.as_object_mut() else { return };
    table.remove("log_history");
    let find = |names: &[&str]| {
        let found = names.iter().find_map(|name| table.iter().find(|(key, _)| normal(key) == **name));
        found.and_then(|(_, value)| number(value))
    };
    let progress = &mut subject.progress;
    progress.step = find(&["global_step", "step", "current_step"]).map(|step| step as u64).or(progress.step);
    progress.tokens =
        find(&["num_input_tokens_seen", "tokens_seen", "tokens"]).filter(|n| *n > 0.0).or(progress.tokens);
    progress.best_loss =
        find(&["best_eval_loss", "best_loss", "best_metric", "best_val_loss"]).or(progress.best_loss);
    progress.lambda = find(&["lambda", "current_lambda", "lambda_val"]).or(progress.lambda);
    let known = std::mem::take(&mut subject.recipe);
    subject.recipe = known.or(Recipe::of_keys(&Keys::of(&value)));
}
