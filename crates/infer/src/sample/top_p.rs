//! Top-p (nucleus): the likeliest tokens that together have the probability p.
//! Source: Holtzman et al., "The Curious Case of Neural Text Degeneration".

use super::{Candidate, by_rank};

/// Keeps the shortest prefix in rank whose probabilities sum to at least `p`; 1 keeps all.
pub(super) fn keep(candidates: &mut Vec<Candidate>, p: f32) {
    if p >= 1.0 {
        return;
    }
    // All tokens at or below (1 − p)/V together have at most 1 − p, so none of them is needed; most need no sorting.
    let negligible = (1.0 - p) / candidates.len() as f32;
    if candidates.iter().any(|c| c.probability > negligible) {
        candidates.retain(|c| c.probability > negligible);
    }
    candidates.sort_unstable_by(by_rank);
    let mut sum = 0.0;
    let mut kept = candidates.len();
    for (index, candidate) in candidates.iter().enumerate() {
        sum += f64::from(candidate.probability);
        if sum >= f64::from(p) {
            kept = index + 1;
            break;
        }
    }
    candidates.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ids, with_probabilities};
    use super::*;

    #[test]
    fn the_token_that_crosses_p_is_kept() {
        let nucleus = |p| {
            let mut candidates = with_probabilities(&[0.125, 0.5, 0.125, 0.25]);
            keep(&mut candidates, p);
            ids(&candidates)
        };
        assert_eq!(nucleus(0.1), [1]);
        assert_eq!(nucleus(0.5), [1]);
        assert_eq!(nucleus(0.51), [1, 3]);
        assert_eq!(nucleus(0.8), [1, 3, 0]);
        assert_eq!(nucleus(1.0), [0, 1, 2, 3]);
    }

    #[test]
    fn many_equals_keep_a_share_of_p_and_never_none() {
        let mut candidates = with_probabilities(&[0.01; 100]);
        keep(&mut candidates, 0.295);
        assert_eq!(ids(&candidates), (0..30).collect::<Vec<_>>());
        let mut candidates = with_probabilities(&[0.01; 100]);
        keep(&mut candidates, f32::MIN_POSITIVE);
        assert_eq!(ids(&candidates), [0]);
    }
}
