//! Whether two ways to compute the model give the same answers.
//!
//! With `--against` the model is compared with another form of it (any format), or with logits that another engine dumped: an
//! `.npy` of shape (V) or (T, V) with `--ids`, or a `.jsonl` with a line `{"ids", "logits", "hidden"}` for each prompt, where
//! `hidden` is the stream of the last position after each layer, or the file that llama.cpp's `llama-perplexity` writes with
//! `--kl-divergence-base`. Without it the fast engine is compared with the slow reference.
//!
//! Equal forms differ by rounding and by activation codes that flip by one: cosines above 0.995 of the logits, above 0.9999 of
//! layers in the same precision. Below 0.98, or with fewer than three of four best tokens equal, they are different models.
//!
//! Remedy: compare layer by layer where the first difference is; convert again from the original.
//!
//! Source: the invariant that training, reference and engine run the same integer arithmetic.

use super::hidden_norms::WORK_MAX;
use super::listen::{best, engine, probability, surprises, text};
use super::references::Dump;
use super::{Case, Measured, Outcome, Probe, ProbeError, Reference};
use crate::Sign;
use crate::finding::number;
use formats::kld;
use infer::Engine;
use model::Source;
use model::reference::Network;

/// See the module.
pub struct Parity;

impl Probe for Parity {
    fn code(&self) -> &'static str {
        "P108"
    }

    fn name(&self) -> &'static str {
        "parity"
    }

    fn run(&self, case: &Case) -> Result<Outcome, ProbeError> {
        let source = &*case.model.source;
        let prompts = infer::prompts(case.model.config().vocabulary, case.tokenizer);
        match &case.against {
            Some(Reference::Dumped(dumps)) => against_dumps(case, dumps),
            Some(Reference::Model(other)) => against_model(case, &*other.source, &prompts),
            None => against_slow(source, &prompts),
        }
    }
}

/// How near two lists of logits are.
#[derive(Default)]
struct Nearness {
    rows: usize,
    equal: usize,
    cosine_min: f64,
    largest: f64,
    divergence: f64,
}

impl Nearness {
    /// Takes in rows of as many logits as both have.
    fn add(&mut self, theirs: &[f32], ours: &[f32]) {
        let width = theirs.len().min(ours.len());
        let (theirs, ours) = (&theirs[..width], &ours[..width]);
        let cosine = cosine(theirs, ours);
        self.cosine_min = if self.rows == 0 { cosine } else { self.cosine_min.min(cosine) };
        let apart = |(a, b): (&f32, &f32)| f64::from((a - b).abs());
        self.largest = theirs.iter().zip(ours).map(apart).fold(self.largest, f64::max);
        self.equal += usize::from(best(theirs) == best(ours));
        self.divergence += divergence(theirs, ours);
        self.rows += 1;
    }

    fn text(&self) -> String {
        format!(
            "{} of {} best tokens equal, cosine at least {}, largest difference {}, KL {} nats",
            self.equal,
            self.rows,
            digits(self.cosine_min),
            number(self.largest),
            number(self.divergence / self.rows.max(1) as f64)
        )
    }

    fn sign(&self, what: &str) -> Option<Sign> {
        let text = format!("{what}: {}", self.text());
        // a NaN is no agreement
        match self.cosine_min {
            cosine if cosine >= 0.995 => None,
            cosine if cosine >= 0.98 && 4 * self.equal >= 3 * self.rows => Some(Sign::warning(text)),
            _ => Some(Sign::error(text)),
        }
    }
}

/// A cosine with as many nines as it has.
fn digits(cosine: f64) -> String {
    format!("{cosine:.6}")
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 { dot(a, b) / norms } else { 1.0 }
}

/// KL(softmax(theirs) ‖ softmax(ours)), nats.
fn divergence(theirs: &[f32], ours: &[f32]) -> f64 {
    let terms = (0..theirs.len() as u32).map(|id| {
        let (p, q) = (probability(theirs, id), probability(ours, id));
        if p > 1e-12 { p * (p / q.max(1e-30)).ln() } else { 0.0 }
    });
    terms.sum()
}

/// Logits after each id.
fn all(engine: &Engine, ids: &[u32]) -> Result<Vec<f32>, ProbeError> {
    Ok(engine.session(ids.len())?.forward_all(ids)?)
}

/// Best tokens that a prompt is compared with; the divergence of a large vocabulary is slow otherwise.
const ROWS: usize = 8;

fn against_slow(source: &dyn Source, prompts: &[Vec<u32>]) -> Result<Outcome, ProbeError> {
    let config = source.config();
    if config.parameters().saturating_mul(2 * ROWS) > WORK_MAX {
        return Ok(Outcome::skipped(
            "the model is too large for the slow reference; compare two forms with --against",
        ));
    }
    let network = Network::read(source)?;
    let engine = engine(source, 1.0)?;
    let mut nearness = Nearness::default();
    for prompt in &prompts[..2] {
        let ids = &prompt[..prompt.len().min(ROWS).min(config.context)];
        let slow = network.logits(ids, &vec![0; ids.len()], 1.0);
        let fast = all(&engine, ids)?;
        slow.chunks(config.vocabulary)
            .zip(fast.chunks(config.vocabulary))
            .for_each(|(a, b)| nearness.add(a, b));
    }
    Ok(judge("engine against slow reference", &nearness, String::new()))
}

fn judge(what: &str, nearness: &Nearness, more: String) -> Outcome {
    let text = format!("{what}: {}{more}", nearness.text());
    Outcome::Measured(Measured { text, sign: nearness.sign(what), fix: None })
}

fn against_model(case: &Case, other: &dyn Source, prompts: &[Vec<u32>]) -> Result<Outcome, ProbeError> {
    let source = &*case.model.source;
    let (ours, theirs) = (source.config(), other.config());
    let vocabulary = ours.vocabulary.min(theirs.vocabulary) as u32;
    let context = ours.context.min(theirs.context);
    let cut = |prompt: &Vec<u32>| -> Vec<u32> {
        prompt.iter().copied().filter(|id| *id < vocabulary).take(ROWS.min(context)).collect()
    };
    let prompts: Vec<Vec<u32>> = prompts.iter().map(cut).filter(|prompt| !prompt.is_empty()).collect();
    // one engine after the other: two need not fit into memory
    let read = |source: &dyn Source| -> Result<Vec<Vec<f32>>, ProbeError> {
        let engine = engine(source, 1.0)?;
        prompts.iter().map(|prompt| all(&engine, prompt)).collect()
    };
    let (a, b) = (read(other)?, read(source)?);
    let mut nearness = Nearness::default();
    for (a, b) in a.iter().zip(&b) {
        a.chunks(theirs.vocabulary).zip(b.chunks(ours.vocabulary)).for_each(|(a, b)| nearness.add(a, b));
    }
    let more = match text(case).filter(|ids| ids.len() <= context && ids.iter().all(|id| *id < vocabulary)) {
        Some(ids) => {
            let mean = |surprises: Vec<f64>| (surprises.iter().sum::<f64>() / surprises.len() as f64).exp();
            let (a, b) = (mean(surprises(other, &ids)?), mean(surprises(source, &ids)?));
            format!("; perplexity {} against {}", number(b), number(a))
        }
        None => String::new(),
    };
    Ok(judge("against the other model", &nearness, more))
}

/// How far each is above the lowest that is told apart from the row's best, as llama.cpp keeps log-probabilities.
fn cut_off(row: &[f32]) -> Vec<f32> {
    let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // a NaN stays one
    row.iter().map(|x| x - best + kld::DEPTH).map(|x| if x < 0.0 { 0.0 } else { x }).collect()
}

fn against_dumps(case: &Case, dumps: &[Dump]) -> Result<Outcome, ProbeError> {
    let source = &*case.model.source;
    let config = source.config();
    let first = dumps.first().and_then(|dump| dump.ids.first());
    let begin = case.model.bos.filter(|bos| first == Some(bos));
    let engine = engine(source, 1.0)?;
    let mut nearness = Nearness::default();
    for dump in dumps {
        if dump.ids.len() > config.context || dump.ids.iter().any(|id| *id as usize >= config.vocabulary) {
            return Ok(Outcome::Measured(Measured {
                text: "the dumped ids do not fit the model".into(),
                sign: Some(Sign::error(
                    "the dumped ids are longer than the context, or beyond the vocabulary",
                )),
                fix: None,
            }));
        }
        let mut ids = dump.ids.clone();
        if let Some(begin) = begin.filter(|_| dump.is_cut) {
            ids[0] = begin;
        }
        let ours = all(&engine, &ids)?;
        let rows = dump.logits.len() / dump.vocabulary;
        let ours = &ours[(dump.ids.len() - rows) * config.vocabulary..];
        for (a, b) in dump.logits.chunks(dump.vocabulary).zip(ours.chunks(config.vocabulary)) {
            match dump.is_cut {
                true => nearness.add(&cut_off(a), &cut_off(&b[..a.len().min(b.len())])),
                false => nearness.add(a, b),
            }
        }
    }
    Ok(judge("against the dumped logits", &nearness, layers(source, dumps)?))
}

/// Cosines of the streams after each layer, by the slow reference, where they were dumped and the model is small.
fn layers(source: &dyn Source, dumps: &[Dump]) -> Result<String, ProbeError> {
    let config = source.config();
    let Some(dump) = dumps.iter().find(|dump| !dump.hidden.is_empty()) else { return Ok(String::new()) };
    if config.parameters().saturating_mul(dump.ids.len()) > WORK_MAX {
        return Ok(String::new());
    }
    let mut ours = Vec::new();
    Network::read(source)?.watched(&dump.ids, &vec![0; dump.ids.len()], 1.0, &mut |stream| {
        ours.extend(stream.last().cloned());
    });
    let cosines: Vec<String> = ours.iter().zip(&dump.hidden).map(|(a, b)| digits(cosine(a, b))).collect();
    Ok(format!("; cosine after each layer {}", cosines.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_agree_and_shuffled_ones_do_not() {
        let row: Vec<f32> = (0..50).map(|n| (n as f32 * 0.7).sin()).collect();
        let mut near = Nearness::default();
        near.add(&row, &row);
        assert!(near.sign("x").is_none() && near.divergence.abs() < 1e-9 && near.equal == 1);
        let mut reversed = row.clone();
        reversed.reverse();
        near.add(&row, &reversed);
        assert_eq!(near.sign("x").unwrap().severity, crate::Severity::Error);
        near.add(&row, &[f32::NAN; 50]);
        assert!(near.sign("x").is_some());
    }
}
