//! Mirostat 2: holds the surprise of the text at a target by moving a bar on the surprise of each token.
//! Source: Basu et al., "Mirostat: A Neural Text Decoding Algorithm that Directly Controls Perplexity"; as llama.cpp has it.

use super::{Candidate, by_rank};

/// Target and pace of Mirostat 2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirostat {
    /// bits of surprise per token that it holds of the tokens it draws from (llama.cpp: 5)
    pub tau: f32,
    /// share of a miss by which the bar moves (llama.cpp: 0.1)
    pub eta: f32,
}

/// The bar μ, in bits.
pub(super) struct Bar(f64);

impl Bar {
    /// μ begins at 2τ.
    pub(super) fn new(mirostat: Mirostat) -> Self {
        Self(2.0 * f64::from(mirostat.tau))
    }

    /// Keeps the candidates of at most μ bits of surprise, and never none.
    pub(super) fn keep(&self, candidates: &mut Vec<Candidate>) {
        let least = (-self.0).exp2();
        if let Some(first) = candidates.iter().min_by(|a, b| by_rank(a, b)).copied() {
            candidates.retain(|c| f64::from(c.probability) >= least);
            if candidates.is_empty() {
                candidates.push(first);
            }
        }
    }

    /// Moves μ by what the choice among the kept candidates missed the target.
    pub(super) fn learn(&mut self, mirostat: Mirostat, candidates: &[Candidate], chosen: u32) {
        let sum: f64 = candidates.iter().map(|c| f64::from(c.probability)).sum();
        let chosen = candidates.iter().find(|c| c.id == chosen).map_or(sum, |c| f64::from(c.probability));
        let surprise = -(chosen / sum).log2();
        self.0 -= f64::from(mirostat.eta) * (surprise - f64::from(mirostat.tau));
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::{Draws, pick};
    use super::super::tests::{ids, with_probabilities};
    use super::*;

    #[test]
    fn the_bar_cuts_at_its_bits_and_moves_towards_the_target() {
        let mirostat = Mirostat { tau: 1.0, eta: 0.5 };
        let mut bar = Bar::new(mirostat);
        let mut candidates = with_probabilities(&[0.5, 0.25, 0.125, 0.125]);
        bar.keep(&mut candidates);
        assert_eq!(ids(&candidates), [0, 1], "two bits at first");
        // among 2/3 and 1/3, the second has 1.585 bits: 0.585 too many, half of it
        bar.learn(mirostat, &candidates, 1);
        assert!((bar.0 - (2.0 - 0.5 * (3f64.log2() - 1.0))).abs() < 1e-6, "{}", bar.0);
        bar.0 = 0.1;
        let mut candidates = with_probabilities(&[0.25, 0.5, 0.25]);
        bar.keep(&mut candidates);
        assert_eq!(ids(&candidates), [1], "the likeliest stays where all are too much");
    }

    #[test]
    fn the_mean_surprise_comes_near_the_target() {
        // 1000 tokens by Zipf's law: 6.3 bits where all may be drawn
        let sum: f32 = (1..=1000).map(|rank| 1.0 / rank as f32).sum();
        let all: Vec<f32> = (1..=1000).map(|rank| 1.0 / rank as f32 / sum).collect();
        for tau in [1.5f32, 2.0, 4.0] {
            let mirostat = Mirostat { tau, eta: 0.1 };
            let (mut bar, mut draws) = (Bar::new(mirostat), Draws::new(5));
            let mut bits = 0.0;
            for _ in 0..4000 {
                let mut candidates = with_probabilities(&all);
                bar.keep(&mut candidates);
                let id = pick(&candidates, draws.next_uniform());
                bar.learn(mirostat, &candidates, id);
                let kept: f32 = candidates.iter().map(|c| c.probability).sum();
                bits -= f64::from(all[id as usize] / kept).log2() / 4000.0;
            }
            assert!((bits - f64::from(tau)).abs() < 0.1, "{bits} for {tau}");
        }
    }
}
