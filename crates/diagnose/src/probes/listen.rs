//! What several probes need: engines for a moment, answers, likelihoods, comparisons of readings.

use super::{Case, Measured, Outcome, ProbeError};
use crate::Sign;
use crate::altered::{Altered, Change};
use crate::finding::number;
use infer::{Engine, EngineOptions, InferError};
use model::Source;

/// English of two kinds, from nowhere: what every language model has an opinion about.
const TEXT: &str = "Once upon a time there was a little girl who lived in a small house near the forest. Every morning she went to \
    the river to fetch water for her mother. One day she saw a bird that could not fly. She took it home and gave it some bread, \
    and after a week the bird was well again. The girl was happy, and they became good friends. The capital of France is Paris, \
    and the capital of Germany is Berlin. Water boils at one hundred degrees and freezes at zero. In the year after the war most \
    of the people in the city had no work, and the government tried to help them with new laws. If you want to know the time, \
    look at the clock on the wall. He said that he did not know what to do, and then he went out and closed the door behind him.";
/// Tokens of it that are read.
const TOKENS: usize = 192;

/// An engine that keeps nothing twice.
pub fn engine(source: &dyn Source, lambda: f32) -> Result<Engine, InferError> {
    Engine::new(source, EngineOptions { screen: false, lambda, ..EngineOptions::default() })
}

/// The ids of the text, as many as the context holds; `None` without a tokenizer, or where it leaves too few.
pub fn text(case: &Case) -> Option<Vec<u32>> {
    let config = case.model.config();
    let mut ids = case.tokenizer?.encode(TEXT, true);
    ids.retain(|id| (*id as usize) < config.vocabulary);
    ids.truncate(TOKENS.min(config.context));
    (ids.len() >= 32).then_some(ids)
}

/// −log p of every id but the first, nats; infinite where the network gives no number.
pub fn surprises(source: &dyn Source, ids: &[u32]) -> Result<Vec<f64>, InferError> {
    let engine = engine(source, 1.0)?;
    let mut session = engine.session(ids.len())?;
    let mut out = Vec::with_capacity(ids.len());
    session.forward_each(&ids[..ids.len() - 1], &mut |index, logits| {
        out.push(surprise(logits, ids[index + 1]));
    })?;
    Ok(out)
}

/// [`surprises`] of the model as it is stated, computed once.
pub fn stated<'a>(case: &'a Case, ids: &[u32]) -> Result<&'a [f64], InferError> {
    if let Some(known) = case.stated.get() {
        return Ok(known);
    }
    let found = surprises(&*case.model.source, ids)?;
    Ok(case.stated.get_or_init(|| found))
}

/// `−log softmax(logits)[target]`, nats.
pub fn surprise(logits: &[f32], target: u32) -> f64 {
    let probability = probability(logits, target);
    if probability > 0.0 { -probability.ln() } else { f64::INFINITY }
}

/// `softmax(logits)[target]`; 0 where a logit is not finite.
pub fn probability(logits: &[f32], target: u32) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from((logit - largest).exp())).sum();
    let probability = f64::from(logits[target as usize] - largest).exp() / sum;
    if probability.is_finite() { probability } else { 0.0 }
}

/// Index of the largest logit, the lower one among equals.
pub fn best(logits: &[f32]) -> u32 {
    (1..logits.len()).fold(0, |best, id| if logits[id] > logits[best] { id } else { best }) as u32
}

/// The most likely token after `prompt`, then after that, `count` times.
pub fn greedy(engine: &Engine, prompt: &[u32], count: usize) -> Result<Vec<u32>, InferError> {
    let room = engine.config().context;
    let prompt = &prompt[..prompt.len().min(room / 2).max(1)];
    let count = count.min(room - prompt.len());
    let mut session = engine.session(prompt.len() + count)?;
    let mut next = best(session.forward(prompt)?);
    let mut out = vec![next];
    while out.len() < count {
        next = best(session.forward(&[next])?);
        out.push(next);
    }
    Ok(out)
}

/// Two readings of the same file, judged by the same text.
pub struct Rival {
    /// what the file says
    pub stated: &'static str,
    /// what it might have meant
    pub other: &'static str,
    /// how to read it so
    pub change: Change,
}

/// Whether the other reading predicts the text clearly better: a paired test over its tokens (mean difference above 0.15
/// nats, and above three standard errors), so that neither length nor hardness of the text matters. Of two readings that are
/// hardly better than guessing, none is meant.
pub fn compete(case: &Case, rival: &Rival, other: &dyn Source) -> Result<Outcome, ProbeError> {
    let Some(ids) = text(case) else {
        return Ok(Outcome::skipped("it takes a tokenizer and a context of 32 tokens (--tokenizer FILE)"));
    };
    if let Some(code) = case.damage {
        return Ok(Outcome::Skipped(format!("its tensors are wrong however they are read ({code})")));
    }
    let (stated, rivals) = (stated(case, &ids)?, surprises(other, &ids)?);
    let gains: Vec<f64> = stated.iter().zip(&rivals).map(|(a, b)| (a - b).clamp(-50.0, 50.0)).collect();
    let count = gains.len() as f64;
    let mean = gains.iter().sum::<f64>() / count;
    let variance = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let error = (variance / count).sqrt();
    let perplexity = |surprises: &[f64]| (surprises.iter().sum::<f64>() / count).exp();
    let text = format!(
        "perplexity {} with {}, {} with {} ({count} tokens, {} ± {} nats apart)",
        number(perplexity(stated)),
        rival.stated,
        number(perplexity(&rivals)),
        rival.other,
        number(mean),
        number(error)
    );
    let guessing = (case.model.config().vocabulary as f64).ln();
    let knows = rivals.iter().sum::<f64>() / count < guessing - 1.0;
    let is_better = knows && mean > 0.15 && mean > 3.0 * error;
    let sign = is_better.then(|| Sign::error(format!("{} is meant: {text}", rival.other)));
    Ok(Outcome::Measured(Measured { sign, fix: is_better.then_some(rival.change), text }))
}

/// [`compete`] with a view of the same tensors.
pub fn compete_view(case: &Case, rival: &Rival) -> Result<Outcome, ProbeError> {
    compete(case, rival, &Altered::new(&*case.model.source, &[rival.change]))
}
