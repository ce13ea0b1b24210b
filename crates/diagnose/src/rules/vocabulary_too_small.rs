//! The tokenizer knows more tokens than the model.
//!
//! Ids beyond the embedding's rows cannot be looked up: engines stop, or read beyond the table. The embedding was cut,
//! or the tokenizer belongs to another model.
//!
//! Remedy: take the tokenizer that the model was trained with, or convert again without cutting the embedding.
//!
//! Source: the sizes of both.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct VocabularyTooSmall;

impl Rule for VocabularyTooSmall {
    fn code(&self) -> &'static str {
        "T503"
    }

    fn name(&self) -> &'static str {
        "vocabulary-too-small"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let (size, vocabulary) = (subject.text.size?, subject.vocabulary()? as usize);
        (size > vocabulary)
            .then(|| Sign::error(format!("the tokenizer has {size} tokens, the model {vocabulary}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&VocabularyTooSmall, |s| s.text.size = Some(300));
    }

    #[test]
    fn it_is_silent() {
        silent(&VocabularyTooSmall, |s| s.text.size = Some(200));
    }
}
