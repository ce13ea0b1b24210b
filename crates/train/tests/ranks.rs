//! Ranks as threads of this process: they train what one process trains, and a checkpoint goes on at any number of them.

#[path = "common/chats.rs"]
mod chats;
mod common;

use cluster::{Group, local};
use common::tiny_run;
use journal::metrics::{self, Step};
use std::path::Path;
use train::{Limits, Outcome, RunConfig, TrainError, Trainer};

/// Runs a job of `ranks` ranks until `steps` steps are done, resuming the run where it exists.
fn job(ranks: usize, config: &RunConfig, run: &Path, steps: u64) -> Vec<Result<Outcome, TrainError>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = local::group(ranks)
            .into_iter()
            .map(|end| {
                scope.spawn(move || rank(Group::join(|| Ok::<_, ()>(end)).unwrap(), config, run, steps))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn rank(group: Group, config: &RunConfig, run: &Path, steps: u64) -> Result<Outcome, TrainError> {
    let mut trainer = match (group.rank(), journal::Run::is_run(run)) {
        (0, false) => Trainer::create(config.clone(), run, Some(group))?,
        (0, true) => Trainer::resume(run, Some(group))?,
        _ => Trainer::join(group)?,
    };
    let left = std::cell::Cell::new(steps - trainer.state().step + 1);
    let interrupted = || {
        left.set(left.get() - 1);
        left.get() == 0
    };
    let outcome = trainer.run(&Limits { interrupted: &interrupted, time: None }, &mut ());
    trainer.leave();
    outcome
}

fn lines(run: &Path) -> Vec<Step> {
    let mut steps = metrics::read(&run.join("metrics.jsonl")).unwrap();
    for step in &mut steps {
        step.tokens_per_s = 0.0;
        step.record.memory_bytes = None;
    }
    steps
}

/// The curves agree as sums in another order do.
fn assert_same_curve(run: &Path, expected: &[Step], what: &str) {
    let lines = lines(run);
    assert_eq!(lines.len(), expected.len(), "{what}");
    for (line, expected) in lines.iter().zip(expected) {
        let step = line.step;
        assert_eq!((step, line.tokens, line.lr), (expected.step, expected.tokens, expected.lr), "{what}");
        for (value, expected) in [
            (line.loss, expected.loss),
            (line.bits_per_byte, expected.bits_per_byte),
            (line.record.validation_loss.unwrap_or(0.0), expected.record.validation_loss.unwrap_or(0.0)),
        ] {
            assert!((value - expected).abs() < 1e-3, "{what}, step {step}: {value} where one has {expected}");
        }
    }
}

fn config(dir: &Path, sets: &[&str]) -> RunConfig {
    // At a high rate one weight that rounds the other way is soon a visible difference, also between two orders of summation
    // in one process.
    let mut all = vec!["train.batch=6", "train.threads=1", "schedule.peak=5e-4"];
    all.extend(sets);
    tiny_run(dir, &all)
}

#[test]
fn the_curve_does_not_depend_on_the_number_of_ranks() {
    let split_by_accumulation = &["train.batch=1", "train.accumulation=6"][..];
    let dense = &["model.linear=dense", "model.tied=false"][..];
    for sets in [&[][..], dense, &["lambda.kind=linear"], split_by_accumulation] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), sets);
        let alone = dir.path().join("alone");
        let mut trainer = Trainer::create(config.clone(), &alone, None).unwrap();
        trainer.run(&Limits { interrupted: &|| false, time: None }, &mut ()).unwrap();
        for ranks in [1, 2, 3] {
            let run = dir.path().join(format!("ranks{ranks}"));
            let outcomes = job(ranks, &config, &run, 1000);
            assert!(outcomes.into_iter().all(|outcome| outcome.unwrap() == Outcome::Finished));
            assert_same_curve(&run, &lines(&alone), &format!("{sets:?}, {ranks} ranks"));
        }
    }
}

#[test]
fn the_same_number_of_ranks_gives_the_same_bits_also_across_a_resume() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &[]);
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    job(2, &config, &whole, 1000);
    for steps in [7, 22, 1000] {
        job(2, &config, &parts, steps);
    }
    assert_eq!(lines(&parts), lines(&whole));
    for file in ["weights.safetensors", "optimizer.safetensors", "recorded.safetensors", "state.json"] {
        let read = |run: &Path| std::fs::read(run.join("checkpoints/step-00000040").join(file)).unwrap();
        assert!(read(&parts) == read(&whole), "{file}");
    }
}

#[test]
fn a_checkpoint_goes_on_at_another_number_of_ranks() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &[]);
    let (alone, run) = (dir.path().join("alone"), dir.path().join("run"));
    job(1, &config, &alone, 1000);
    for (ranks, steps) in [(1, 5), (2, 12), (1, 17), (3, 29), (2, 33), (1, 1000)] {
        let outcomes = job(ranks, &config, &run, steps);
        let expected = if steps < 40 { Outcome::Interrupted } else { Outcome::Finished };
        assert!(outcomes.into_iter().all(|outcome| outcome.unwrap() == expected));
    }
    assert_same_curve(&run, &lines(&alone), "changing ranks");
}

#[test]
fn ranks_read_the_same_conversations() {
    let dir = tempfile::tempdir().unwrap();
    let (base, file) = chats::model_and_conversations(dir.path(), &[]);
    let config = chats::sft(&base, &file, &["train.threads=1"]);
    let [alone, run] = ["alone", "ranks"].map(|name| dir.path().join(name));
    job(1, &config, &alone, 1000);
    for steps in [3, 1000] {
        assert!(job(2, &config, &run, steps).iter().all(|outcome| outcome.is_ok()));
    }
    assert_same_curve(&run, &lines(&alone), "two ranks");
}

#[test]
fn a_batch_that_the_ranks_cannot_share_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &["train.batch=5", "train.accumulation=1"]);
    let run = dir.path().join("run");
    let error = std::thread::scope(|scope| {
        let mut ends = local::group(2).into_iter().map(|end| Group::join(|| Ok::<_, ()>(end)).unwrap());
        let (root, other) = (ends.next().unwrap(), ends.next().unwrap());
        let other = scope.spawn(|| Trainer::join(other).map(drop));
        let error = Trainer::create(config, &run, Some(root)).err().unwrap().to_string();
        assert!(other.join().unwrap().is_err());
        error
    });
    assert!(error.contains("train.batch = 5") && error.contains("2 ranks"), "{error}");
}

#[test]
fn muon_is_refused_among_ranks() {
    let dir = tempfile::tempdir().unwrap();
    let config = tiny_run(dir.path(), &["train.optimizer=muon"]);
    for outcome in job(2, &config, &dir.path().join("run"), 1) {
        let sentence = outcome.unwrap_err().to_string();
        assert!(sentence.contains("train.optimizer = \"muon\" needs whole matrices"), "{sentence}");
    }
}
