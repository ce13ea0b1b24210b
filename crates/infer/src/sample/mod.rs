//! From logits to one token id. Each step is a file; they run in this order (that of Hugging Face):
//! repetition penalty, temperature, top-k, softmax, top-p, min-p, draw.
//!
//! Equal candidates stand in the order of their ids, so the same seed gives the same tokens everywhere.

mod draw;
mod min_p;
mod repetition;
mod temperature;
mod top_k;
mod top_p;

use crate::{InferError, Want};
use draw::Draws;
use repetition::Seen;

/// How the next token is chosen. [`Sampling::default`] is greedy.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// logits are divided by it; 0 takes the likeliest token
    pub temperature: f32,
    /// only the k likeliest tokens; 0 keeps all
    pub top_k: usize,
    /// only the likeliest tokens that together have this probability; 1 keeps all
    pub top_p: f32,
    /// only tokens at least this share as likely as the likeliest; 0 keeps all
    pub min_p: f32,
    /// logits of tokens seen before are divided by it (negative ones multiplied); 1 does nothing
    pub repetition_penalty: f32,
    /// the same seed draws the same tokens
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Refuses values that mean nothing.
    pub fn validate(&self) -> Result<(), InferError> {
        let refuse = |key, value, allowed| Err(InferError::Sampling { key, value, allowed });
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return refuse("temperature", self.temperature, "it is a number from 0 up");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("top_p", self.top_p, "it is a probability above 0 and up to 1");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return refuse("min_p", self.min_p, "it is a share from 0 to 1");
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            let allowed = "it is a number above 0 (1 does nothing)";
            return refuse("repetition_penalty", self.repetition_penalty, allowed);
        }
        Ok(())
    }
}

/// One token that may come next.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    id: u32,
    logit: f32,
    /// set by `softmax`, not renormalised by what follows
    probability: f32,
}

/// Chooses tokens; its buffers are allocated once.
pub struct Sampler {
    sampling: Sampling,
    candidates: Vec<Candidate>,
    seen: Seen,
    draws: Draws,
}

impl Sampler {
    /// A sampler for logits `(V)`; an error when `sampling` means nothing.
    pub fn new(sampling: Sampling, vocabulary: usize) -> Result<Self, InferError> {
        sampling.validate()?;
        Ok(Self {
            candidates: Vec::with_capacity(vocabulary),
            seen: Seen::new(vocabulary),
            draws: Draws::new(sampling.seed),
            sampling,
        })
    }

    /// Tells the repetition penalty of a token of the prompt; the sampler's own choices it knows.
    pub fn observe(&mut self, id: u32) {
        self.seen.insert(id);
    }

    /// Which logits it needs: as few as its choice depends on.
    pub fn want(&self) -> Want {
        let Sampling { temperature, top_k, repetition_penalty, .. } = self.sampling;
        match (temperature == 0.0, top_k) {
            _ if repetition_penalty != 1.0 => Want::All,
            (true, _) => Want::Best(1),
            (false, 0) => Want::All,
            (false, top_k) => Want::Best(top_k),
        }
    }

    /// The next token, or `None` when a logit is NaN or infinite.
    pub fn choose(&mut self, logits: &[f32]) -> Option<u32> {
        self.choose_among((0..).zip(logits.iter().copied()))
    }

    /// [`Sampler::choose`] among some ids and their logits.
    pub fn choose_among(&mut self, logits: impl Iterator<Item = (u32, f32)>) -> Option<u32> {
        self.candidates.clear();
        self.candidates.extend(logits.map(|(id, logit)| Candidate { id, logit, probability: 0.0 }));
        if !self.candidates.iter().all(|candidate| candidate.logit.is_finite()) {
            return None;
        }
        repetition::apply(&mut self.candidates, &self.seen, self.sampling.repetition_penalty);
        let id = match self.sampling.temperature {
            0.0 => likeliest(&self.candidates)?,
            temperature => self.sample(temperature),
        };
        self.seen.insert(id);
        Some(id)
    }

    fn sample(&mut self, temperature: f32) -> u32 {
        let candidates = &mut self.candidates;
        temperature::apply(candidates, temperature);
        top_k::keep(candidates, self.sampling.top_k);
        softmax(candidates);
        top_p::keep(candidates, self.sampling.top_p);
        min_p::keep(candidates, self.sampling.min_p);
        draw::pick(candidates, self.draws.next_uniform())
    }
}

/// The id of the greatest logit, the lowest id among equals.
fn likeliest(candidates: &[Candidate]) -> Option<u32> {
    let first = candidates.first()?;
    let best = candidates.iter().fold(first, |best, candidate| match candidate.logit > best.logit {
        true => candidate,
        false => best,
    });
    Some(best.id)
}

/// Likelier first, then the lower id: the one order of candidates.
fn by_rank(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// Probabilities of the candidates there are.
fn softmax(candidates: &mut [Candidate]) {
    let largest = candidates.iter().fold(f32::NEG_INFINITY, |max, c| max.max(c.logit));
    let mut sum = 0.0;
    for candidate in candidates.iter_mut() {
        candidate.probability = (candidate.logit - largest).exp();
        sum += f64::from(candidate.probability);
    }
    for candidate in candidates {
        candidate.probability = (f64::from(candidate.probability) / sum) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Candidates with the given probabilities, ids counting from 0.
    pub(super) fn with_probabilities(probabilities: &[f32]) -> Vec<Candidate> {
        let candidates = probabilities.iter().zip(0..).map(|(&probability, id)| Candidate {
            id,
            logit: probability.ln(),
            probability,
        });
        candidates.collect()
    }

    pub(super) fn ids(candidates: &[Candidate]) -> Vec<u32> {
        candidates.iter().map(|candidate| candidate.id).collect()
    }

    fn frequencies(sampling: Sampling, logits: &[f32], draws: usize) -> Vec<f64> {
        let mut sampler = Sampler::new(sampling, logits.len()).unwrap();
        let mut counts = vec![0.0; logits.len()];
        for _ in 0..draws {
            counts[sampler.choose(logits).unwrap() as usize] += 1.0 / draws as f64;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_lowest_id_among_equals() {
        let mut sampler = Sampler::new(Sampling::default(), 4).unwrap();
        assert_eq!(sampler.choose(&[0.0, 3.0, 1.0, 3.0]), Some(1));
        assert_eq!(sampler.choose(&[-7.0, -7.0, -8.0, -7.0]), Some(0));
    }

    #[test]
    fn draws_follow_the_softmax_at_a_temperature() {
        let logits = [1.0f32, 0.0, -1.0, 2.0];
        for temperature in [0.5f32, 1.0, 2.0] {
            let sampling = Sampling { temperature, seed: 3, ..Sampling::default() };
            let measured = frequencies(sampling, &logits, 40_000);
            let powers = logits.map(|l| f64::from(l / temperature).exp());
            let sum: f64 = powers.iter().sum();
            for (measured, power) in measured.iter().zip(powers) {
                // four standard deviations of a share of 40 000 draws are below 0.01
                assert!((measured - power / sum).abs() < 0.01, "{measured}");
            }
        }
    }

    #[test]
    fn all_steps_together_leave_what_each_leaves() {
        let logits = [0.5f32, 0.3, 0.1, 0.06, 0.04].map(f32::ln);
        let open = Sampling { temperature: 1.0, ..Sampling::default() };
        let cases = [
            (open.clone(), 5),
            (Sampling { top_k: 2, ..open.clone() }, 2),
            (Sampling { top_p: 0.85, ..open.clone() }, 3),
            (Sampling { min_p: 0.11, ..open.clone() }, 4),
            (Sampling { top_k: 4, top_p: 0.93, min_p: 0.19, ..open }, 3),
        ];
        for (sampling, kept) in cases {
            let measured = frequencies(sampling, &logits, 4000);
            assert_eq!(measured.iter().filter(|share| **share > 0.0).count(), kept);
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let logits: Vec<f32> = (0..100).map(|i| (i as f32 * 0.7).sin()).collect();
        let run = |seed| {
            let sampling = Sampling { temperature: 1.0, seed, ..Sampling::default() };
            let mut sampler = Sampler::new(sampling, logits.len()).unwrap();
            (0..50).map(|_| sampler.choose(&logits).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn logits_that_are_not_finite_choose_nothing() {
        let mut sampler = Sampler::new(Sampling::default(), 2).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(sampler.choose(&[0.0, bad]), None);
        }
    }

    #[test]
    fn meaningless_options_are_named() {
        let sampling = Sampling::default;
        let cases = [
            ("temperature", Sampling { temperature: -1.0, ..sampling() }),
            ("temperature", Sampling { temperature: f32::NAN, ..sampling() }),
            ("top_p", Sampling { top_p: 0.0, ..sampling() }),
            ("top_p", Sampling { top_p: 1.5, ..sampling() }),
            ("min_p", Sampling { min_p: 2.0, ..sampling() }),
            ("repetition_penalty", Sampling { repetition_penalty: 0.0, ..sampling() }),
        ];
        for (key, sampling) in cases {
            let sentence = sampling.validate().unwrap_err().to_string();
            assert!(sentence.contains(key), "{sentence}");
        }
    }
}
