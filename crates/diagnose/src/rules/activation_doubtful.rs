//! The gate's activation is not said, or not what the family has.
//!
//! BitNet b1.58 2B4T has squared ReLU, Llama-like ternary models have SiLU. The wrong one gives fluent text that loops
//! and a perplexity of about 100 instead of 17. A Hugging Face folder without `hidden_act` and a GGUF of architecture
//! `bitnet` without that key leave it to the reader, and readers differ: mainline llama.cpp computes SiLU for
//! `bitnet`, bitnet.cpp squared ReLU for `bitnet-b1.58`.
//!
//! Remedy: write the activation into the file (`hidden_act`); the probe P104 finds which it is, and `--fix OUT` writes
//! it.
//!
//! Source: issues 588 and 602 of microsoft/BitNet (perplexity 17.1 and 99.8).

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct ActivationDoubtful;

impl Rule for ActivationDoubtful {
    fn code(&self) -> &'static str {
        "T504"
    }

    fn name(&self) -> &'static str {
        "activation-doubtful"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        if !subject.declared.is_bitnet() {
            return None;
        }
        let architecture = subject.declared.architecture.as_deref()?;
        match subject.declared.activation.as_deref() {
            None if architecture == "bitnet-b1.58" => None,
            None => Some(Sign::warning(format!(
                "{architecture} does not say its activation (hidden_act); readers take relu2 or silu"
            ))),
            Some("relu2" | "silu" | "swish") => None,
            Some(other) => Some(Sign::error(format!(
                "{architecture} says '{other}', which no ternary model is trained with"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&ActivationDoubtful, |s| s.declared.architecture = Some("BitNetForCausalLM".into()));
        fires(&ActivationDoubtful, |s| {
            s.declared.architecture = Some("bitnet".into());
            s.declared.activation = Some("gelu".into());
        });
    }

    #[test]
    fn it_is_silent() {
        silent(&ActivationDoubtful, |s| {
            s.declared.architecture = Some("BitNetForCausalLM".into());
            s.declared.activation = Some("relu2".into());
        });
    }
}
