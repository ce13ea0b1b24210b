//! How fast this machine trains a configuration: real steps on random tokens.

use crate::TrainError;
use crate::clock::{self, Op, Spent};
use crate::config::RunConfig;
use crate::engine::{Cpu, Engine};
use crate::frozen::Beginning;
use crate::optim::adam::Update;
use crate::step::MicroBatch;
use model::Weights;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::time::{Duration, Instant};

/// Times of whole steps: forward, backward, clipping and update.
pub struct Pace {
    /// of one step
    pub tokens_per_step: u64,
    /// one a step
    pub steps: Vec<Duration>,
    /// what the timed steps spent their time in
    pub spent: Vec<(Op, Spent)>,
    /// loss of the first and the last step
    pub losses: (f64, f64),
}

impl Pace {
    /// The median step.
    pub fn median(&self) -> Duration {
        let mut sorted = self.steps.clone();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    }

    /// Tokens per second of the median step.
    pub fn tokens_per_s(&self) -> f64 {
        self.tokens_per_step as f64 / self.median().as_secs_f64()
    }
}

/// Runs `warmup` steps untimed, then `steps` (at least 1) timed, at the λ of step 0.
pub fn measure(config: &RunConfig, warmup: usize, steps: usize) -> Result<Pace, TrainError> {
    let train = &config.train;
    let schedule = config.schedule()?;
    let weights = Weights::random(&config.model, train.seed);
    let mut engine = Cpu::new(config, train.batch, Beginning::Learned(weights), None);
    let rows = train.batch * train.sequence;
    let mut rng = ChaCha8Rng::seed_from_u64(train.seed);
    let mut draw = || (rng.next_u64() % config.model.vocabulary as u64) as u32;
    let ids: Vec<u32> = (0..=rows).map(|_| draw()).collect();
    let batch = MicroBatch { tokens: &ids[..rows], targets: &ids[1..], starts: &vec![0; rows] };
    let lambda = schedule.at(0).lambda as f32;
    let mut losses = Vec::new();
    let mut times = Vec::new();
    for index in 0..warmup + steps.max(1) {
        if index == warmup {
            clock::take();
        }
        let begun = Instant::now();
        losses.push(step(&mut engine, batch, lambda, train.accumulation, train.clip));
        times.push(begun.elapsed());
    }
    Ok(Pace {
        tokens_per_step: train.tokens_per_step(),
        steps: times.split_off(warmup),
        spent: clock::take(),
        losses: (losses[0], losses[losses.len() - 1]),
    })
}

fn step(engine: &mut Cpu, batch: MicroBatch, lambda: f32, accumulation: usize, clip: f64) -> f64 {
    engine.begin(lambda, accumulation);
    let targets = batch.targets.len() * accumulation;
    let nats: f64 = (0..accumulation).map(|_| engine.forward_backward(batch, 1.0 / targets as f32)).sum();
    let norm = engine.gradient_norm();
    let gradient_scale = if clip > 0.0 { (clip / norm).min(1.0) as f32 } else { 1.0 };
    engine.update(Update { lr: 1e-3, weight_decay: 0.1, gradient_scale });
    nats / targets as f64
}
