//! The four states of a model that trains: uniform, unigram, degenerate, healthy; told from what its records say.
//!
//! Two marks measure the loss: ln V, what a model pays that finds every token equally likely, and the unigram entropy of the
//! data, what one pays that knows how frequent each token is and looks at no context. `progress` is the share of the way from
//! the first to the second that a loss has come: 0 at ln V, 1 at the unigram entropy, more where context helps.

use crate::metrics::{Record, Step};
use std::fmt;

/// What a model is able to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// every token is about equally likely: nothing is known, or everything is forgotten
    Uniform,
    /// how frequent tokens are is known, what stands before them makes no difference
    Unigram,
    /// whatever it is asked, it gives the same few answers, sure of them or wrong
    Degenerate,
    /// context changes the answer and lowers the loss
    Healthy,
}

impl State {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Uniform, Self::Unigram, Self::Degenerate, Self::Healthy];

    /// The name as it is written in records and claims.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Unigram => "unigram",
            Self::Degenerate => "degenerate",
            Self::Healthy => "healthy",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a loss is measured against; from the run's facts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Marks {
    /// ln V, nats
    pub ln_vocabulary: f64,
    /// of the training data, nats a token
    pub unigram_entropy: f64,
}

/// What a model was seen to do at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// nats a token, smoothed or of the validation split
    pub loss: f64,
    /// distinct answers to 20 prompts of nonsense
    pub unique_tokens: u32,
    /// mean entropy of the answers, nats
    pub output_entropy: f64,
}

/// A loss this far above ln V says that the model is sure of what is wrong.
const WORSE_THAN_UNIFORM: f64 = 1.05;
/// Below this share of the way to the unigram entropy the output is as good as uniform.
const UNIGRAM_PROGRESS_MIN: f64 = 0.25;
/// Beyond this, context must have helped: the mean of 50 losses of small batches strays by less.
const CONTEXT_PROGRESS_MIN: f64 = 1.03;
/// Distinct answers of 20, up to which a model that is sure of them repeats itself.
const FEW_TOKENS_MAX: u32 = 3;
/// Entropy of the answers, relative to the unigram entropy, below which a model is sure of them.
const SURE_ENTROPY_MAX: f64 = 0.5;
/// Lines of the metrics whose mean is the loss at a moment.
pub const LOSS_WINDOW: usize = 50;

impl Marks {
    /// Share of the way from ln V to the unigram entropy. `None` where the marks leave no way between them.
    pub fn progress(&self, loss: f64) -> Option<f64> {
        let way = self.ln_vocabulary - self.unigram_entropy;
        let sound = way.is_finite() && way > 0.0 && loss.is_finite();
        sound.then(|| (self.ln_vocabulary - loss) / way)
    }

    /// The state that these figures speak of; `None` where one of them is not finite.
    pub fn state(&self, seen: Seen) -> Option<State> {
        let progress = self.progress(seen.loss)?;
        if !seen.output_entropy.is_finite() {
            return None;
        }
        let is_sure = seen.output_entropy < SURE_ENTROPY_MAX * self.unigram_entropy;
        let repeats = seen.unique_tokens <= FEW_TOKENS_MAX;
        Some(match progress {
            _ if seen.loss > WORSE_THAN_UNIFORM * self.ln_vocabulary => State::Degenerate,
            _ if repeats && is_sure => State::Degenerate,
            p if p < UNIGRAM_PROGRESS_MIN => State::Uniform,
            p if p < CONTEXT_PROGRESS_MIN => State::Unigram,
            _ if seen.unique_tokens <= 1 => State::Degenerate,
            _ => State::Healthy,
        })
    }
}

/// Mean of the finite training losses of the last [`LOSS_WINDOW`] lines up to `line`, that line included.
pub fn smoothed_loss(steps: &[Step], line: usize) -> Option<f64> {
    let from = (line + 1).saturating_sub(LOSS_WINDOW);
    let losses = steps.get(from..=line)?.iter().map(|step| step.loss).filter(|loss| loss.is_finite());
    let (sum, count) = losses.fold((0.0, 0u32), |(sum, count), loss| (sum + loss, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// What the record of line `line` saw; `None` where the line has none. A loss that still falls fast is smoothed over lines of a
/// tenth of the run so far at most, so that the beginning does not weigh on it.
pub fn seen(steps: &[Step], line: usize) -> Option<Seen> {
    let Record { unique_tokens, output_entropy, validation_loss, .. } = &steps.get(line)?.record;
    let from = line - (line / 10).min(LOSS_WINDOW - 1);
    let loss = match validation_loss {
        Some(loss) => *loss,
        None => smoothed_loss(&steps[from..=line], line - from)?,
    };
    Some(Seen { loss, unique_tokens: (*unique_tokens)?, output_entropy: (*output_entropy)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GPT-2's vocabulary on English text.
    const MARKS: Marks = Marks { ln_vocabulary: 10.825, unigram_entropy: 7.2 };

    fn state(loss: f64, unique_tokens: u32, output_entropy: f64) -> Option<State> {
        MARKS.state(Seen { loss, unique_tokens, output_entropy })
    }

    #[test]
    fn the_studys_figures_have_their_names() {
        for (loss, unique, entropy, expected) in [
            (10.98, 20, 10.8, State::Uniform),
            (10.82, 2, 10.8, State::Uniform),
            (10.10, 2, 10.3, State::Uniform),
            (7.25, 10, 7.1, State::Unigram),
            (8.5, 1, 7.9, State::Unigram),
            (7.25, 1, 0.4, State::Degenerate),
            (19.0, 12, 2.0, State::Degenerate),
            (6.0, 1, 6.0, State::Degenerate),
            (5.0, 11, 4.0, State::Healthy),
        ] {
            assert_eq!(state(loss, unique, entropy), Some(expected), "{loss} {unique} {entropy}");
        }
    }

    #[test]
    fn figures_that_are_none_have_no_state() {
        assert_eq!(state(f64::NAN, 3, 1.0), None);
        assert_eq!(state(5.0, 3, f64::INFINITY), None);
        let flat = Marks { ln_vocabulary: 7.0, unigram_entropy: 7.0 };
        assert_eq!(flat.state(Seen { loss: 5.0, unique_tokens: 9, output_entropy: 4.0 }), None);
        assert_eq!(Marks { unigram_entropy: f64::NAN, ..MARKS }.progress(5.0), None);
    }

    #[test]
    fn the_loss_of_a_moment_is_that_of_the_lines_before_it() {
        let mut steps: Vec<Step> =
            (0..200).map(|step| Step { step, loss: 10.0 - step as f64 / 100.0, ..Step::default() }).collect();
        steps[150].loss = f64::NAN;
        assert_eq!(smoothed_loss(&steps, 0), Some(10.0));
        assert!((smoothed_loss(&steps, 199).unwrap() - 8.25).abs() < 1e-9);
        assert_eq!(smoothed_loss(&steps, 200), None);
        assert_eq!(seen(&steps, 100), None, "no record");
        steps[100].record = Record { unique_tokens: Some(4), output_entropy: Some(3.0), ..Record::default() };
        assert!((seen(&steps, 100).unwrap().loss - 9.05).abs() < 1e-9, "the mean of eleven lines");
        steps[100].record.validation_loss = Some(2.0);
        assert_eq!(seen(&steps, 100).unwrap().loss, 2.0);
    }
}
