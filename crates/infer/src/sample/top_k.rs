//! Top-k: only the k likeliest tokens.

use super::{Candidate, by_rank};

/// Keeps the `k` first in rank, in that order; 0 keeps all.
pub(super) fn keep(candidates: &mut Vec<Candidate>, k: usize) {
    if k == 0 || k >= candidates.len() {
        return;
    }
    candidates.select_nth_unstable_by(k - 1, by_rank);
    candidates.truncate(k);
    candidates.sort_unstable_by(by_rank);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ids, with_probabilities};
    use super::*;

    #[test]
    fn keeps_the_likeliest_and_the_lowest_ids_among_equals() {
        let mut candidates = with_probabilities(&[0.1, 0.2, 0.3, 0.2, 0.2]);
        keep(&mut candidates, 3);
        assert_eq!(ids(&candidates), [2, 1, 3]);
    }

    #[test]
    fn zero_and_more_than_there_are_keep_all() {
        for k in [0, 2, 9] {
            let mut candidates = with_probabilities(&[0.4, 0.6]);
            keep(&mut candidates, k);
            assert_eq!(ids(&candidates), [0, 1]);
        }
    }
}
