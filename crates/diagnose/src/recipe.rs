//! How a model was, or will be, trained, whoever's trainer does it: the facts that rules need, found by key names.

use crate::keys::Keys;
use train::RunConfig;
use train::config::Optimizer as Own;
use train::schedule::{Kind, LambdaConfig, LambdaKind, Schedule, ScheduleConfig};

/// What weight decay is added to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Optimizer {
    /// the weights: decoupled
    Adamw,
    /// the gradient: coupled L2
    AdamL2,
    /// another one
    Other(String),
}

/// A training recipe; what is not said is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recipe {
    /// T
    pub steps: Option<u64>,
    /// whether T is only taken from where a log ends
    pub steps_guessed: bool,
    /// W
    pub warmup: Option<u64>,
    /// highest learning rate
    pub peak: Option<f64>,
    /// kind of the learning-rate curve, as it is named there
    pub schedule: Option<String>,
    /// weight decay of the first stage
    pub weight_decay: Option<f64>,
    /// weight decay of the second stage, where it is said
    pub weight_decay2: Option<f64>,
    /// which optimiser
    pub optimizer: Option<Optimizer>,
    /// decay of the mean of squares
    pub beta2: Option<f64>,
    /// largest norm of the gradient; 0 for no clipping
    pub clip: Option<f64>,
    /// sequences of a micro-batch
    pub batch: Option<f64>,
    /// micro-batches of a step
    pub accumulation: Option<f64>,
    /// tokens of a sequence
    pub sequence: Option<f64>,
    /// processes that each take a batch
    pub devices: Option<f64>,
    /// tokens that the run is meant to see
    pub target_tokens: Option<f64>,
    /// steps between evaluations
    pub eval_every: Option<u64>,
    /// λ at the last step
    pub lambda_end: Option<f64>,
    /// share of the run at which λ reaches 1
    pub lambda_full_at: Option<f64>,
    /// λ is 1 from the first step on
    pub lambda_at_once: bool,
    /// names of data sets
    pub data: Vec<String>,
    /// the model that training starts from
    pub pretrained: Option<String>,
    /// decay of an average of the weights
    pub weight_average: Option<f64>,
    /// weight of the language-model loss among several
    pub language_weight: Option<f64>,
    /// size of the vocabulary
    pub vocabulary: Option<u64>,
    /// number of parameters
    pub parameters: Option<f64>,
    /// the configuration itself, of our own runs
    pub own: Option<Box<RunConfig>>,
}

impl Recipe {
    /// Of one of our runs.
    pub fn of_run(config: &RunConfig) -> Self {
        let RunConfig { train, schedule, data, .. } = config;
        let curve = config.schedule().ok();
        let at = |step| curve.as_ref().map(|curve| curve.at(step));
        let peak =
            (0..=1000).filter_map(|n| at(train.steps * n / 1000)).map(|point| point.lr).fold(0.0, f64::max);
        let full = (0..=1000).find(|n| at(train.steps * n / 1000).is_some_and(|point| point.lambda >= FULL));
        Self {
            steps: Some(train.steps),
            warmup: schedule.warmup,
            peak: Some(peak).filter(|peak| *peak > 0.0),
            schedule: Some(schedule.kind.name().to_owned()),
            weight_decay: Some(train.weight_decay),
            weight_decay2: at(train.steps).map(|point| point.weight_decay),
            optimizer: Some(match train.optimizer {
                Own::Adamw => Optimizer::Adamw,
                Own::Adam => Optimizer::AdamL2,
                Own::Muon => Optimizer::Other("muon".into()),
            }),
            beta2: Some(train.beta2),
            clip: Some(train.clip),
            batch: Some(train.batch as f64),
            accumulation: Some(train.accumulation as f64),
            sequence: Some(train.sequence as f64),
            devices: Some(1.0),
            lambda_end: at(train.steps).map(|point| point.lambda),
            lambda_full_at: full.map(|n| n as f64 / 1000.0),
            lambda_at_once: config.lambda.kind == LambdaKind::One,
            data: data.iter().map(|source| source.path.to_string_lossy().into_owned()).collect(),
            own: Some(Box::new(config.clone())),
            ..Self::default()
        }
    }

    /// By the key names of other trainers: Hugging Face, nanotron, DeepSpeed, and the ones people write themselves.
    pub fn of_keys(keys: &Keys) -> Self {
        Self::optimisation(keys).or(Self::quantities(keys)).or(Self::surroundings(keys))
    }

    /// Rates, decays, the optimiser.
    fn optimisation(keys: &Keys) -> Self {
        let second = [
            "stage2_weight_decay",
            "weight_decay_stage2",
            "weight_decay2",
            "stage2_wd",
            "wd2",
            "final_weight_decay",
        ];
        let clip =
            ["max_grad_norm", "clip_grad", "gradient_clipping", "grad_clip", "clip", "gradient_clip_val"];
        let curve = ["lr_scheduler_type", "lr_decay_style", "schedule.kind", "lr_schedule", "scheduler.type"];
        Self {
            warmup: warmup(keys),
            peak: keys.number(&["learning_rate", "peak_lr", "max_lr", "schedule.peak", "lr", "base_lr"]),
            schedule: keys.text(&curve),
            weight_decay: keys.number(&["stage1_weight_decay", "stage1_wd", "weight_decay", "wd"]),
            weight_decay2: keys.number(&second),
            optimizer: optimizer(keys),
            beta2: keys.number(&["adam_beta2", "beta2", "betas.1"]),
            clip: keys.number(&clip),
            weight_average: keys.number(&["ema_decay", "ema", "weight_ema", "swa_lr", "ema_beta"]),
            ..Self::default()
        }
    }

    /// Steps, tokens, sizes.
    fn quantities(keys: &Keys) -> Self {
        let steps =
            ["max_steps", "train_steps", "total_steps", "num_steps", "train.steps", "num_training_steps"];
        let batch = [
            "per_device_train_batch_size",
            "micro_batch_size",
            "train_micro_batch_size_per_gpu",
            "batch_size",
            "train.batch",
        ];
        let accumulation = [
            "gradient_accumulation_steps",
            "batch_accumulation_per_replica",
            "grad_accum",
            "accumulation",
            "accumulation_steps",
        ];
        let sequence = [
            "max_seq_length",
            "sequence_length",
            "seq_length",
            "seq_len",
            "train.sequence",
            "block_size",
            "max_seq_len",
        ];
        let target = [
            "target_tokens",
            "total_tokens",
            "train_tokens",
            "max_tokens",
            "token_target",
            "max_train_tokens",
        ];
        let evaluations = [
            "eval_steps",
            "eval_interval",
            "eval_every",
            "evaluation_every",
            "val_check_interval",
            "validate_every",
        ];
        Self {
            steps: count(keys, &steps),
            batch: keys.number(&batch),
            accumulation: keys.number(&accumulation),
            sequence: keys.number(&sequence),
            devices: keys.number(&["world_size", "num_devices", "n_gpus", "parallelism.dp"]),
            target_tokens: keys.number(&target),
            eval_every: count(keys, &evaluations),
            vocabulary: count(keys, &["vocab_size", "model.vocabulary", "padded_vocab_size"]),
            parameters: keys.number(&["num_parameters", "total_params", "n_params"]),
            ..Self::default()
        }
    }

    /// λ, data, other losses, where training starts from.
    fn surroundings(keys: &Keys) -> Self {
        let ramp =
            keys.number(&["lambda_warmup.warmup_steps", "lambda_warmup_steps", "quantization_warmup_steps"]);
        let steps = Self::quantities(keys).steps.filter(|steps| *steps > 0);
        let least = keys.number(&["min_lambda", "lambda_min", "lambda_start", "initial_lambda"]);
        let data = [
            "dataset_name",
            "dataset",
            "datasets",
            "hf_dataset_or_datasets",
            "train_file",
            "data_path",
            "dataset_path",
        ];
        let language =
            ["continue_pretrain", "ce_weight", "lm_weight", "cross_entropy_weight", "lm_loss_weight"];
        let from =
            ["model_name_or_path", "init_from", "pretrained", "base_model", "teacher_init", "resume_weights"];
        Self {
            lambda_end: keys.number(&[
                "max_lambda",
                "lambda_max",
                "lambda_end",
                "final_lambda",
                "lambda_final",
            ]),
            lambda_full_at: ramp.zip(steps).map(|(ramp, steps)| ramp / steps as f64),
            lambda_at_once: least == Some(1.0),
            data: keys.texts(&data),
            pretrained: keys.text(&from),
            language_weight: keys.number(&language),
            ..Self::default()
        }
    }

    /// What is absent here is taken from `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            steps_guessed: if self.steps.is_some() { self.steps_guessed } else { other.steps_guessed },
            steps: self.steps.or(other.steps),
            warmup: self.warmup.or(other.warmup),
            peak: self.peak.or(other.peak),
            schedule: self.schedule.or(other.schedule),
            weight_decay: self.weight_decay.or(other.weight_decay),
            weight_decay2: self.weight_decay2.or(other.weight_decay2),
            optimizer: self.optimizer.or(other.optimizer),
            beta2: self.beta2.or(other.beta2),
            clip: self.clip.or(other.clip),
            batch: self.batch.or(other.batch),
            accumulation: self.accumulation.or(other.accumulation),
            sequence: self.sequence.or(other.sequence),
            devices: self.devices.or(other.devices),
            target_tokens: self.target_tokens.or(other.target_tokens),
            eval_every: self.eval_every.or(other.eval_every),
            lambda_end: self.lambda_end.or(other.lambda_end),
            lambda_full_at: self.lambda_full_at.or(other.lambda_full_at),
            lambda_at_once: self.lambda_at_once || other.lambda_at_once,
            data: if self.data.is_empty() { other.data } else { self.data },
            pretrained: self.pretrained.or(other.pretrained),
            weight_average: self.weight_average.or(other.weight_average),
            language_weight: self.language_weight.or(other.language_weight),
            vocabulary: self.vocabulary.or(other.vocabulary),
            parameters: self.parameters.or(other.parameters),
            own: self.own.or(other.own),
        }
    }

    /// Whether the learning rate is meant to follow a curve other than a two-stage one.
    pub fn names_another_curve(&self) -> bool {
        self.schedule.as_deref().is_some_and(|kind| !is_two_stage(kind))
    }

    /// Microsoft's schedule of this length and peak. `None` where steps or peak are not known, or cannot be.
    pub fn official(&self) -> Option<Schedule> {
        let config = ScheduleConfig {
            kind: Kind::Microsoft,
            peak: self.peak,
            warmup: self.warmup,
            ..ScheduleConfig::default()
        };
        self.peak?;
        Schedule::new(&config, &LambdaConfig::default(), self.weight_decay.unwrap_or(0.1), self.steps?).ok()
    }

    /// Tokens of one step, and how they come about, where all of it is said.
    pub fn tokens_per_step(&self) -> Option<(f64, String)> {
        let (batch, sequence) = (self.batch?, self.sequence?);
        let (accumulation, devices) = (self.accumulation.unwrap_or(1.0), self.devices.unwrap_or(1.0));
        let factors: Vec<String> = [batch, accumulation, devices]
            .iter()
            .filter(|factor| **factor != 1.0)
            .chain([&sequence])
            .map(f64::to_string)
            .collect();
        Some((batch * accumulation * devices * sequence, factors.join(" × ")))
    }
}

/// λ that counts as 1: sigmoid with k = 15 ends at 0.99945.
pub(crate) const FULL: f64 = 0.99;

/// A whole number; a negative one means none.
fn count(keys: &Keys, names: &[&str]) -> Option<u64> {
    keys.number(names).filter(|number| *number >= 0.0).map(|number| number as u64)
}

/// W as a number of steps, or where that is 0 as a share of all of them, as Hugging Face takes it.
fn warmup(keys: &Keys) -> Option<u64> {
    let names = ["lr_warmup_steps", "warmup_steps", "schedule.warmup", "num_warmup_steps", "warmup"];
    let stated = count(keys, &names);
    match keys.number(&["warmup_ratio"]).filter(|share| *share > 0.0) {
        Some(share) if stated.unwrap_or(0) == 0 => {
            let steps = Recipe::quantities(keys).steps.filter(|steps| *steps > 0)?;
            Some((share * steps as f64).ceil() as u64)
        }
        _ => stated,
    }
}

fn is_two_stage(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    kind.contains("microsoft") || kind.contains("two") || kind.contains("stage") || kind.contains("bitnet")
}

fn optimizer(keys: &Keys) -> Option<Optimizer> {
    let names = [
        "optimizer.type",
        "optimizer.name",
        "optimizer_factory.name",
        "optim",
        "optimizer",
        "optimizer_type",
    ];
    let name = keys.text(&names)?.to_ascii_lowercase();
    let decoupled = keys.flag(&["adam_w_mode", "decoupled_weight_decay"]);
    Some(match name.rsplit('.').next() {
        _ if name.contains("adamw") || name.contains("adam_w") => Optimizer::Adamw,
        Some("adam") => match decoupled.unwrap_or_else(|| DECOUPLING.iter().any(|key| keys.has(key))) {
            true => Optimizer::Adamw,
            false => Optimizer::AdamL2,
        },
        _ => Optimizer::Other(name),
    })
}

/// Keys of DeepSpeed, then of Megatron: what is called Adam there is AdamW unless it is told otherwise.
const DECOUPLING: [&str; 7] = [
    "train_micro_batch_size_per_gpu",
    "zero_optimization",
    "micro_batch_size",
    "lr_decay_style",
    "lr_decay_iters",
    "train_iters",
    "tensor_model_parallel_size",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn recipe(value: serde_json::Value) -> Recipe {
        Recipe::of_keys(&Keys::of(&value))
    }

    #[test]
    fn keys_of_three_trainers_are_found() {
        let trainer = recipe(json!({"learning_rate": 1.5e-3, "optim": "adamw_torch", "weight_decay": 0.1,
            "per_device_train_batch_size": 32, "gradient_accumulation_steps": 16, "max_seq_length": 2048, "max_steps": 10000}));
        assert_eq!(trainer.tokens_per_step().unwrap(), (1_048_576.0, "32 × 16 × 2048".into()));
        assert_eq!((trainer.optimizer, trainer.peak), (Some(Optimizer::Adamw), Some(1.5e-3)));
        let nanotron = recipe(json!({"optimizer": {"weight_decay": 0.01, "clip_grad": 1.0,
            "optimizer_factory": {"name": "adamW"}, "learning_rate_scheduler": {"learning_rate": 3e-4, "lr_warmup_steps": 100,
            "lr_decay_style": "cosine"}}, "tokens": {"train_steps": 500, "sequence_length": 1024, "micro_batch_size": 2,
            "batch_accumulation_per_replica": 4}, "parallelism": {"dp": 8}}));
        assert_eq!(nanotron.tokens_per_step().unwrap().0, 65_536.0);
        assert_eq!((nanotron.steps, nanotron.warmup, nanotron.peak), (Some(500), Some(100), Some(3e-4)));
        assert!(nanotron.names_another_curve());
        let deepspeed = |extra: &str| {
            recipe(serde_json::from_str(&format!(
            r#"{{"train_micro_batch_size_per_gpu": 4, "optimizer": {{"type": "Adam", "params": {{"lr": 1e-4, "betas": [0.9, 0.95] {extra}}}}}}}"#
        )).unwrap())
        };
        assert_eq!(deepspeed("").optimizer, Some(Optimizer::Adamw));
        assert_eq!(deepspeed(", \"adam_w_mode\": false").optimizer, Some(Optimizer::AdamL2));
        assert_eq!(deepspeed("").beta2, Some(0.95));
    }

    #[test]
    fn only_an_adam_that_couples_is_called_so() {
        let megatron = json!({"optimizer": "adam", "micro-batch-size": 4, "lr-decay-style": "cosine", "weight-decay": 0.1});
        assert_eq!(recipe(megatron.clone()).optimizer, Some(Optimizer::Adamw));
        let mut coupled = megatron;
        coupled["decoupled_weight_decay"] = json!(false);
        for (value, expected) in [
            (coupled, Optimizer::AdamL2),
            (json!({"optimizer": "adam", "decoupled_weight_decay": true}), Optimizer::Adamw),
            (json!({"optimizer": "torch.optim.Adam"}), Optimizer::AdamL2),
            (json!({"optimizer": "torch.optim.AdamW"}), Optimizer::Adamw),
            (json!({"optim": "adam_mini"}), Optimizer::Other("adam_mini".into())),
            (json!({"optim": "stableadam"}), Optimizer::Other("stableadam".into())),
        ] {
            assert_eq!(recipe(value.clone()).optimizer, Some(expected), "{value}");
        }
    }

    #[test]
    fn a_warm_up_may_be_a_share_of_the_steps() {
        for (value, expected) in [
            (json!({"warmup_steps": 0, "warmup_ratio": 0.03, "max_steps": 1010}), Some(31)),
            (json!({"warmup_ratio": 0.03, "max_steps": 1000}), Some(30)),
            (json!({"warmup_steps": 50, "warmup_ratio": 0.03, "max_steps": 1000}), Some(50)),
            (json!({"warmup_steps": 0, "warmup_ratio": 0.0, "max_steps": 1000}), Some(0)),
            (json!({"warmup_steps": 0, "warmup_ratio": 0.03, "max_steps": -1}), None),
            (json!({"max_steps": 1000}), None),
        ] {
            assert_eq!(recipe(value.clone()).warmup, expected, "{value}");
        }
    }

    #[test]
    fn the_official_schedule_needs_length_and_peak() {
        assert!(Recipe::default().official().is_none());
        let recipe = Recipe { steps: Some(100_000), peak: Some(1.5e-3), ..Recipe::default() };
        let rate = recipe.official().unwrap().at(50_000).lr;
        assert!((rate - 5.1683e-4).abs() < 1e-8, "{rate}");
    }
}
