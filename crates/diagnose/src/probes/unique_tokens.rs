//! Distinct answers to twenty random prompts.
//!
//! Twenty prompts of eight random tokens have some ten to twenty different most likely continuations in a model that reads its
//! input. One or two mean that it does not: it has collapsed to its favourite tokens, is under-trained, or was converted wrongly.
//!
//! Remedy: look at what the rules say about the training; where they say nothing, compare with the model it was converted from
//! (`--against`).
//!
//! Source: the measure of the collapse study; `trilobit train` records it.

use super::listen::{best, engine};
use super::{Case, Measured, Outcome, Probe, ProbeError};
use crate::Sign;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

/// See the module.
pub struct UniqueTokens;

const PROMPTS: usize = 20;
const PROMPT: usize = 8;

impl Probe for UniqueTokens {
    fn code(&self) -> &'static str {
        "P103"
    }

    fn name(&self) -> &'static str {
        "unique-tokens"
    }

    fn run(&self, case: &Case) -> Result<Outcome, ProbeError> {
        let config = case.model.config();
        let length = PROMPT.min(config.context);
        let engine = engine(&*case.model.source, 1.0)?;
        let mut session = engine.session(length)?;
        let mut random = ChaCha8Rng::seed_from_u64(20);
        let mut answers = BTreeSet::new();
        for _ in 0..PROMPTS {
            let prompt: Vec<u32> =
                (0..length).map(|_| random.next_u32() % config.vocabulary as u32).collect();
            session.reset();
            answers.insert(best(session.forward(&prompt)?));
        }
        let text =
            format!("{} distinct answers to {PROMPTS} random prompts of {length} tokens", answers.len());
        let before_switch = case.patient.subject.is_before_switch();
        let sign = match answers.len() {
            0..=2 if before_switch => Some(Sign::note(text.clone())),
            0..=2 => Some(Sign::error(text.clone())),
            _ => None,
        };
        Ok(Outcome::Measured(Measured { text, sign, fix: None }))
    }
}
