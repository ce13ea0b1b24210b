//! The probability that a text ends at once, in three modes.
//!
//! After the beginning of a sentence the end of the text is a rare next token: 6e-5 in a dense model of a study, 0.049 when it was
//! quantised as BitLinear does it, 0.67 with ternary weights and full-precision activations. The probe reads four beginnings as the
//! model is served (W1.58A8), with its weights quantised only, and, where latent weights are there, in full precision.
//!
//! A model that ends at once as it is served is an error; one that would do so without quantised activations gets a note, since
//! engines that leave these out will show it.
//!
//! Remedy: look at T402 and T416; use an engine that quantises activations to eight bits.
//!
//! Source: a study of SmolLM2 with rounded weights.

use super::listen::{engine, probability};
use super::{Case, Measured, Outcome, Probe, ProbeError};
use crate::Sign;
use crate::altered::{Altered, Change};
use crate::finding::number;
use infer::InferError;
use model::{Encoding, LinearKind, Source};

/// See the module.
pub struct EndOfText;

impl Probe for EndOfText {
    fn code(&self) -> &'static str {
        "P102"
    }

    fn name(&self) -> &'static str {
        "end-of-text"
    }

    fn run(&self, case: &Case) -> Result<Outcome, ProbeError> {
        let text = &case.patient.subject.text;
        let mut ends: Vec<u32> =
            text.end_ids.iter().copied().chain(text.named_ends.iter().map(|(_, id)| *id)).collect();
        ends.retain(|id| (*id as usize) < case.model.config().vocabulary);
        ends.sort_unstable();
        ends.dedup();
        let (Some(tokenizer), false) = (case.tokenizer, ends.is_empty()) else {
            return Ok(Outcome::skipped("it takes a tokenizer and an id that ends a text"));
        };
        let prompts = infer::prompts(case.model.config().vocabulary, Some(tokenizer));
        let source = &*case.model.source;
        let served = mean(source, &prompts, &ends)?;
        let mut modes = vec![("as served", served)];
        if source.config().linear == LinearKind::Ternary && source.config().parameters() <= DENSE_MAX {
            let weights_only = Altered::new(source, &[Change::WeightsOnly]);
            modes.push(("weights only", mean(&weights_only, &prompts, &ends)?));
            if source.encoding("layers.0.q")? == Encoding::Float {
                let full = Altered::new(source, &[Change::FullPrecision]);
                modes.push(("full precision", mean(&full, &prompts, &ends)?));
            }
        }
        let shown: Vec<String> = modes.iter().map(|(mode, p)| format!("{mode} {}", number(*p))).collect();
        let text = format!("probability of the end after four beginnings: {}", shown.join(", "));
        let weights_only = modes.iter().find(|(mode, _)| *mode == "weights only").map_or(0.0, |(_, p)| *p);
        let sign = match served > 0.5 {
            true => Some(Sign::error(text.clone())),
            false => (weights_only > 0.5).then(|| Sign::note(text.clone())),
        };
        Ok(Outcome::Measured(Measured { text, sign, fix: None }))
    }
}

/// Parameters of a ternary model that is computed densely, at four bytes each, at most.
const DENSE_MAX: usize = 500_000_000;

/// Mean probability, over prompts, that the next token is one of `ends`.
fn mean(source: &dyn Source, prompts: &[Vec<u32>], ends: &[u32]) -> Result<f64, InferError> {
    let engine = engine(source, 1.0)?;
    let context = source.config().context;
    let mut session = engine.session(context)?;
    let mut sum = 0.0;
    for prompt in prompts {
        session.reset();
        let logits = session.forward(&prompt[..prompt.len().min(context)])?;
        sum += ends.iter().map(|id| probability(logits, *id)).sum::<f64>();
    }
    Ok(sum / prompts.len() as f64)
}
