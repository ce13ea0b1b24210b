//! Distillation of next-token distributions: `τ²·KL(softmax(t/τ) ‖ softmax(s/τ))` of teacher logits t and student logits s
//! (Hinton et al., 2015); its gradient by s is `τ·(softmax(s/τ) − softmax(t/τ))`.

use super::log_sum_exp;
use kernels::softmax;

/// The loss of one row `(V)`; `teacher` becomes the gradient by the student's logits, times `factor`.
pub fn all_tokens(student: &[f32], teacher: &mut [f32], temperature: f32, factor: f32) -> f32 {
    let cold = temperature.recip();
    let [ours, theirs] = [student, &*teacher].map(|logits| log_sum_exp(logits, cold));
    let gain = factor * temperature;
    temperature * temperature * softmax::divergence(student, teacher, [cold, ours, theirs, gain])
}

/// A token that the teacher thinks likely.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// its id
    pub id: u32,
    /// its logit
    pub value: f32,
    /// of the loss by the student's logit; left by [`top_tokens`]
    pub gradient: f32,
}

/// Fills `best (K)` with the K largest of `logits (V)`, K ≤ V, in no particular order; of equals the first.
pub fn choose(logits: &[f32], best: &mut [Candidate]) {
    let candidate = |(id, value): (usize, &f32)| Candidate { id: id as u32, value: *value, gradient: 0.0 };
    let (first, rest) = logits.split_at(best.len());
    best.iter_mut().zip(first.iter().enumerate()).for_each(|(best, logit)| *best = candidate(logit));
    (0..best.len() / 2).rev().for_each(|root| sink(best, root));
    for (id, value) in rest.iter().enumerate() {
        if *value > best[0].value {
            best[0] = candidate((first.len() + id, value));
            sink(best, 0);
        }
    }
}

/// Restores a heap whose smallest is first, below `root`.
fn sink(heap: &mut [Candidate], mut root: usize) {
    loop {
        let children = 2 * root + 1..(2 * root + 3).min(heap.len());
        let Some(least) = children.min_by(|a, b| heap[*a].value.total_cmp(&heap[*b].value)) else { return };
        if heap[root].value <= heap[least].value {
            return;
        }
        heap.swap(root, least);
        root = least;
    }
}

/// The loss of one row over the teacher's candidates alone, both distributions renormalised over them; their gradients are
/// multiplied by `factor`.
pub fn top_tokens(student: &[f32], candidates: &mut [Candidate], temperature: f32, factor: f32) -> f32 {
    let cold = 1.0 / f64::from(temperature);
    let lse = |logits: &dyn Fn(&Candidate) -> f64| {
        let shift = candidates.iter().map(logits).fold(f64::NEG_INFINITY, f64::max);
        shift + candidates.iter().map(|candidate| (logits(candidate) - shift).exp()).sum::<f64>().ln()
    };
    let ours = |candidate: &Candidate| cold * f64::from(student[candidate.id as usize]);
    let theirs = |candidate: &Candidate| cold * f64::from(candidate.value);
    let (our_sum, their_sum) = (lse(&ours), lse(&theirs));
    let mut loss = 0.0;
    for candidate in candidates {
        let (log_ours, log_theirs) = (ours(candidate) - our_sum, theirs(candidate) - their_sum);
        loss += log_theirs.exp() * (log_theirs - log_ours);
        candidate.gradient = factor * temperature * (log_ours.exp() - log_theirs.exp()) as f32;
    }
    temperature * temperature * loss as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_chosen_of_any_order() {
        for (length, k) in [(1usize, 1usize), (7, 2), (100, 10), (100, 100), (33, 5)] {
            let logits: Vec<f32> = (0..length).map(|i| ((i * 7919 + 13) % 101) as f32 - 50.0).collect();
            let mut best = vec![Candidate::default(); k];
            choose(&logits, &mut best);
            let mut values: Vec<f32> = best.iter().map(|candidate| candidate.value).collect();
            let mut sorted = logits.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            values.sort_by(|a, b| b.total_cmp(a));
            assert_eq!(values, sorted[..k]);
            assert!(best.iter().all(|candidate| logits[candidate.id as usize] == candidate.value));
        }
    }

    #[test]
    fn all_tokens_as_candidates_are_the_whole_distribution() {
        let student: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        let mut teacher: Vec<f32> = (0..50).map(|i| (i as f32 * 1.3).cos() * 3.0).collect();
        let mut candidates = vec![Candidate::default(); 50];
        choose(&teacher, &mut candidates);
        let top = top_tokens(&student, &mut candidates, 2.5, 0.3);
        let all = all_tokens(&student, &mut teacher, 2.5, 0.3);
        assert!((top - all).abs() < 1e-4 * all, "{top} {all}");
        for candidate in candidates {
            assert!((candidate.gradient - teacher[candidate.id as usize]).abs() < 1e-6);
        }
    }
}
