//! Whether the model predicts plain English better than guessing.
//!
//! A model that gives every token the same probability has a perplexity of V, the size of its vocabulary. A perplexity well above V
//! means that it is confidently wrong: its weights are read in another way than they were written. One at V means that it knows
//! nothing.
//!
//! The text is a paragraph of a story and a few plain facts. A model of another language fails here too, and is then no sick one: so
//! this is a warning, where the other probes, which compare two readings of one file, give errors.
//!
//! Remedy: look at what the other probes prove; compare with the model it was converted from (`--against`).
//!
//! Source: −ln(1/V).

use super::listen::{stated, text};
use super::{Case, Measured, Outcome, Probe, ProbeError};
use crate::Sign;
use crate::finding::number;

/// See the module.
pub struct Guessing;

impl Probe for Guessing {
    fn code(&self) -> &'static str {
        "P110"
    }

    fn name(&self) -> &'static str {
        "guessing"
    }

    fn run(&self, case: &Case) -> Result<Outcome, ProbeError> {
        let Some(ids) = text(case) else {
            return Ok(Outcome::skipped(
                "it takes a tokenizer and a context of 32 tokens (--tokenizer FILE)",
            ));
        };
        let vocabulary = case.model.config().vocabulary as f64;
        let surprises = stated(case, &ids)?;
        let mean = surprises.iter().sum::<f64>() / surprises.len() as f64;
        let text = format!(
            "perplexity {} on {} tokens of plain English; guessing has {vocabulary}",
            number(mean.exp()),
            ids.len()
        );
        let knows_nothing = mean > vocabulary.ln() - 0.02;
        let untrained = case.patient.subject.progress.step == Some(0);
        let sign = (knows_nothing && !untrained).then(|| Sign::warning(text.clone()));
        Ok(Outcome::Measured(Measured { text, sign, fix: None }))
    }
}
