//! What a configuration must not say, and what it had better not.

use super::{LoraConfig, Optimizer, RunConfig, SourceConfig, TrainConfig};

/// The key and the reason of the first contradiction.
pub(super) type Contradiction = (String, String);

/// Most tokens of one forward and backward: sizes the activations.
const BATCH_TOKENS_MAX: usize = 1 << 24;
/// λ below this at the end is warned about.
const LAMBDA_END_MIN: f64 = 0.99;

pub(super) fn contradiction(config: &RunConfig) -> Result<(), Contradiction> {
    let RunConfig { model, train, .. } = config;
    model.validate().map_err(|error| (format!("model.{}", error.key), error.reason))?;
    if model.vocabulary < 2 {
        return fail("model.vocabulary", "1 leaves nothing to predict; set it to the tokenizer's size");
    }
    if train.sequence > model.context {
        let reason = format!(
            "{} tokens are longer than model.context = {}; shorten the sequence or lengthen the context",
            train.sequence, model.context
        );
        return fail("train.sequence", reason);
    }
    counts(train)?;
    numbers(train)?;
    if let Some((key, reason)) = config.distill.as_ref().and_then(|distill| distill.contradiction(model)) {
        return fail(key, reason);
    }
    if let Some((key, reason)) = LoraConfig::unfit(config) {
        return fail(key, reason);
    }
    beginning(config)?;
    config.data.iter().enumerate().try_for_each(|(index, source)| source_weight(index, source))?;
    match config.schedule() {
        Ok(_) => Ok(()),
        Err(super::ConfigError::Key { key, reason, .. }) => Err((key, reason)),
        Err(other) => fail("schedule", other.to_string()),
    }
}

/// What the run begins with, and what it reads in the words of that.
fn beginning(config: &RunConfig) -> Result<(), Contradiction> {
    if config.start.is_some() && config.heal.is_some() {
        return fail("start.from", "a healing begins with heal.from; leave one of them out");
    }
    let Some(sft) = &config.sft else { return Ok(()) };
    if config.origin().is_none() {
        let reason = "conversations are told in the words of the model that learns them; name it with --from";
        return fail("sft.files", reason);
    }
    if sft.files.is_empty() {
        return fail("sft.files", "names no file of conversations");
    }
    if !config.data.is_empty() {
        return fail("sft.files", "a run reads conversations or [[data]]; leave one of them out");
    }
    if !(sft.valid_share > 0.0 && sft.valid_share <= 0.5) {
        return fail("sft.valid_share", format!("{} is not above 0 and at most 0.5", sft.valid_share));
    }
    if !config.train.document_mask {
        let reason = "conversations lie side by side in a window and are kept apart by it; leave it true";
        return fail("train.document_mask", reason);
    }
    Ok(())
}

fn fail(key: &str, reason: impl Into<String>) -> Result<(), Contradiction> {
    Err((key.into(), reason.into()))
}

/// Most sequences of a run.
const SEQUENCES_MAX: u64 = 1 << 42;

/// Whole numbers, which also bound every product of them.
fn counts(train: &TrainConfig) -> Result<(), Contradiction> {
    let limits: [(&str, u64, u64, u64); 12] = [
        ("train.steps", train.steps, 1, 1 << 40),
        ("train.stop_after", train.stop_after.unwrap_or(1), 1, 1 << 40),
        ("train.seed", train.seed, 0, i64::MAX as u64),
        ("train.batch", train.batch as u64, 1, 1 << 20),
        ("train.sequence", train.sequence as u64, 1, 1 << 21),
        ("train.accumulation", train.accumulation as u64, 1, 1 << 20),
        ("train.threads", train.threads as u64, 0, 1024),
        ("train.checkpoint_every", train.checkpoint_every, 0, 1 << 40),
        ("train.record_every", train.record_every, 1, 1 << 40),
        ("train.validate_batches", train.validate_batches as u64, 0, 1 << 20),
        ("train.keep_last", train.keep_last as u64, 1, 1 << 20),
        ("train.spike_window", train.spike_window as u64, 1, 1 << 20),
    ];
    for (key, value, least, most) in limits {
        if !(least..=most).contains(&value) {
            return fail(key, format!("{value} is outside {least}..={most}"));
        }
    }
    // 2^44 tokens a step times 2^40 steps would overflow.
    let sequences = train.steps.saturating_mul(train.batch as u64 * train.accumulation as u64);
    if sequences > SEQUENCES_MAX {
        let reason = format!(
            "{} steps of {} × {} sequences are {sequences} sequences, more than {SEQUENCES_MAX}",
            train.steps, train.batch, train.accumulation
        );
        return fail("train.steps", reason);
    }
    let tokens = train.batch * train.sequence;
    if tokens > BATCH_TOKENS_MAX {
        let reason = format!(
            "{} sequences of {} are {tokens} tokens at once, more than {BATCH_TOKENS_MAX}; use train.accumulation for larger batches",
            train.batch, train.sequence
        );
        return fail("train.batch", reason);
    }
    Ok(())
}

fn numbers(train: &TrainConfig) -> Result<(), Contradiction> {
    let infinity = f64::INFINITY;
    let ranges = [
        ("train.beta1", train.beta1, 0.0, 1.0),
        ("train.beta2", train.beta2, 0.0, 1.0),
        ("train.epsilon", train.epsilon, f64::MIN_POSITIVE, infinity),
        ("train.weight_decay", train.weight_decay, 0.0, infinity),
        ("train.clip", train.clip, 0.0, infinity),
        ("train.z_loss", train.z_loss, 0.0, infinity),
        ("train.label_smoothing", train.label_smoothing, 0.0, 1.0),
    ];
    for (key, value, least, below) in ranges {
        if !(least..below).contains(&value) {
            let reason = match key {
                "train.epsilon" => format!("{value} is not a number above 0"),
                _ if below == infinity => format!("{value} is not a number ≥ 0"),
                _ => format!("{value} is not at least {least} and below {below}"),
            };
            return fail(key, reason);
        }
    }
    if !(train.spike_ratio.is_finite() && train.spike_ratio > 1.0) {
        let reason = format!("{} would call ordinary losses spikes; set it above 1", train.spike_ratio);
        return fail("train.spike_ratio", reason);
    }
    Ok(())
}

fn source_weight(index: usize, source: &SourceConfig) -> Result<(), Contradiction> {
    if source.weight.is_finite() && source.weight > 0.0 {
        return Ok(());
    }
    let reason = format!("{} is not a number above 0; leave the source out instead", source.weight);
    fail(&format!("data.{index}.weight"), reason)
}

pub(super) fn warnings(config: &RunConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    let ternary = config.model.linear == model::LinearKind::Ternary;
    if config.train.optimizer == Optimizer::Adam && config.train.weight_decay > 0.0 {
        let mut warning = String::from(
            "train.optimizer = \"adam\" adds the weight decay to the gradient (coupled L2): where the gradient is small, \
             Adam's normalisation turns it into steps of the full learning rate towards 0",
        );
        if ternary {
            warning += "; latent weights then lose their margin to the rounding threshold, ternary codes flip, and the model can fall to uniform output";
        }
        warnings.push(warning + ". \"adamw\" decouples it.");
    }
    let steps = config.train.steps;
    let lambda = |step| config.schedule().map_or(1.0, |schedule| schedule.at(step).lambda);
    let end = lambda(config.train.last());
    if ternary && end < LAMBDA_END_MIN {
        let remedy = match lambda(steps) >= LAMBDA_END_MIN {
            true => "Let it go on beyond train.stop_after, or let λ grow sooner.",
            false => "Use a larger lambda.k.",
        };
        warnings.push(format!(
            "λ ends at {end:.4}, but an export always has λ = 1: the exported model is not the trained one. {remedy}"
        ));
    }
    warnings
}
