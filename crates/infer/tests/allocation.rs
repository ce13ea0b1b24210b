//! After the first token, decoding asks the system for no memory. A binary of its own: the allocator counts for all threads.

use infer::{Engine, EngineOptions, KvType, Mirostat, Sampler, Sampling};
use model::adapter::{Adapter, Rank};
use model::{Config, Projection, Weights};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const STEPS: usize = 32;

/// Allocations of 32 steps after the prompt and the first token: the least of three tries, because threads that are
/// still starting (the pool's, the test's own) allocate once. What the loop allocates, it allocates in each try.
fn allocations(lambda: f32, sampling: Sampling, adapted: bool) -> usize {
    let config: Config = toml::from_str(
        "hidden = 64\nlayers = 2\nheads = 4\nkv_heads = 2\nhead_size = 16\nffn = 96\nvocabulary = 300\ncontext = 64",
    )
    .unwrap();
    let weights = Weights::random(&config, 2);
    let mut engine = Engine::new(
        &weights,
        EngineOptions { threads: 2, lambda, kv: Some(KvType::F32), ..EngineOptions::default() },
    )
    .unwrap();
    if adapted {
        let rank = Rank { rank: 4, alpha: 8.0, stabilised: false };
        engine = engine.with_adapter(&Adapter::fresh(&config, rank, &Projection::ALL, 1));
    }
    let mut session = engine.session(64).unwrap();
    let mut sampler = Sampler::new(sampling, config.vocabulary).unwrap();
    let mut attempt = || {
        session.reset();
        session.forward(&[1, 2, 3]).unwrap();
        let mut id = sampler.choose(session.logits()).unwrap();
        session.forward(&[id]).unwrap();
        let region = Region::new(ALLOCATOR);
        for _ in 0..STEPS {
            id = sampler.choose(session.logits()).unwrap();
            session.forward(&[id]).unwrap();
        }
        let change = region.change();
        assert_eq!(session.position(), 4 + STEPS);
        change.allocations + change.reallocations
    };
    [attempt(), attempt(), attempt()].into_iter().min().unwrap_or(0)
}

/// As [`allocations`], where only the best logits of a screened head are found.
fn allocations_of_the_best(count: usize) -> usize {
    let config: Config = toml::from_str(
        "hidden = 64\nlayers = 1\nheads = 4\nkv_heads = 2\nhead_size = 16\nffn = 96\nvocabulary = 70000\ncontext = 64",
    )
    .unwrap();
    let weights = Weights::random(&config, 2);
    let engine = Engine::new(&weights, EngineOptions { threads: 2, ..EngineOptions::default() }).unwrap();
    let mut session = engine.session(64).unwrap();
    let mut attempt = || {
        session.reset();
        let mut id = session.forward_best(&[1, 2, 3], count).unwrap()[0].0;
        let region = Region::new(ALLOCATOR);
        for _ in 0..STEPS {
            id = session.forward_best(&[id], count).unwrap()[count - 1].0;
        }
        let change = region.change();
        change.allocations + change.reallocations
    };
    [attempt(), attempt(), attempt()].into_iter().min().unwrap_or(0)
}

#[test]
fn decoding_does_not_allocate() {
    let every_step = Sampling {
        temperature: 0.9,
        top_k: 50,
        top_p: 0.9,
        min_p: 0.01,
        typical_p: 0.95,
        repetition_penalty: 1.1,
        presence_penalty: 0.1,
        frequency_penalty: 0.1,
        logit_bias: vec![(7, 0.5)],
        mirostat: None,
        seed: 1,
    };
    let mirostat =
        Sampling { temperature: 1.0, mirostat: Some(Mirostat { tau: 3.0, eta: 0.1 }), ..Sampling::default() };
    for lambda in [1.0, 0.5, 0.0] {
        assert_eq!(allocations(lambda, Sampling::default(), false), 0);
        assert_eq!(allocations(lambda, every_step.clone(), false), 0);
        assert_eq!(allocations(lambda, mirostat.clone(), false), 0);
        assert_eq!(allocations(lambda, Sampling::default(), true), 0);
    }
    for count in [1, 40] {
        assert_eq!(allocations_of_the_best(count), 0, "the best {count}");
    }
}
