//! The draw itself: a counter-based generator, and the candidate its number falls on.

use super::Candidate;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Uniform numbers from ChaCha8: number n of a seed is always the same.
pub(super) struct Draws(ChaCha8Rng);

impl Draws {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform in [0, 1), 53 bits, two words of the stream.
    pub(super) fn next_uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The candidate at `uniform` of the way through the probabilities, which need not sum to 1.
///
/// # Panics
/// Without candidates.
pub(super) fn pick(candidates: &[Candidate], uniform: f64) -> u32 {
    let sum: f64 = candidates.iter().map(|c| f64::from(c.probability)).sum();
    let mut left = uniform * sum;
    let mut last = &candidates[0];
    for candidate in candidates.iter().filter(|c| c.probability > 0.0) {
        last = candidate;
        left -= f64::from(candidate.probability);
        if left < 0.0 {
            break;
        }
    }
    last.id
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_probabilities;
    use super::*;

    #[test]
    fn the_number_falls_where_it_should() {
        let candidates = with_probabilities(&[0.25, 0.0, 0.5]);
        let picks = [0.0, 0.33, 0.34, 0.999_999].map(|u| pick(&candidates, u));
        assert_eq!(picks, [0, 0, 2, 2]);
        assert_eq!(pick(&with_probabilities(&[0.25, 0.0]), 1.0f64.next_down()), 0);
    }

    #[test]
    fn numbers_are_uniform_and_repeatable() {
        let numbers = |seed| {
            let mut draws = Draws::new(seed);
            (0..4000).map(|_| draws.next_uniform()).collect::<Vec<_>>()
        };
        let first = numbers(1);
        assert_eq!(first, numbers(1));
        let mean = first.iter().sum::<f64>() / first.len() as f64;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert!(first.iter().all(|u| (0.0..1.0).contains(u)));
    }
}
