//! A pretrained model is quantised at once.
//!
//! A model that was trained densely loses what it knew when all of its weights are rounded to three values in one
//! step: the loss jumps from about 2 to about 13, and what follows is training from scratch at a fine-tuning rate. λ
//! from 0 to 1 over the first steps keeps it.
//!
//! Remedy: let λ grow (`lambda.kind = "fixed-n"`, reaching 1 at a fifth of the run).
//!
//! Source: Hugging Face's 1.58-bit fine-tuning study: Wikitext perplexity 12.2 with a warm-up of λ over 1000 of 5000
//! steps, initial loss 13 without.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct InstantQuantisation;

impl Rule for InstantQuantisation {
    fn code(&self) -> &'static str {
        "T114"
    }

    fn name(&self) -> &'static str {
        "instant-quantisation"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let recipe = &subject.recipe;
        let name = recipe.pretrained.as_ref()?;
        recipe
            .lambda_at_once
            .then(|| Sign::warning(format!("training starts from '{name}' with λ = 1 in the first step")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&InstantQuantisation, |s| s.recipe.pretrained = Some("meta-llama/Meta-Llama-3-8B".into()));
    }

    #[test]
    fn it_is_silent() {
        silent(&InstantQuantisation, |s| {
            s.recipe.pretrained = Some("meta-llama/Meta-Llama-3-8B".into());
            s.recipe.lambda_at_once = false;
        });
    }
}
