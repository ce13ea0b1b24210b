//! The vocabulary has one entry more than its base.
//!
//! 128257 against Llama-3's 128256, or one more than the tokenizer knows: a mask token was added, as block-diffusion
//! training does it, or a padding token. Engines that do not know it decode it as garbage, and a model that was
//! trained by diffusion is not an autoregressive one.
//!
//! Remedy: find out how the model was trained. For autoregressive use the last row can be cut where it was never
//! trained; for diffusion use a decoder that knows the mask.
//!
//! Source: a study's checkpoint with vocabulary 128257 (Fast-dLLM v2 trains with a mask token).

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct VocabularyPlusOne;

impl Rule for VocabularyPlusOne {
    fn code(&self) -> &'static str {
        "T502"
    }

    fn name(&self) -> &'static str {
        "vocabulary-plus-one"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let vocabulary = subject.vocabulary()? as usize;
        let base = BASES.iter().find(|base| **base + 1 == vocabulary);
        let tokenizer = subject.text.size.filter(|size| *size + 1 == vocabulary);
        let text = match (base, tokenizer) {
            (Some(base), _) => format!("{vocabulary} entries, one more than the {base} of a known base"),
            (None, Some(size)) => format!("{vocabulary} entries, one more than the {size} of its tokenizer"),
            _ => return None,
        };
        Some(Sign::warning(text))
    }
}

/// Vocabularies of base models: Llama-2, GPT-2, SmolLM2, Llama-3, Qwen2.5, Gemma.
const BASES: &[usize] = &[32_000, 50_257, 49_152, 128_256, 151_936, 256_000];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&VocabularyPlusOne, |s| s.config.as_mut().unwrap().vocabulary = 128_257);
        fires(&VocabularyPlusOne, |s| s.text.size = Some(255));
    }

    #[test]
    fn it_is_silent() {
        silent(&VocabularyPlusOne, |s| s.config.as_mut().unwrap().vocabulary = 128_256);
    }
}
