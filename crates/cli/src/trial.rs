//! The last check of a conversion: what was written and what it was made of answer the same prompts.

use crate::source::{Bar, SourceArgs};
use anyhow::Result;
use checkpoint::{Loaded, Phase, Progress, Written};
use formats::{FileError, Kind};
use infer::{Agreement, Answers, InferError};
use model::Source;
use std::path::PathBuf;

/// A model to convert, and how what was written is tried.
#[derive(clap::Args)]
pub struct TrialArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Do not run prompts through the model and through what was written (which loads one engine after the other)
    #[arg(long)]
    no_prompts: bool,
}

impl TrialArgs {
    /// Opens the model.
    pub fn open(&self) -> Result<Loaded> {
        self.source.open()
    }

    /// Shows how far the conversion of `model` to `out` is, and tries what it made.
    pub fn trial(&self, model: &Loaded, out: &std::path::Path) -> Result<Trial> {
        let prompts = match self.no_prompts {
            true => None,
            false => Some(infer::prompts(model.config().vocabulary, infer::tokenizer(model)?.as_ref())),
        };
        Ok(Trial {
            bar: Bar::new(),
            prompts,
            out: out.to_owned(),
            outcome: "prompts were not run".to_owned(),
        })
    }
}

/// A conversion that is watched and tried.
pub struct Trial {
    bar: Bar,
    /// none where they are not wanted
    prompts: Option<Vec<Vec<u32>>>,
    out: PathBuf,
    outcome: String,
}

impl Trial {
    /// Takes the bar away and says how the prompts went.
    pub fn finish(self) -> String {
        self.bar.finish();
        self.outcome
    }
}

/// Relative difference of logits that int8 activations may make of any difference at all: another order of additions, or a
/// scale moved by 2⁻¹¹, moves single activation codes by one, and later layers enlarge that.
const FLIPS: f32 = 0.1;
/// Relative difference of logits for each unit of rounding: the rounded values enter the embedding and the head, and what the
/// layers make of the former is not smaller.
const PER_ROUNDING: f32 = 8.0;

/// Why there is no agreement.
pub const NO_ROOM: &str = "prompts were not run: the memory left does not hold the network";

/// The largest relative difference of logits that is no sign of a mistake.
pub fn allowed(rounding: f32) -> f32 {
    FLIPS + PER_ROUNDING * rounding
}

/// Runs the prompts through both networks, one engine at a time; `None` where there is no room for them.
///
/// # Errors
/// What reading says; logits that are not finite.
pub fn compare(
    source: &dyn Source,
    written: &dyn Source,
    prompts: &[Vec<u32>],
) -> Result<Option<Agreement>, InferError> {
    let answers = match Answers::of(source, prompts, None) {
        Err(InferError::TooLarge { .. }) => return Ok(None),
        answers => answers?,
    };
    Ok(Some(answers.agreement(&Answers::of(written, prompts, Some(&answers))?)))
}

/// What the agreement was, for people.
pub fn say(agreement: &Agreement) -> String {
    let Agreement { prompts, tokens, equal, largest } = agreement;
    format!(
        "{prompts} prompts: {equal} of {tokens} greedy tokens equal, logits within {largest:.1e} of the largest"
    )
}

impl Progress for Trial {
    fn begin(&mut self, phase: Phase, tensors: usize) {
        self.bar.begin(phase, tensors);
    }

    fn advance(&mut self, name: &str) {
        self.bar.advance(name);
    }

    fn judge(&mut self, written: &Written) -> Result<(), FileError> {
        let Some(prompts) = &self.prompts else {
            return Ok(());
        };
        if written.source.config().linear != written.written.config().linear {
            self.outcome = "prompts were not run: quantising made another model".to_owned();
            return Ok(());
        }
        let unfit = |what: String, remedy: &str| FileError::new(&self.out, Kind::Unfit, what, remedy);
        let agreement = match compare(written.source, written.written, prompts) {
            Err(InferError::File(error)) => return Err(error),
            Err(error) => {
                let what = format!("the prompts that try it cannot be answered: {error}");
                return Err(unfit(what, "to write it all the same, use --no-prompts"));
            }
            Ok(None) => {
                self.outcome = NO_ROOM.to_owned();
                return Ok(());
            }
            Ok(Some(agreement)) => agreement,
        };
        // Where every value is the same, every bit of the answers is.
        let same = written.rounding == 0.0 && written.source.config() == written.written.config();
        let allowed = if same { 0.0 } else { allowed(written.rounding) };
        if agreement.largest > allowed {
            let what = format!(
                "it answers differently from what it was made of ({}; the types explain {allowed:.1e}), so it was not kept",
                say(&agreement)
            );
            return Err(unfit(what, "report this; to write it all the same, use --no-prompts"));
        }
        self.outcome = say(&agreement);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(no_prompts: bool) -> Trial {
        let prompts = (!no_prompts).then(|| infer::prompts(config().vocabulary, None));
        Trial { bar: Bar::new(), prompts, out: "out".into(), outcome: String::new() }
    }

    fn config() -> model::Config {
        model::presets::model("tiny").unwrap()
    }

    #[test]
    fn another_network_of_the_same_shape_is_refused_with_the_way_out() {
        let (source, other) = (model::Random::new(&config(), 0), model::Random::new(&config(), 1));
        let pair = |written, rounding| Written { source: &source, written, rounding };
        let mut trial = trial(false);
        trial.judge(&pair(&source, 0.0)).unwrap();
        assert!(
            trial.outcome.contains("64 of 64 greedy tokens equal, logits within 0.0e0"),
            "{}",
            trial.outcome
        );
        let sentence = trial.judge(&pair(&other, 0.5 / 31.0)).unwrap_err().to_string();
        assert!(sentence.contains("--no-prompts") && sentence.contains("so it was not kept"), "{sentence}");
    }

    #[test]
    fn what_is_not_wanted_or_makes_no_sense_is_not_run() {
        let source = model::Random::new(&config(), 0);
        let dense = model::Config { linear: model::LinearKind::Dense, ..config() };
        let other = model::Random::new(&dense, 0);
        let written = Written { source: &source, written: &other, rounding: 0.0 };
        trial(true).judge(&written).unwrap();
        let mut trial = trial(false);
        trial.judge(&written).unwrap();
        assert!(trial.outcome.contains("quantising"), "{}", trial.outcome);
    }
}
