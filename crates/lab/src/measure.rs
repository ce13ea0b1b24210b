//! What a run left: its records at moments, and what child processes measured of it.

use crate::LabError;
use crate::expr::Value;
use formats::{bounded, limits, manifest};
use journal::collapse;
use journal::metrics::Step;
use report::{RunData, columns, moments};
use serde_json::Map;
use std::path::Path;

/// The file in a point's folder that holds what child processes measured.
pub const MEASURES: &str = "measures.json";

/// The records of one run.
pub struct Measured {
    /// as the report reads it
    pub run: RunData,
    extra: Map<String, serde_json::Value>,
}

impl Measured {
    /// Reads the run in `dir/run` and the measures beside it; `None` where the run has not begun.
    ///
    /// # Errors
    /// It is damaged.
    pub fn read(dir: &Path) -> Result<Option<Self>, LabError> {
        let run_dir = dir.join("run");
        if !journal::Run::is_run(&run_dir) {
            return Ok(None);
        }
        let run = RunData::read(&run_dir)?;
        Ok(Some(Self { run, extra: read_extra(dir) }))
    }

    /// The run in `dir/run` if all steps are done and the checkpoint after the last of them is sound: what a run has written
    /// of its last step before that is there, it will write again.
    ///
    /// # Errors
    /// It is damaged.
    pub fn finished(dir: &Path) -> Result<Option<Self>, LabError> {
        let Some(measured) = Self::read(dir)?.filter(|measured| measured.run.is_finished()) else {
            return Ok(None);
        };
        let last = journal::Run::open(&dir.join("run"))?.checkpoint(measured.run.last_step());
        Ok(manifest::verify(&last).is_ok().then_some(measured))
    }

    /// What the run has once: facts, and measures of child processes, which come before what else `run.json` may hold.
    pub fn fact(&self, name: &str) -> Option<Value> {
        let number = match name {
            "steps" => Some(self.run.last_step() as f64),
            "minutes" => Some(self.minutes()),
            _ => self.extra.get(name).or_else(|| self.run.facts.get(name))?.as_f64(),
        };
        number.filter(|value| value.is_finite()).map(Value::Number)
    }

    /// Prompts, and how the newest checkpoint went on.
    pub fn newest_samples(&self) -> Vec<(String, String)> {
        let newest = self.run.samples.iter().map(|sample| sample.step).max();
        let samples = self.run.samples.iter().filter(|sample| Some(sample.step) == newest);
        samples.map(|sample| (sample.prompt.clone(), sample.text.clone())).collect()
    }

    /// Time that the steps took, minutes; that of validation and checkpoints is not in it.
    fn minutes(&self) -> f64 {
        let mut before = 0;
        let seconds = |step: &Step| {
            let tokens = step.tokens.saturating_sub(std::mem::replace(&mut before, step.tokens));
            tokens as f64 / step.tokens_per_s
        };
        self.run.steps.iter().map(seconds).filter(|s| s.is_finite()).sum::<f64>() / 60.0
    }

    /// A measure at a moment, `(p, p)`, or over a stretch of the run, per cent of all steps. The end of a run that stops early is
    /// its last step.
    pub fn at(&self, name: &str, (from, to): (f64, f64)) -> Vec<Value> {
        let (steps, total) = (&self.run.steps, self.run.total_steps());
        let has = |step: &Step| one(step, name).is_some();
        if from == to {
            let total = if from == 100.0 { self.run.last_step() } else { total };
            let line = moments::line_at(steps, total, from, has);
            return line.and_then(|line| self.value(name, line)).into_iter().collect();
        }
        let percent = |step: &Step| (step.step as f64 + 1.0) / total.max(1) as f64 * 100.0;
        let inside = |line: &usize| (from..=to).contains(&percent(&steps[*line])) && has(&steps[*line]);
        (0..steps.len()).filter(inside).filter_map(|line| self.value(name, line)).collect()
    }

    fn value(&self, name: &str, line: usize) -> Option<Value> {
        match name {
            "state" => {
                let state = self.run.marks()?.state(collapse::seen(&self.run.steps, line)?)?;
                Some(Value::Text(state.name().to_owned()))
            }
            "loss" => {
                let from = line - (line / 10).min(collapse::LOSS_WINDOW - 1);
                collapse::smoothed_loss(&self.run.steps[from..=line], line - from).map(Value::Number)
            }
            _ => one(&self.run.steps[line], name).filter(|value| value.is_finite()).map(Value::Number),
        }
    }
}

/// A measure of one line; of a measure that has a value for each layer their mean. `state` is where unique tokens are, and what is
/// exported always has λ = 1.
fn one(step: &Step, name: &str) -> Option<f64> {
    let record = &step.record;
    let mean = |layers: &Option<Vec<f32>>| {
        let layers = layers.as_ref()?;
        Some(layers.iter().copied().map(f64::from).sum::<f64>() / layers.len().max(1) as f64)
    };
    match name {
        "state" => record.unique_tokens.map(f64::from),
        "raw_loss" => Some(step.loss),
        "exported_loss" => record.ternary_validation_loss.or(record.validation_loss),
        "zero_share" => mean(&record.zero_share),
        "flip_rate" => mean(&record.flip_rate),
        "scale" => mean(&record.scale),
        _ => columns::COLUMNS.iter().find(|column| column.key == name).and_then(|column| (column.of)(step)),
    }
}

/// What child processes measured of a point so far.
pub fn read_extra(dir: &Path) -> Map<String, serde_json::Value> {
    let bytes = bounded::read(&dir.join(MEASURES), limits::CONFIG_BYTES_MAX).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

impl Measured {
    /// A measure at every step that has it; the state as its rank, from uniform to healthy.
    pub fn curve(&self, name: &str) -> Vec<(f64, f64)> {
        let steps = &self.run.steps;
        let number = |line: usize| match self.value(name, line)? {
            Value::Number(number) => Some(number),
            Value::Text(text) => {
                collapse::State::ALL.iter().position(|s| s.name() == text).map(|rank| rank as f64)
            }
            Value::Truth(_) => None,
        };
        let has = |line: &usize| one(&steps[*line], name).is_some();
        (0..steps.len())
            .filter(has)
            .filter_map(|line| Some((steps[line].step as f64, number(line)?)))
            .collect()
    }
}
