//! Our own run folders and checkpoints.

use crate::recipe::Recipe;
use crate::subject::{Form, Point, Progress, Subject};
use checkpoint::hf::peft;
use checkpoint::native::Opened;
use formats::{FileError, bounded, limits};
use journal::events::{self, Kind as Event};
use journal::metrics::{self, Step};
use journal::{Run, layout};
use serde_json::Value;
use std::path::{Path, PathBuf};
use train::RunConfig;

/// Configuration, facts, metrics and events of a run.
///
/// # Errors
/// The metrics or the facts are damaged.
pub(super) fn run(subject: &mut Subject, run: &Run) -> Result<(), FileError> {
    match bounded::read_text(&run.config(), limits::CONFIG_BYTES_MAX) {
        Ok(text) => configuration(subject, &text),
        Err(error) => subject.trouble = Some(error.to_string()),
    }
    if run.metrics().is_file() {
        subject.series = metrics::read(&run.metrics())?.iter().map(point).collect();
    }
    if run.events().is_file() {
        let guarded = events::read(&run.events())?.into_iter().filter(|event| event.kind == Event::Guard);
        subject.progress.guarded = guarded.count() as u64;
    }
    if run.dir().join(layout::FACTS).is_file() {
        let facts = run.facts()?;
        let number = |key: &str| facts.get(key).and_then(Value::as_f64);
        subject.progress.unigram_entropy = number("unigram_entropy");
        subject.progress.train_tokens = number("train_tokens");
    }
    Ok(())
}

fn configuration(subject: &mut Subject, text: &str) {
    match RunConfig::from_toml(text) {
        Ok(config) => subject.recipe = Recipe::of_run(&config),
        Err(error) => subject.trouble = Some(error.to_string()),
    }
}

/// A checkpoint of an adapter.
pub(super) struct Adapter {
    /// its folder
    pub checkpoint: PathBuf,
    /// the model that it was trained beside, which is the one that is looked at
    pub base: PathBuf,
}

/// What `path` holds where it is a run that learns an adapter, or a checkpoint of one.
pub(super) fn adapter(path: &Path) -> Option<Adapter> {
    // Before anything is hashed: most models are none.
    let newest = checkpoint::candidates(path).ok()?.swap_remove(0);
    if !newest.join(peft::WEIGHTS).is_file() {
        return None;
    }
    let opened = checkpoint::locate(path).ok()?.checkpoint;
    let config = RunConfig::from_toml(opened.config()).ok()?;
    Some(Adapter { checkpoint: opened.dir().to_owned(), base: config.origin()?.to_owned() })
}

/// What a checkpoint that opens says of its progress, and, where it lies in a run, the run's records up to it.
pub(super) fn checkpoint(subject: &mut Subject, dir: &Path) {
    let Ok(opened) = Opened::open(dir) else { return };
    let state = opened.state();
    let number = |key: &str| state.get(key).and_then(Value::as_f64);
    if subject.form == Form::Checkpoint && number("step").is_some() {
        configuration(subject, opened.config());
        let folder = dir.parent().and_then(Path::parent).and_then(|dir| Run::open(dir).ok());
        if let Some(folder) = folder
            && run(subject, &folder).is_ok()
        {
            let done = number("step").unwrap_or_default();
            subject.series.retain(|point| (point.step as f64) < done);
        }
    }
    let best = state.get("best").and_then(|best| best.get("loss")).and_then(Value::as_f64);
    let progress = std::mem::take(&mut subject.progress);
    subject.progress = Progress {
        step: number("step").map(|step| step as u64).or(progress.step),
        tokens: number("tokens").or(progress.tokens),
        lambda: number("lambda").or(progress.lambda),
        best_loss: best,
        ..progress
    };
}

/// Tells of checkpoints of the run in `path` that are newer than `used`, which are damaged: otherwise they would have been used.
pub(super) fn newer(subject: &mut Subject, path: &Path, used: &Path) {
    let candidates = checkpoint::candidates(path).unwrap_or_default();
    let newer = candidates.iter().take_while(|candidate| *candidate != used);
    let damages: Vec<String> =
        newer.filter_map(|candidate| Some(Opened::open(candidate).err()?.to_string())).collect();
    if !damages.is_empty() {
        let newest = candidates[0].file_name().and_then(|name| name.to_str());
        subject.progress.lost = newest.and_then(layout::checkpoint_step);
        subject.trouble = Some(format!("{}; looked at instead: {}", damages.join("; "), used.display()));
    }
}

fn point(step: &Step) -> Point {
    let mean = |layers: &Option<Vec<f32>>| {
        let layers = layers.as_ref().filter(|layers| !layers.is_empty())?;
        Some(layers.iter().map(|share| f64::from(*share)).sum::<f64>() / layers.len() as f64)
    };
    let record = &step.record;
    Point {
        step: step.step,
        loss: Some(step.loss),
        lr: Some(step.lr),
        weight_decay: Some(step.weight_decay),
        lambda: Some(step.lambda),
        grad_norm: Some(step.grad_norm),
        validation_loss: record.validation_loss,
        unique_tokens: record.unique_tokens.map(f64::from),
        repetition: record.repetition,
        flip_rate: mean(&record.flip_rate),
    }
}
