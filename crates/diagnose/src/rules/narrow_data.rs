//! The training data is narrow, or seen many times.
//!
//! Three values a weight leave less room for what was seen rarely; ternary models trained on one kind of text
//! generalise worse than dense ones. Fine-tuned on TinyStories alone, a ternary Llama-3-8B had a Wikitext perplexity
//! of 42; on diverse web text 12.
//!
//! The rule warns where every named data set is of one narrow kind, and where the run sees its distinct tokens more
//! than 16 times.
//!
//! Remedy: train on diverse text (FineWeb-Edu or the like), or mix the narrow set into it; more distinct tokens
//! instead of more passes.
//!
//! Source: Hugging Face's 1.58-bit fine-tuning study; Muennighoff et al., "Scaling Data-Constrained Language Models"
//! (gains vanish beyond 16 passes).

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct NarrowData;

impl Rule for NarrowData {
    fn code(&self) -> &'static str {
        "T112"
    }

    fn name(&self) -> &'static str {
        "narrow-data"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        if !subject.is_ternary() {
            return None;
        }
        let data = &subject.recipe.data;
        let is_narrow = |name: &String| {
            let name = name.to_ascii_lowercase().replace(['-', '_', ' '], "");
            NARROW.iter().any(|narrow| name.contains(narrow))
        };
        if !data.is_empty() && data.iter().all(is_narrow) {
            return Some(Sign::warning(format!(
                "all of its data is of one narrow kind: {}",
                data.join(", ")
            )));
        }
        let (seen, distinct) =
            (subject.progress.tokens?, subject.progress.train_tokens.filter(|n| *n > 0.0)?);
        let passes = seen / distinct;
        let text = format!(
            "{} tokens seen of {} distinct ones: {} passes",
            number(seen),
            number(distinct),
            number(passes)
        );
        (passes > 16.0).then(|| Sign::warning(text))
    }
}

/// Data sets of one kind of text, by parts of their names.
const NARROW: &[&str] =
    &["tinystories", "shakespeare", "ptb", "imdb", "gsm8k", "lambada", "alpaca", "bookcorpus"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&NarrowData, |s| s.recipe.data = vec!["roneneldan/TinyStories".into()]);
        let found = fires(&NarrowData, |s| s.progress.train_tokens = Some(10_000.0));
        assert!(found.evidence.contains("passes"), "{}", found.evidence);
    }

    #[test]
    fn it_is_silent() {
        silent(&NarrowData, |s| s.recipe.data = vec!["TinyStories".into(), "fineweb-edu".into()]);
    }
}
