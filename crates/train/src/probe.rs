//! What a network says to fixed nonsense: the numbers that show a collapse before the loss does.
//!
//! Twenty prompts of eight random tokens lie side by side as documents of one batch, so one forward answers all.

use crate::engine::Engine;
use crate::loss::cross_entropy::IGNORE;
use crate::step::MicroBatch;
use kernels::softmax;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const PROMPTS: usize = 20;
const PROMPT: usize = 8;

/// The answers in numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answers {
    /// distinct most likely next tokens after the prompts, 1..=20
    pub unique_tokens: usize,
    /// mean entropy of the distribution after a prompt, in nats
    pub output_entropy: f64,
    /// share of all positions whose most likely next token is the commonest one
    pub repetition: f64,
}

/// The prompts, laid out as batches of the network's shape.
pub struct Probe {
    tokens: Vec<u32>,  // (batches · rows)
    targets: Vec<u32>, // all ignored
    starts: Vec<u32>,
    rows: usize,
    prompt: usize,
    vocabulary: usize,
}

impl Probe {
    /// Prompts for a network with `rows` tokens a batch, in sequences of `sequence`. The seed fixes the prompts.
    pub fn new(rows: usize, sequence: usize, vocabulary: usize, seed: u64) -> Self {
        let prompt = PROMPT.min(sequence);
        let per_sequence = sequence / prompt;
        let per_batch = rows / sequence * per_sequence;
        let total = PROMPTS.div_ceil(per_batch) * rows;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let draw = |_| (rng.next_u64() % vocabulary as u64) as u32;
        let starts = (0..total).map(|row| (row % sequence / prompt * prompt) as u32).collect();
        let tokens = (0..total).map(draw).collect();
        Self { tokens, targets: vec![IGNORE; total], starts, rows, prompt, vocabulary }
    }

    /// Asks the network.
    pub fn ask(&self, engine: &mut dyn Engine, sequence: usize) -> Answers {
        let whole = sequence / self.prompt * self.prompt;
        let mut counts = vec![0usize; self.vocabulary];
        let (mut positions, mut prompts, mut entropy) = (0usize, 0usize, 0.0);
        let mut last = Vec::with_capacity(PROMPTS);
        for from in (0..self.tokens.len()).step_by(self.rows) {
            let batch = from..from + self.rows;
            let batch = MicroBatch {
                tokens: &self.tokens[batch.clone()],
                targets: &self.targets[batch.clone()],
                starts: &self.starts[batch],
            };
            engine.predict(batch, &mut |row, logits| {
                if row % sequence >= whole || prompts == PROMPTS {
                    return;
                }
                let best = largest_index(logits);
                counts[best] += 1;
                positions += 1;
                if row % sequence % self.prompt == self.prompt - 1 {
                    prompts += 1;
                    last.push(best);
                    entropy += entropy_of(logits);
                }
            });
        }
        last.sort_unstable();
        last.dedup();
        Answers {
            unique_tokens: last.len(),
            output_entropy: entropy / prompts as f64,
            repetition: counts.iter().copied().max().unwrap_or(0) as f64 / positions as f64,
        }
    }
}

/// Index of the largest value, the first of equals.
fn largest_index(x: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in x.iter().enumerate() {
        if *value > x[best] {
            best = index;
        }
    }
    best
}

/// Entropy of softmax(logits) in nats: `lse − Σ p·l`.
fn entropy_of(logits: &[f32]) -> f64 {
    let shift = softmax::largest(logits);
    let mut powers = logits.to_vec();
    let sum = softmax::exp_in_place(&mut powers, shift);
    f64::from(shift + sum.ln() - softmax::dot(&powers, logits) / sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::adam::Update;

    /// Answers every row with the same logits, or with a spike at `row % 5`.
    struct Parrot {
        cycles: bool,
    }

    impl Engine for Parrot {
        fn begin(&mut self, _: f32, _: usize) {}
        fn forward_backward(&mut self, _: MicroBatch, _: f32) -> f64 {
            0.0
        }
        fn gradient_norm(&mut self) -> f64 {
            0.0
        }
        fn update(&mut self, _: Update) {}
        fn evaluate(&mut self, _: MicroBatch) -> f64 {
            0.0
        }
        fn predict(&mut self, batch: MicroBatch, visit: &mut dyn FnMut(usize, &mut [f32])) {
            for row in 0..batch.tokens.len() {
                let mut logits = vec![0.0; 64];
                if self.cycles {
                    logits[row / 8 % 5] = 50.0;
                }
                visit(row, &mut logits);
            }
        }
    }

    #[test]
    fn a_uniform_and_a_certain_model_are_told_apart() {
        for (rows, sequence) in [(512, 64), (40, 10), (16, 8), (12, 4)] {
            let probe = Probe::new(rows, sequence, 64, 1);
            let uniform = probe.ask(&mut Parrot { cycles: false }, sequence);
            assert_eq!(uniform.unique_tokens, 1);
            assert!((uniform.output_entropy - 64f64.ln()).abs() < 1e-5);
            assert_eq!(uniform.repetition, 1.0);
        }
        let probe = Probe::new(512, 64, 64, 1);
        let certain = probe.ask(&mut Parrot { cycles: true }, 64);
        assert_eq!(certain.unique_tokens, 5);
        assert!(certain.output_entropy < 1e-6);
        assert!((certain.repetition - 0.2).abs() < 1e-9);
    }
}
