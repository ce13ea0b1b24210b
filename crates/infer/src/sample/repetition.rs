//! Repetition penalty: tokens seen before become less likely.
//! Source: Keskar et al., "CTRL", as transformers has it (prompt included, each token once).

use super::Candidate;

/// The set of tokens seen; insertion does not allocate.
pub(super) struct Seen {
    ids: Vec<u32>,
    contains: Vec<bool>,
}

impl Seen {
    pub(super) fn new(vocabulary: usize) -> Self {
        Self { ids: Vec::with_capacity(vocabulary), contains: vec![false; vocabulary] }
    }

    /// Ids beyond the vocabulary have no logit to penalise and are passed over.
    pub(super) fn insert(&mut self, id: u32) {
        if let Some(contained @ false) = self.contains.get_mut(id as usize) {
            *contained = true;
            self.ids.push(id);
        }
    }
}

/// Positive logits of seen tokens are divided by `penalty`, negative ones multiplied. `candidates[id].id == id`.
pub(super) fn apply(candidates: &mut [Candidate], seen: &Seen, penalty: f32) {
    if penalty == 1.0 {
        return;
    }
    for &id in &seen.ids {
        let logit = &mut candidates[id as usize].logit;
        *logit = match *logit > 0.0 {
            true => *logit / penalty,
            false => *logit * penalty,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Sampler, Sampling};

    #[test]
    fn what_was_said_yields_to_what_was_not() {
        let sampling = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        let mut sampler = Sampler::new(sampling, 4).unwrap();
        let logits = [2.0, 3.0, 1.4, -1.0];
        sampler.observe(1);
        sampler.observe(1);
        sampler.observe(99);
        let chosen: Vec<u32> = (0..3).map(|_| sampler.choose(&logits).unwrap()).collect();
        // [2, 1.5, 1.4, -1] → 0; [1, 1.5, 1.4, -1] → 1; and 1 again, its penalty does not grow
        assert_eq!(chosen, [0, 1, 1]);
    }

    #[test]
    fn negative_logits_move_down_too() {
        let sampling = Sampling { repetition_penalty: 1.5, ..Sampling::default() };
        let mut sampler = Sampler::new(sampling, 2).unwrap();
        sampler.observe(0);
        assert_eq!(sampler.choose(&[-1.0, -1.2]), Some(1));
    }
}
