//! The GGUF does not say how text is cut before it is tokenized.
//!
//! Byte-level BPE works on pieces that a regular expression cuts, and `tokenizer.ggml.pre` names it. Without the key
//! llama.cpp warns and takes a default: digits and contractions of Llama-3 are then cut otherwise, ids are ones that the
//! model never saw together, and the output degrades.
//!
//! Remedy: write the key (`llama-bpe` for Llama-3's tokenizer, which BitNet 2B4T has); `trilobit export gguf` does.
//!
//! Source: llama.cpp's warning "GENERATION QUALITY WILL BE DEGRADED".

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct PreTokenizer;

impl Rule for PreTokenizer {
    fn code(&self) -> &'static str {
        "T506"
    }

    fn name(&self) -> &'static str {
        "pre-tokenizer"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        if subject.text.kind.as_deref() != Some("gpt2") {
            return None;
        }
        let tokens = subject.text.size.unwrap_or_default();
        match subject.text.pre.as_deref() {
            None => Some(Sign::error(format!(
                "tokenizer.ggml.pre is missing, of a byte-level tokenizer with {tokens} tokens"
            ))),
            Some("default" | "gpt-2" | "gpt2") if (128_000..=128_512).contains(&tokens) => {
                Some(Sign::warning(format!(
                    "tokenizer.ggml.pre is GPT-2's, and {tokens} tokens are those of Llama-3 (llama-bpe)"
                )))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&PreTokenizer, |s| s.text.kind = Some("gpt2".into()));
    }

    #[test]
    fn it_is_silent() {
        silent(&PreTokenizer, |s| {
            s.text.kind = Some("gpt2".into());
            s.text.pre = Some("llama-bpe".into());
        });
        silent(&PreTokenizer, |s| s.text.kind = Some("llama".into()));
    }
}
