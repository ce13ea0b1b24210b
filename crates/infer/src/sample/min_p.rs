//! Min-p: only tokens at least a given share as likely as the likeliest.
//! Source: Nguyen et al., "Turning Up the Heat: Min-p Sampling".

use super::Candidate;

/// Keeps candidates of probability ≥ `share` · the greatest; 0 keeps all.
pub(super) fn keep(candidates: &mut Vec<Candidate>, share: f32) {
    if share == 0.0 {
        return;
    }
    let largest = candidates.iter().fold(0.0, |max, c| c.probability.max(max));
    candidates.retain(|c| c.probability >= share * largest);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ids, with_probabilities};
    use super::*;

    #[test]
    fn the_bar_hangs_from_the_likeliest() {
        let kept = |share| {
            let mut candidates = with_probabilities(&[0.125, 0.5, 0.25, 0.0625]);
            keep(&mut candidates, share);
            ids(&candidates)
        };
        assert_eq!(kept(0.0), [0, 1, 2, 3]);
        assert_eq!(kept(0.25), [0, 1, 2]);
        assert_eq!(kept(0.26), [1, 2]);
        assert_eq!(kept(1.0), [1]);
    }
}
