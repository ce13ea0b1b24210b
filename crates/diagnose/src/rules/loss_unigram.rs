//! The loss is that of counting tokens.
//!
//! A model that knows how common each token is, and nothing of what stands before it, has the entropy of the token
//! frequencies as its loss. A run that ends there has not learned to use context: its answers are the same few common
//! tokens after any prompt.
//!
//! Before the second stage begins this is a note.
//!
//! Remedy: train longer and with a higher rate in the first stage; check positions and the attention mask.
//!
//! Source: the training data's unigram entropy, which `data prepare` counts; the collapse study's 7.2 is close to that
//! of its data.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct LossUnigram;

impl Rule for LossUnigram {
    fn code(&self) -> &'static str {
        "T304"
    }

    fn name(&self) -> &'static str {
        "loss-unigram"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let loss = subject.tail_mean(|point| point.loss, 0.05)?;
        let unigram = subject.progress.unigram_entropy?;
        let done = subject.steps_done()?;
        if done < 100 || subject.series.len() < 20 || (loss / unigram - 1.0).abs() > 0.03 {
            return None;
        }
        let text = format!(
            "the loss is {} at the end of the log, and the unigram entropy of the data {}",
            number(loss),
            number(unigram)
        );
        Some(if subject.is_before_switch() { Sign::note(text) } else { Sign::error(text) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&LossUnigram, |s| s.series.iter_mut().for_each(|point| point.loss = Some(4.6)));
    }

    #[test]
    fn it_is_silent() {
        silent(&LossUnigram, |s| {
            s.series.iter_mut().for_each(|point| point.loss = Some(4.6));
            s.progress.unigram_entropy = None;
        });
    }
}
