//! Temperature: below 1 the likely become likelier, above 1 the choice widens.

use super::Candidate;

/// Divides the logits by `temperature` > 0. The difference to the greatest is taken first, so that a tiny
/// temperature cannot overflow.
pub(super) fn apply(candidates: &mut [Candidate], temperature: f32) {
    let largest = candidates.iter().fold(f32::NEG_INFINITY, |max, c| max.max(c.logit));
    for candidate in candidates {
        candidate.logit = (candidate.logit - largest) / temperature;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{softmax, tests::with_probabilities};
    use super::*;

    #[test]
    fn half_the_temperature_squares_the_ratios() {
        let mut candidates = with_probabilities(&[0.6, 0.3, 0.1]);
        apply(&mut candidates, 0.5);
        softmax(&mut candidates);
        let ratio = candidates[0].probability / candidates[1].probability;
        assert!((ratio - 4.0).abs() < 1e-4, "{ratio}");
    }

    #[test]
    fn the_smallest_temperature_is_greedy_and_not_nan() {
        let mut candidates = with_probabilities(&[0.3, 0.6, 0.1]);
        apply(&mut candidates, f32::MIN_POSITIVE);
        softmax(&mut candidates);
        let probabilities: Vec<f32> = candidates.iter().map(|c| c.probability).collect();
        assert_eq!(probabilities, [0.0, 1.0, 0.0]);
    }
}
