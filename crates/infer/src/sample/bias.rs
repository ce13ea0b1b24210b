//! Logit bias: a number added to the logits of some tokens.
//! Source: OpenAI's `logit_bias`; the sequence bias of transformers for single tokens.

use super::Candidate;

/// Adds each bias to the logit of its id. `candidates[id].id == id`; ids have a logit.
pub(super) fn apply(candidates: &mut [Candidate], bias: &[(u32, f32)]) {
    for &(id, bias) in bias {
        candidates[id as usize].logit += bias;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Sampler, Sampling};
    use crate::InferError;

    #[test]
    fn a_bias_moves_the_choice_and_the_same_id_twice_adds_up() {
        let choose = |logit_bias: &[(u32, f32)]| {
            let sampling = Sampling { logit_bias: logit_bias.to_vec(), ..Sampling::default() };
            Sampler::new(sampling, 3).unwrap().choose(&[1.0, 2.0, 0.0])
        };
        assert_eq!(choose(&[]), Some(1));
        assert_eq!(choose(&[(1, -1.5)]), Some(0));
        assert_eq!(choose(&[(2, 1.5)]), Some(1));
        assert_eq!(choose(&[(2, 1.5), (2, 1.0)]), Some(2));
    }

    #[test]
    fn an_id_without_a_logit_is_named() {
        let sampling = Sampling { logit_bias: vec![(3, 1.0)], ..Sampling::default() };
        let error = Sampler::new(sampling, 3).err().unwrap();
        assert!(matches!(error, InferError::BiasOutOfRange { id: 3, vocabulary: 3 }));
    }
}
