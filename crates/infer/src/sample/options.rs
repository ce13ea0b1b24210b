//! How the next token is chosen, as data.

use super::mirostat::Mirostat;
use crate::InferError;

/// Largest repetition penalty; its reciprocal is the smallest.
const REPETITION_MAX: f32 = 100.0;
/// Largest magnitude of the other penalties: more than the logits of a model are apart.
const PENALTY_MAX: f32 = 1000.0;

/// How the next token is chosen. [`Sampling::default`] is greedy.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// logits are divided by it; 0 takes the likeliest token
    pub temperature: f32,
    /// only the k likeliest tokens; 0 keeps all
    pub top_k: usize,
    /// only the likeliest tokens that together have this probability; 1 keeps all
    pub top_p: f32,
    /// only tokens at least this share as likely as the likeliest; 0 keeps all
    pub min_p: f32,
    /// only the tokens nearest to the expected surprise that together have this share; 1 keeps all
    pub typical_p: f32,
    /// logits of tokens seen before are divided by it (negative ones multiplied); 1 does nothing
    pub repetition_penalty: f32,
    /// taken from the logits of tokens that were generated before; 0 does nothing
    pub presence_penalty: f32,
    /// taken from the logit of a token each time it was generated before; 0 does nothing
    pub frequency_penalty: f32,
    /// added to the logits of these ids
    pub logit_bias: Vec<(u32, f32)>,
    /// holds the surprise of the text; it takes the place of top-k, top-p, min-p and typical
    pub mirostat: Option<Mirostat>,
    /// the same seed draws the same tokens
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            mirostat: None,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Refuses values that mean nothing, and ids beyond the vocabulary.
    pub(crate) fn check(&self, vocabulary: usize) -> Result<(), InferError> {
        self.validate()?;
        match self.logit_bias.iter().find(|(id, _)| *id as usize >= vocabulary) {
            Some((id, _)) => Err(InferError::BiasOutOfRange { id: *id, vocabulary }),
            None => Ok(()),
        }
    }

    /// Refuses values that mean nothing.
    pub fn validate(&self) -> Result<(), InferError> {
        let probability = "it is a probability above 0 and up to 1";
        let penalty = "it is a number from −1000 to 1000 (0 does nothing)";
        let positive = |value: f32| value.is_finite() && value > 0.0;
        let share = |value: f32| value > 0.0 && value <= 1.0;
        let Mirostat { tau, eta } = self.mirostat.unwrap_or(Mirostat { tau: 1.0, eta: 1.0 });
        let unfit = self.logit_bias.iter().map(|(_, bias)| *bias).find(|bias| !bias.is_finite());
        let checks = [
            (
                "temperature",
                self.temperature,
                self.temperature.is_finite() && self.temperature >= 0.0,
                "it is a number from 0 up",
            ),
            ("top_p", self.top_p, share(self.top_p), probability),
            ("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "it is a share from 0 to 1"),
            ("typical_p", self.typical_p, share(self.typical_p), probability),
            (
                "repetition_penalty",
                self.repetition_penalty,
                (REPETITION_MAX.recip()..=REPETITION_MAX).contains(&self.repetition_penalty),
                "it is a number from 0.01 to 100 (1 does nothing)",
            ),
            ("presence_penalty", self.presence_penalty, self.presence_penalty.abs() <= PENALTY_MAX, penalty),
            (
                "frequency_penalty",
                self.frequency_penalty,
                self.frequency_penalty.abs() <= PENALTY_MAX,
                penalty,
            ),
            ("mirostat tau", tau, positive(tau), "it is a number of bits above 0"),
            ("mirostat eta", eta, positive(eta) && eta <= 1.0, "it is a share above 0 and up to 1"),
            ("logit_bias", unfit.unwrap_or(0.0), unfit.is_none(), "it is a number (−100 forbids a token)"),
        ];
        match checks.into_iter().find(|(_, _, good, _)| !good) {
            Some((key, value, _, allowed)) => Err(InferError::Sampling { key, value, allowed }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meaningless_options_are_named() {
        let sampling = Sampling::default;
        let cases = [
            ("temperature", Sampling { temperature: -1.0, ..sampling() }),
            ("temperature", Sampling { temperature: f32::NAN, ..sampling() }),
            ("top_p", Sampling { top_p: 0.0, ..sampling() }),
            ("top_p", Sampling { top_p: 1.5, ..sampling() }),
            ("min_p", Sampling { min_p: 2.0, ..sampling() }),
            ("typical_p", Sampling { typical_p: f32::NAN, ..sampling() }),
            ("repetition_penalty", Sampling { repetition_penalty: 0.0, ..sampling() }),
            ("repetition_penalty", Sampling { repetition_penalty: 1e-38, ..sampling() }),
            ("repetition_penalty", Sampling { repetition_penalty: 101.0, ..sampling() }),
            ("presence_penalty", Sampling { presence_penalty: f32::INFINITY, ..sampling() }),
            ("presence_penalty", Sampling { presence_penalty: 3e38, ..sampling() }),
            ("frequency_penalty", Sampling { frequency_penalty: f32::NAN, ..sampling() }),
            ("frequency_penalty", Sampling { frequency_penalty: -3e38, ..sampling() }),
            ("logit_bias", Sampling { logit_bias: vec![(0, 1.0), (1, f32::NAN)], ..sampling() }),
            ("tau", Sampling { mirostat: Some(Mirostat { tau: 0.0, eta: 0.1 }), ..sampling() }),
            ("eta", Sampling { mirostat: Some(Mirostat { tau: 5.0, eta: 2.0 }), ..sampling() }),
        ];
        assert!(sampling().validate().is_ok());
        for (key, sampling) in cases {
            let sentence = sampling.validate().unwrap_err().to_string();
            assert!(sentence.contains(key), "{sentence}");
        }
    }
}
