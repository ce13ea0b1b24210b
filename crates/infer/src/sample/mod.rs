//! From logits to one token id. Each step is a file; they run in this order (that of Hugging Face and vLLM):
//! logit bias, grammar mask, repetition penalty, presence and frequency penalties, temperature, top-k, softmax, top-p, min-p,
//! typical, draw. Mirostat takes the place of top-k to typical, as in llama.cpp.
//!
//! Equal candidates stand in the order of their ids, so the same seed gives the same tokens everywhere.

mod bias;
mod draw;
mod frequency;
mod logprobs;
mod min_p;
mod mirostat;
mod options;
mod repetition;
mod temperature;
mod top_k;
mod top_p;
mod typical;

pub use logprobs::{TokenLogprob, log_sum_exp};
pub use mirostat::Mirostat;
pub use options::Sampling;

use crate::{InferError, Want};
use draw::Draws;
use frequency::Counts;
use repetition::Seen;

/// One token that may come next.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    id: u32,
    logit: f32,
    /// set by `softmax`, not renormalised by what follows
    probability: f32,
}

/// More than these of the best are not found sooner than all.
const BEST_MAX: usize = 256;

/// Chooses tokens; its buffers are allocated once.
pub struct Sampler {
    sampling: Sampling,
    candidates: Vec<Candidate>,
    seen: Seen,
    counts: Counts,
    draws: Draws,
    bar: Option<mirostat::Bar>,
}

impl Sampler {
    /// A sampler for logits `(V)`; an error when `sampling` means nothing.
    pub fn new(sampling: Sampling, vocabulary: usize) -> Result<Self, InferError> {
        sampling.check(vocabulary)?;
        Ok(Self {
            candidates: Vec::with_capacity(vocabulary),
            seen: Seen::new(vocabulary),
            counts: Counts::new(vocabulary),
            draws: Draws::new(sampling.seed),
            bar: sampling.mirostat.map(mirostat::Bar::new),
            sampling,
        })
    }

    /// Tells the repetition penalty of a token of the prompt; the sampler's own choices it knows.
    pub fn observe(&mut self, id: u32) {
        self.seen.insert(id);
    }

    /// Which logits it needs: as few as its choice depends on. A token outside of the best can be chosen only where logits
    /// change, or where all take part in a draw.
    pub fn want(&self) -> Want {
        let Sampling { temperature, top_k, mirostat, .. } = self.sampling;
        match (temperature == 0.0, top_k) {
            _ if self.changes_logits() => Want::All,
            (true, _) => Want::Best(1),
            (false, 1..=BEST_MAX) if mirostat.is_none() => Want::Best(top_k),
            (false, _) => Want::All,
        }
    }

    fn changes_logits(&self) -> bool {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, logit_bias, .. } =
            &self.sampling;
        *repetition_penalty != 1.0
            || *presence_penalty != 0.0
            || *frequency_penalty != 0.0
            || !logit_bias.is_empty()
    }

    /// The next token, or `None` when a logit is NaN or infinite.
    pub fn choose(&mut self, logits: &[f32]) -> Option<u32> {
        self.choose_allowed(logits, |_| true)
    }

    /// [`Sampler::choose`] among the ids that are allowed; `None` also when none is.
    pub fn choose_allowed(&mut self, logits: &[f32], allowed: impl Fn(u32) -> bool) -> Option<u32> {
        self.choose_from((0..).zip(logits.iter().copied()), allowed)
    }

    /// [`Sampler::choose`] among some ids and their logits: those that [`Sampler::want`] names.
    pub fn choose_among(&mut self, logits: impl Iterator<Item = (u32, f32)>) -> Option<u32> {
        self.choose_from(logits, |_| true)
    }

    fn choose_from(
        &mut self,
        logits: impl Iterator<Item = (u32, f32)>,
        allowed: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let Self { sampling, candidates, seen, counts, .. } = self;
        candidates.clear();
        candidates.extend(logits.map(|(id, logit)| Candidate { id, logit, probability: 0.0 }));
        if !candidates.iter().all(|candidate| candidate.logit.is_finite()) {
            return None;
        }
        // These find a token by its place; the mask, which moves them, changes no logit and so may come after.
        bias::apply(candidates, &sampling.logit_bias);
        repetition::apply(candidates, seen, sampling.repetition_penalty);
        frequency::apply(candidates, counts, sampling.presence_penalty, sampling.frequency_penalty);
        // Biases may add up to more than a number holds, and a difference of infinities is none.
        candidates.iter_mut().for_each(|c| c.logit = c.logit.clamp(f32::MIN, f32::MAX));
        candidates.retain(|candidate| allowed(candidate.id));
        let likeliest = likeliest(candidates)?;
        let id = match self.sampling.temperature {
            0.0 => likeliest,
            temperature => self.sample(temperature),
        };
        self.seen.insert(id);
        self.counts.add(id);
        Some(id)
    }

    fn sample(&mut self, temperature: f32) -> u32 {
        let Self { sampling, candidates, draws, bar, .. } = self;
        temperature::apply(candidates, temperature);
        if let (Some(mirostat), Some(bar)) = (sampling.mirostat, bar) {
            softmax(candidates);
            bar.keep(candidates);
            let id = draw::pick(candidates, draws.next_uniform());
            bar.learn(mirostat, candidates, id);
            return id;
        }
        top_k::keep(candidates, sampling.top_k);
        softmax(candidates);
        top_p::keep(candidates, sampling.top_p);
        min_p::keep(candidates, sampling.min_p);
        typical::keep(candidates, sampling.typical_p);
        draw::pick(candidates, draws.next_uniform())
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
            (Sampling { typical_p: 0.31, ..open.clone() }, 2),
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
    fn biases_that_add_up_to_infinity_still_choose() {
        let all = &[0, 1, 2][..];
        for (ids, bias, possible) in [(&[1][..], 3e38, &[1][..]), (&[0, 2], -3e38, &[1]), (all, -3e38, all)] {
            let logit_bias = ids.iter().flat_map(|id| [(*id, bias); 2]).collect();
            let warm = Sampling { temperature: 0.1, logit_bias, ..Sampling::default() };
            let choice = Sampler::new(warm, 3).unwrap().choose(&[50.0, 1.0, 9.0]);
            assert!(choice.is_some_and(|id| possible.contains(&id)), "{ids:?}: {choice:?}");
        }
    }

    #[test]
    fn only_the_allowed_are_chosen() {
        for temperature in [0.0, 1.0] {
            let sampling = Sampling { temperature, ..Sampling::default() };
            let mut sampler = Sampler::new(sampling, 4).unwrap();
            for _ in 0..20 {
                assert_eq!(sampler.choose_allowed(&[9.0, 1.0, 0.0, 9.0], |id| id == 2), Some(2));
            }
            assert_eq!(sampler.choose_allowed(&[9.0, 1.0, 0.0, 9.0], |_| false), None);
        }
    }

    /// Whoever wants only the best must choose as if it had all.
    #[test]
    fn the_best_suffice_where_only_they_are_wanted() {
        let sampling = Sampling::default;
        let warm = || Sampling { temperature: 0.9, top_k: 5, ..sampling() };
        let mirostat = Some(Mirostat { tau: 3.0, eta: 0.1 });
        let cases = [
            (sampling(), Want::Best(1)),
            (warm(), Want::Best(5)),
            (Sampling { top_p: 0.7, min_p: 0.05, typical_p: 0.8, ..warm() }, Want::Best(5)),
            (Sampling { top_k: 0, ..warm() }, Want::All),
            (Sampling { top_k: 256, ..warm() }, Want::Best(256)),
            (Sampling { top_k: 257, ..warm() }, Want::All),
            (Sampling { mirostat, ..warm() }, Want::All),
            (Sampling { mirostat, ..sampling() }, Want::Best(1)),
            (Sampling { repetition_penalty: 1.1, ..warm() }, Want::All),
            (Sampling { presence_penalty: 0.1, ..sampling() }, Want::All),
            (Sampling { frequency_penalty: 0.1, ..sampling() }, Want::All),
            (Sampling { logit_bias: vec![(3, 1.0)], ..sampling() }, Want::All),
        ];
        for (sampling, want) in cases {
            let new = || Sampler::new(sampling.clone(), 300).unwrap();
            let (mut whole, mut best) = (new(), new());
            assert_eq!(whole.want(), want, "{sampling:?}");
            let Want::Best(count) = want else { continue };
            for step in 0..40 {
                let logits: Vec<f32> =
                    (0..300).map(|i| ((i * 7 + step * 13) as f32 * 0.7).sin() * 3.0).collect();
                let mut ranked: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
                ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                let few = ranked.into_iter().take(count);
                assert_eq!(best.choose_among(few), whole.choose(&logits), "{sampling:?}");
            }
        }
    }
}
