//! The rotary base is not that of the tokenizer's family.
//!
//! Models with Llama-3's vocabulary turn queries and keys with a base of 500000. A base of 10000 there is a default
//! that somebody forgot to replace: short prompts look right and long ones fall apart.
//!
//! Remedy: set `rope_theta` (`rope.freq_base`) to 500000, if the model was trained so.
//!
//! Source: the configurations of Llama-3 and BitNet 2B4T.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct RopeBase;

impl Rule for RopeBase {
    fn code(&self) -> &'static str {
        "T510"
    }

    fn name(&self) -> &'static str {
        "rope-base"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let config = subject.config.as_ref()?;
        let is_llama3 = (128_000..=128_512).contains(&config.vocabulary);
        let text =
            format!("the base is {} with a vocabulary of {}", number(config.rope_theta), config.vocabulary);
        (is_llama3 && config.rope_theta <= 20_000.0).then(|| Sign::warning(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&RopeBase, |s| s.config.as_mut().unwrap().vocabulary = 128_256);
    }

    #[test]
    fn it_is_silent() {
        silent(&RopeBase, |s| {
            s.config.as_mut().unwrap().vocabulary = 128_256;
            s.config.as_mut().unwrap().rope_theta = 500_000.0;
        });
    }
}
