//! Presence and frequency penalties: what was generated before becomes less likely, once or each time.
//! Source: OpenAI's API, as vLLM has it: the continuation counts, the prompt does not.

use super::Candidate;

/// How often each token was chosen; counting does not allocate.
pub(super) struct Counts {
    ids: Vec<u32>,
    count: Vec<u32>,
}

impl Counts {
    pub(super) fn new(vocabulary: usize) -> Self {
        Self { ids: Vec::with_capacity(vocabulary), count: vec![0; vocabulary] }
    }

    /// Ids beyond the vocabulary have no logit to penalise and are passed over.
    pub(super) fn add(&mut self, id: u32) {
        if let Some(count) = self.count.get_mut(id as usize) {
            if *count == 0 {
                self.ids.push(id);
            }
            *count += 1;
        }
    }
}

/// Takes `presence + frequency · count` from the logits of chosen tokens. `candidates[id].id == id`.
pub(super) fn apply(candidates: &mut [Candidate], counts: &Counts, presence: f32, frequency: f32) {
    if presence == 0.0 && frequency == 0.0 {
        return;
    }
    for &id in &counts.ids {
        let count = counts.count[id as usize] as f32;
        candidates[id as usize].logit -= presence + frequency * count;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Sampler, Sampling};

    fn choices(sampling: Sampling, steps: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling, 3).unwrap();
        sampler.observe(0);
        (0..steps).map(|_| sampler.choose(&[2.0, 1.5, 0.5]).unwrap()).collect()
    }

    #[test]
    fn presence_counts_once_and_not_the_prompt() {
        let sampling = Sampling { presence_penalty: 1.0, ..Sampling::default() };
        // [2, 1.5, .5] → 0; [1, 1.5, .5] → 1; [1, .5, .5] → 0 for ever
        assert_eq!(choices(sampling, 5), [0, 1, 0, 0, 0]);
    }

    #[test]
    fn frequency_counts_each_time() {
        let sampling = Sampling { frequency_penalty: 0.75, ..Sampling::default() };
        // [2, 1.5, .5] → 0; [1.25, 1.5, .5] → 1; [1.25, .75, .5] → 0; [.5, .75, .5] → 1; [.5, 0, .5] → 0
        assert_eq!(choices(sampling, 5), [0, 1, 0, 1, 0]);
    }
}
