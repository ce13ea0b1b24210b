//! Whether two forms of one network give the same answers: the check that a conversion runs on what it wrote.

use crate::{Engine, EngineOptions, InferError};
use model::Source;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use text::Tokenizer;

/// Tokens of each answer.
const ANSWER: usize = 16;
/// Tokens of a prompt that is drawn.
const DRAWN: usize = 8;
/// What the prompts are drawn from.
const SEED: u64 = 158;
/// English, knowledge, code, and digits.
const TEXTS: [&str; 4] = ["Once upon a time", "The capital of France is", "def main():\n", "1, 2, 3, 4,"];

/// Four short prompts of ids below `vocabulary`, the same ones in every run: texts where there is a tokenizer, drawn ids where
/// there is none, where it has nothing to say, or where it cannot encode them.
pub fn prompts(vocabulary: usize, tokenizer: Option<&Tokenizer>) -> Vec<Vec<u32>> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut drawn = || (0..DRAWN).map(|_| random.next_u32() % vocabulary as u32).collect();
    let prompt = |text: &&str| {
        let mut ids = tokenizer.and_then(|t| t.try_encode(text, true).ok()).unwrap_or_default();
        ids.retain(|id| (*id as usize) < vocabulary);
        if ids.is_empty() { drawn() } else { ids }
    };
    TEXTS.iter().map(prompt).collect()
}

/// What a network says after some prompts.
pub struct Answers {
    /// for each prompt the likeliest tokens, each after the tokens of `told`
    likeliest: Vec<Vec<u32>>,
    /// the tokens that were read after each prompt: its own answer, or another network's
    told: Vec<Vec<u32>>,
    /// for each prompt (ANSWER, V)
    logits: Vec<Vec<f32>>,
}

impl Answers {
    /// Loads an engine for `source`, reads each prompt and lets it go on for at most 16 tokens, as far as the context goes:
    /// greedily, or along the answers of `other`. The engine is gone when this returns. A prompt is cut to half of the context.
    ///
    /// # Errors
    /// [`Engine::new`]'s, an id beyond the vocabulary, and logits that are not finite.
    pub fn of(source: &dyn Source, prompts: &[Vec<u32>], other: Option<&Self>) -> Result<Self, InferError> {
        let engine = Engine::new(source, EngineOptions { screen: false, ..EngineOptions::default() })?;
        let mut answers = Self { likeliest: Vec::new(), told: Vec::new(), logits: Vec::new() };
        for (index, prompt) in prompts.iter().enumerate() {
            answers.add(&engine, prompt, other.map(|other| &other.told[index][..]))?;
        }
        Ok(answers)
    }

    fn add(&mut self, engine: &Engine, prompt: &[u32], other: Option<&[u32]>) -> Result<(), InferError> {
        let context = engine.config().context;
        let prompt = &prompt[..prompt.len().min(context.div_ceil(2))];
        let tokens = ANSWER.min(context - prompt.len() + 1);
        let mut session = engine.session(prompt.len() + tokens - 1)?;
        let (mut likeliest, mut told, mut logits) = (Vec::new(), Vec::new(), Vec::new());
        let mut row = session.forward(prompt)?;
        for step in 0..tokens {
            if !row.iter().all(|logit| logit.is_finite()) {
                return Err(InferError::NotFinite { position: prompt.len() + step });
            }
            let best = best(row);
            likeliest.push(best);
            logits.extend_from_slice(row);
            told.push(other.map_or(best, |other| other[step]));
            if step + 1 < tokens {
                row = session.forward(&told[step..])?;
            }
        }
        self.likeliest.push(likeliest);
        self.told.push(told);
        self.logits.push(logits);
        Ok(())
    }

    /// How `other`, which was led along these answers, agrees with them.
    ///
    /// # Panics
    /// When they are answers to other prompts, or of another vocabulary.
    pub fn agreement(&self, other: &Self) -> Agreement {
        assert_eq!(self.told, other.told, "answers along the same tokens");
        let pairs = || self.likeliest.iter().flatten().zip(other.likeliest.iter().flatten());
        let differences = self.logits.iter().zip(&other.logits).map(|(a, b)| difference(a, b));
        Agreement {
            prompts: self.told.len(),
            tokens: pairs().count(),
            equal: pairs().filter(|(a, b)| a == b).count(),
            largest: differences.fold(0.0, f32::max),
        }
    }
}

/// How near two networks' answers are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// prompts read
    pub prompts: usize,
    /// tokens of all answers
    pub tokens: usize,
    /// those of them that both networks find the likeliest
    pub equal: usize,
    /// largest difference of logits after a prompt and within its answer, relative to the largest magnitude there
    pub largest: f32,
}

/// The likeliest token, the lower id among equals.
fn best(logits: &[f32]) -> u32 {
    let best = (1..logits.len()).fold(0, |best, id| if logits[id] > logits[best] { id } else { best });
    best as u32
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "logits of one vocabulary");
    let largest = a.iter().fold(0.0f32, |largest, logit| largest.max(logit.abs()));
    let apart = a.iter().zip(b).fold(0.0f32, |apart, (a, b)| apart.max((a - b).abs()));
    if apart == 0.0 { 0.0 } else { apart / largest }
}
