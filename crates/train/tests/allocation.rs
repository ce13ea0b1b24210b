//! After the first step, training allocates nothing: alone in its binary, because the counter is global.

mod common;

use journal::metrics::Step;
use std::alloc::System;
use std::path::Path;
use train::config::{StartConfig, TrainConfig};
use train::{Limits, Observer, RunConfig, Trainer};

#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// The allocations so far, after each step.
struct Counts(Vec<usize>);

impl Observer for Counts {
    fn step(&mut self, _: &Step, _: u64) {
        let stats = ALLOCATOR.stats();
        self.0.push(stats.allocations + stats.reallocations);
    }
}

#[test]
fn a_steady_step_allocates_nothing() {
    for sets in [
        &[][..],
        &["lambda.kind=linear"],
        &["model.linear=dense"],
        &["model.activation=silu"],
        &["train.optimizer=muon"],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = common::tiny_run(dir.path(), sets);
        config.train.steps = 80;
        assert_steady(config, &dir.path().join("run"), sets);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut config = common::tiny_run(dir.path(), &["train.steps=1", "schedule.warmup=0"]);
    let base = dir.path().join("base");
    Trainer::create(config.clone(), &base, None).unwrap().run(&LIMITS, &mut ()).unwrap();
    let start = StartConfig { from: base };
    let adapted = RunConfig::adapt(&start, &config.model, None, &["schedule.warmup=8".to_owned()]).unwrap();
    config = RunConfig {
        train: TrainConfig { steps: 80, ..config.train },
        schedule: adapted.schedule.clone(),
        data: config.data,
        ..adapted
    };
    assert_steady(config, &dir.path().join("adapted"), &["lora"]);
}

const LIMITS: Limits = Limits { interrupted: &|| false, time: None };

/// 80 steps, of which the first quarter allocates nothing after the first.
fn assert_steady(mut config: RunConfig, run: &Path, what: &[&str]) {
    // Records and checkpoints may allocate: there are none between step 1 and the end of the first quarter.
    config.train.record_every = 1000;
    config.train.checkpoint_every = 0;
    let mut trainer = Trainer::create(config, run, None).unwrap();
    let mut counts = Counts(Vec::with_capacity(80));
    trainer.run(&LIMITS, &mut counts).unwrap();
    let steady = &counts.0[..19];
    // The warm-up ends at step 8, which is an event.
    for step in (1..7).chain(9..19) {
        assert_eq!(steady[step], steady[step - 1], "{what:?}: step {step} allocates");
    }
}
