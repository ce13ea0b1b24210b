//! The configuration of a whole run: preset → TOML file → `--set`, each over the one before.
//!
//! What is unknown or contradicts itself is an error that names the key, where it was given and what
//! would be right. [`RunConfig::to_toml`] writes the resolved configuration, itself a valid input.

mod change;
mod check;
mod distill;
mod heal;
mod layers;
mod lora;
mod start;
mod value;

#[cfg(test)]
mod tests;

pub use change::Change;
pub use distill::{DistillConfig, HiddenKind, LayerWeights, LossWeights, Ramp, Reduction};
pub use heal::{HealConfig, SubNorm};
pub use lora::{LoraConfig, Target};
pub use start::{SftConfig, StartConfig};

use crate::schedule::{LambdaConfig, Schedule, ScheduleConfig};
use crate::step::Keep;
use kernels::gemm::Arithmetic;
use layers::Layers;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The optimiser of all parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Adam with decoupled weight decay
    #[default]
    Adamw,
    /// Adam with L2 added to the gradient, as the collapse study ran it
    Adam,
    /// Muon for the matrices of the blocks, AdamW for all else
    Muon,
}

/// What the products of the backward are summed in, and those of the forward where λ < 1 or layers are dense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backward {
    /// block floating point, 12 or 15 bits and a sign: twice as fast as f32, nearer to it than bfloat16
    #[default]
    Bfp16,
    /// single precision
    F32,
}

impl Backward {
    /// As kernels name it.
    pub fn arithmetic(self) -> Arithmetic {
        match self {
            Self::Bfp16 => Arithmetic::Bfp16,
            Self::F32 => Arithmetic::F32,
        }
    }
}

/// What happens to a step whose loss or gradient is not finite, or whose loss is a spike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// the step is recorded and not applied
    #[default]
    Skip,
    /// the run ends with its last good checkpoint
    Stop,
}

/// What the gradient of a step is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossReduction {
    /// the mean loss of the step's scored tokens: every step weighs the same
    #[default]
    Mean,
    /// their sum: every token weighs the same, whatever step it is in; clip and epsilon see the larger gradient
    Sum,
}

/// The `[train]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// updates of the weights, T
    pub steps: u64,
    /// ends the run early, with the schedule still that of all `steps`; left out, it ends with them
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_after: Option<u64>,
    /// of initial weights and the order of the data
    pub seed: u64,
    /// sequences of one forward and backward, B
    pub batch: usize,
    /// tokens of a sequence
    pub sequence: usize,
    /// batches of one update
    pub accumulation: usize,
    /// threads; 0 for all of the machine
    pub threads: usize,
    /// steps between checkpoints besides those at 0, 25, 50, 75 and 100 %; 0 for none
    pub checkpoint_every: u64,
    /// steps between records of flip rate, zero share, unique tokens
    pub record_every: u64,
    /// batches of a validation
    pub validate_batches: usize,
    /// how many of the latest checkpoints stay on disk
    pub keep_last: usize,
    /// activations are computed again in the backward instead of kept: less memory, more time, the same bits
    pub recompute: bool,
    /// bfp16 or f32
    pub backward: Backward,
    /// adamw, adam or muon
    pub optimizer: Optimizer,
    /// decay of the mean of the gradients
    pub beta1: f64,
    /// decay of the mean of their squares
    pub beta2: f64,
    /// added to the root in the denominator
    pub epsilon: f64,
    /// of matrices; the second half of the steps has `schedule.weight_decay2`
    pub weight_decay: f64,
    /// largest norm of the whole gradient; 0 for no clipping
    pub clip: f64,
    /// weight of log²Z in the loss
    pub z_loss: f64,
    /// share of the target's probability that is spread over the vocabulary
    pub label_smoothing: f64,
    /// mean or sum of the losses of a step's scored tokens
    pub reduction: LossReduction,
    /// attention stays inside a document
    pub document_mask: bool,
    /// skip or stop
    pub guard: Guard,
    /// a loss above this many times its moving average is a spike
    pub spike_ratio: f64,
    /// steps of that moving average
    pub spike_window: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            stop_after: None,
            seed: 0,
            batch: 8,
            sequence: 128,
            accumulation: 1,
            threads: 0,
            checkpoint_every: 0,
            record_every: 100,
            validate_batches: 20,
            keep_last: 3,
            recompute: false,
            backward: Backward::Bfp16,
            optimizer: Optimizer::Adamw,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
            clip: 1.0,
            z_loss: 0.0,
            label_smoothing: 0.0,
            reduction: LossReduction::Mean,
            document_mask: true,
            guard: Guard::Skip,
            spike_ratio: 2.0,
            spike_window: 100,
        }
    }
}

impl TrainConfig {
    /// Steps after which the run ends: all of them, or fewer where it stops early.
    pub fn last(&self) -> u64 {
        self.stop_after.map_or(self.steps, |last| last.min(self.steps))
    }

    /// Threads that compute: those of the configuration, or all of the machine.
    pub fn threads_used(&self) -> usize {
        match self.threads {
            0 => cluster::launch::cores(),
            threads => threads,
        }
    }

    /// What a step keeps of its forward.
    pub fn keep(&self) -> Keep {
        if self.recompute { Keep::Inputs } else { Keep::All }
    }

    /// Tokens of one update: batch × accumulation × sequence.
    pub fn tokens_per_step(&self) -> u64 {
        self.batch as u64 * self.accumulation as u64 * self.sequence as u64
    }
}

/// One `[[data]]` table: a folder of token shards and its share of the batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// folder that `data prepare` wrote
    pub path: PathBuf,
    /// share relative to the other sources; 1 where left out
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// Everything that makes a run what it is, resolved and checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// the network
    pub model: model::Config,
    /// the run
    #[serde(default)]
    pub train: TrainConfig,
    /// learning rate and weight decay over the steps
    #[serde(default)]
    pub schedule: ScheduleConfig,
    /// quantisation over the steps
    #[serde(default)]
    pub lambda: LambdaConfig,
    /// the model that the run begins with as it is
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartConfig>,
    /// an adapter that is learned instead of the weights
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// the model that the run begins with to make it ternary
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heal: Option<HealConfig>,
    /// what is learned from a teacher
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distill: Option<DistillConfig>,
    /// conversations that are read
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sft: Option<SftConfig>,
    /// what is read; empty in a preset, and where conversations are
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<SourceConfig>,
}

/// A configuration that no run can have; the sentence names the key, where it was given and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// no such preset
    #[error("there is no preset '{name}'{hint}; the presets are {known}")]
    Preset {
        /// as asked for
        name: String,
        /// the nearest name, as a question
        hint: String,
        /// all names
        known: String,
    },
    /// the file cannot be read
    #[error("cannot read the configuration {}: {error}; check the path and its permissions", path.display())]
    Read {
        /// the file
        path: PathBuf,
        /// why
        error: std::io::Error,
    },
    /// the text is not TOML
    #[error("{place} is not valid TOML: {message}")]
    Syntax {
        /// file and line
        place: String,
        /// the parser's words
        message: String,
    },
    /// a `--set` that is not `key=value`
    #[error("--set {given}: {reason}")]
    Set {
        /// as typed
        given: String,
        /// what would be right
        reason: String,
    },
    /// a key that is unknown, missing, mistyped or contradicts another
    #[error("{key}{place}: {reason}")]
    Key {
        /// with its tables, for example `train.steps`
        key: String,
        /// ` (FILE line N)`, ` (--set …)`, ` (preset NAME)`, or nothing
        place: String,
        /// what is wrong and what would be right
        reason: String,
    },
    /// the configuration holds something that TOML cannot say
    #[error("this configuration cannot be written as TOML: {0}")]
    Write(#[from] toml::ser::Error),
}

impl RunConfig {
    /// The configuration of preset, file and `key=value` sets, each over the one before, checked.
    pub fn resolve(preset: Option<&str>, file: Option<&Path>, sets: &[String]) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        layers.add_typed(preset, file, sets)?;
        layers.resolve()
    }

    /// The configuration of a healing: that of `heal.from`, whose network is `source`, and of the teacher, under the healing's own
    /// values, then the file and the `key=value` sets, each over the one before, checked.
    pub fn heal(
        heal: HealConfig,
        source: &model::Config,
        teacher: Option<&Path>,
        file: Option<&Path>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        layers.add_text("the values of a healing".into(), heal::VALUES)?;
        let name = format!("the model {}", heal.from.display());
        layers.add_text(name, &heal.layer(source)?)?;
        if let Some(teacher) = teacher {
            layers.add_text("the teacher".into(), &DistillConfig::layer(teacher)?)?;
        }
        layers.add_typed(None, file, sets)?;
        layers.resolve()
    }

    /// The configuration of a run that begins with `start.from`, whose network is `source`: the values of such a run, then the
    /// file and the `key=value` sets, each over the one before, checked.
    pub fn start(
        start: &StartConfig,
        source: &model::Config,
        file: Option<&Path>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        Self::begin(start, source, &[], file, sets)
    }

    /// The same for a run that learns an adapter beside that model's weights; `[lora]` says which.
    pub fn adapt(
        start: &StartConfig,
        source: &model::Config,
        file: Option<&Path>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        Self::begin(start, source, &[("the values of an adapter", lora::VALUES)], file, sets)
    }

    fn begin(
        start: &StartConfig,
        source: &model::Config,
        more: &[(&str, &str)],
        file: Option<&Path>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        layers.add_text("the values of a run from a model".into(), start::VALUES)?;
        layers.add_text(format!("the model {}", start.from.display()), &start.layer(source)?)?;
        for (name, text) in more {
            layers.add_text((*name).into(), text)?;
        }
        layers.add_typed(None, file, sets)?;
        layers.resolve()
    }

    /// The configuration that `text` holds alone, checked.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        layers.add_text("the configuration".into(), text)?;
        layers.resolve()
    }

    /// The resolved configuration as TOML, itself a valid input that gives the same configuration.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        Ok(toml::to_string(self)?)
    }

    /// Refuses what contradicts itself.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check::contradiction(self).map_err(|(key, reason)| ConfigError::Key {
            key,
            place: String::new(),
            reason,
        })
    }

    /// The model that the run begins with, if it does with one.
    pub fn origin(&self) -> Option<&Path> {
        let start = self.start.as_ref().map(|start| &start.from);
        self.heal.as_ref().map(|heal| &heal.from).or(start).map(PathBuf::as_path)
    }

    /// What is read, as the loader takes it.
    pub fn sources(&self) -> Vec<data::Source> {
        let source =
            |source: &SourceConfig| data::Source { path: source.path.clone(), weight: source.weight };
        self.data.iter().map(source).collect()
    }

    /// Learning rate, weight decay and λ of every step.
    pub fn schedule(&self) -> Result<Schedule, ConfigError> {
        let train = &self.train;
        let schedule = Schedule::new(&self.schedule, &self.lambda, train.weight_decay, train.steps);
        schedule.map_err(|error| ConfigError::Key {
            key: error.key.into(),
            place: String::new(),
            reason: error.reason,
        })
    }

    /// What is allowed but known to harm, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        check::warnings(self)
    }
}
