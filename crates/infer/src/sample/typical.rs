//! Locally typical sampling: tokens whose surprise is nearest to the expected one.
//! Source: Meister et al., "Locally Typical Sampling", as transformers has it.

use super::{Candidate, by_rank};

/// Keeps the candidates nearest in −ln p to the entropy, just so many that they have the share `mass`; 1 keeps all.
pub(super) fn keep(candidates: &mut Vec<Candidate>, mass: f32) {
    if mass >= 1.0 {
        return;
    }
    // An infinitely small probability has no surprise, and weighs nothing.
    if candidates.iter().any(|c| c.probability > 0.0) {
        candidates.retain(|c| c.probability > 0.0);
    }
    let sum: f64 = candidates.iter().map(|c| f64::from(c.probability)).sum();
    let weighted = candidates.iter().map(|c| f64::from(c.probability) * f64::from(c.logit));
    // −ln p = Z − logit and the entropy is Z − Σ p·logit, with the same Z: the distance needs only the latter.
    let expected = weighted.sum::<f64>() / sum;
    let distance = |c: &Candidate| (f64::from(c.logit) - expected).abs();
    candidates.sort_unstable_by(|a, b| distance(a).total_cmp(&distance(b)).then(by_rank(a, b)));
    let mut reached = 0.0;
    let enough = candidates.iter().position(|c| {
        reached += f64::from(c.probability) / sum;
        reached >= f64::from(mass)
    });
    candidates.truncate(enough.map_or(candidates.len(), |index| index + 1));
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ids, with_probabilities};
    use super::*;

    fn kept(probabilities: &[f32], mass: f32) -> Vec<u32> {
        let mut candidates = with_probabilities(probabilities);
        keep(&mut candidates, mass);
        ids(&candidates)
    }

    #[test]
    fn the_nearest_to_the_entropy_come_first() {
        // entropy 1.0889 nats; surprises 0.693, 1.204, 1.897, 2.996: distances 0.396, 0.115, 0.808, 1.907
        let probabilities = [0.5, 0.3, 0.15, 0.05];
        assert_eq!(kept(&probabilities, 0.2), [1]);
        assert_eq!(kept(&probabilities, 0.31), [1, 0]);
        assert_eq!(kept(&probabilities, 0.81), [1, 0, 2]);
        assert_eq!(kept(&probabilities, 1.0), [0, 1, 2, 3]);
    }

    #[test]
    fn what_other_steps_left_counts_as_a_whole() {
        // the same shares of a sum of one half: the same choice
        assert_eq!(kept(&[0.25, 0.15, 0.075, 0.025], 0.31), [1, 0]);
    }

    #[test]
    fn equals_are_taken_by_id_and_the_impossible_never() {
        assert_eq!(kept(&[0.25; 4], 0.4), [0, 1]);
        assert_eq!(kept(&[0.0, 1.0, 0.0], 0.5), [1]);
        assert_eq!(kept(&[1.0], f32::MIN_POSITIVE), [0]);
    }
}
