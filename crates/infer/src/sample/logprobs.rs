//! Log-probabilities of a step: what the network thought, before temperature and penalties.

use super::{Candidate, by_rank};
use kernels::softmax;

/// A token of a continuation, as the network saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// the token
    pub id: u32,
    /// ln of its probability
    pub logprob: f32,
    /// the likeliest tokens and their ln p, the likeliest first, the lower id first among equals
    pub top: Vec<(u32, f32)>,
}

impl TokenLogprob {
    /// The token `id` and the `count` likeliest, for logits (V).
    ///
    /// # Panics
    /// When `id` has no logit.
    pub fn of(logits: &[f32], id: u32, count: usize) -> Self {
        let normaliser = log_sum_exp(logits);
        let logprob = |logit: f32| (f64::from(logit) - normaliser) as f32;
        let mut top: Vec<Candidate> =
            (0..).zip(logits).map(|(id, logit)| Candidate { id, logit: *logit, probability: 0.0 }).collect();
        super::top_k::keep(&mut top, count.max(1));
        top.sort_unstable_by(by_rank);
        let top = top.iter().take(count).map(|c| (c.id, logprob(c.logit))).collect();
        Self { id, logprob: logprob(logits[id as usize]), top }
    }
}

/// `ln Σ e^x`, nats: what logits (V) are short of log-probabilities. NaN where one of them is.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    /// Few enough that their sum in f32 is as good as each of them.
    const TOGETHER: usize = 1024;
    let largest = softmax::largest(logits);
    let parts = logits.chunks(TOGETHER).map(|part| f64::from(softmax::sum_of_exp(part, 1.0, largest)));
    f64::from(largest) + parts.sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_the_logarithms_of_the_softmax() {
        let logits = [0.5f32, 0.125, 0.25, 0.125].map(|p| p.ln() + 700.0);
        let near = |a: f32, b: f32| (a - b.ln()).abs() < 1e-4;
        let step = TokenLogprob::of(&logits, 3, 3);
        assert!(step.id == 3 && near(step.logprob, 0.125));
        let ids: Vec<u32> = step.top.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [0, 2, 1]);
        assert!(step.top.iter().zip([0.5, 0.25, 0.125]).all(|((_, a), b)| near(*a, b)));
        assert!(TokenLogprob::of(&logits, 0, 0).top.is_empty());
        assert_eq!(TokenLogprob::of(&logits, 0, 99).top.len(), 4);
    }
}
