//! The trainer on a tiny real run: it learns, stops and goes on to the same bits, and refuses what it must.

mod common;

use common::tiny_run;
use journal::metrics::{self, Step};
use std::cell::Cell;
use std::path::Path;
use train::{Limits, Outcome, RunConfig, Trainer};

fn finish(trainer: &mut Trainer) -> Outcome {
    trainer.run(&Limits { interrupted: &|| false, time: None }, &mut ()).unwrap()
}

/// All lines without what depends on the clock.
fn lines(run: &Path) -> Vec<Step> {
    let mut steps = metrics::read(&run.join("metrics.jsonl")).unwrap();
    for step in &mut steps {
        step.tokens_per_s = 0.0;
        step.record.memory_bytes = None;
    }
    steps
}

fn weights(run: &Path, step: u64) -> Vec<u8> {
    let name = journal::layout::checkpoint_name(step);
    std::fs::read(run.join("checkpoints").join(name).join("weights.safetensors")).unwrap()
}

#[test]
fn a_run_learns_and_leaves_what_it_promises() {
    let dir = tempfile::tempdir().unwrap();
    let config = tiny_run(dir.path(), &["train.keep_last=1"]);
    let run = dir.path().join("run");
    assert_eq!(finish(&mut Trainer::create(config.clone(), &run, None).unwrap()), Outcome::Finished);
    let steps = lines(&run);
    assert_eq!(steps.len(), 40);
    let mean = |range: std::ops::Range<usize>| steps[range].iter().map(|s| s.loss).sum::<f64>() / 5.0;
    assert!(mean(35..40) < mean(0..5) - 0.5, "{} then {}", mean(0..5), mean(35..40));
    assert_eq!(steps[19].weight_decay, 0.1);
    assert_eq!(steps[20].weight_decay, 0.0);
    assert!(steps.iter().all(|s| s.lambda == 1.0 && s.bits_per_byte > 0.0 && s.grad_norm > 0.0));
    let record = &steps[39].record;
    assert!(record.validation_loss.unwrap() > 0.0 && record.unique_tokens.unwrap() >= 1);
    assert_eq!(record.zero_share.as_ref().unwrap().len(), 2);
    assert!(steps[4].record.flip_rate.is_some() && steps[3].record.flip_rate.is_none());
    // Boundaries 0, 10, 20, 30, 40 stay; 15 goes when 20 comes (keep_last = 1), unless it was the best.
    let mut kept: Vec<u64> = std::fs::read_dir(run.join("checkpoints"))
        .unwrap()
        .filter_map(|entry| journal::layout::checkpoint_step(entry.unwrap().file_name().to_str()?))
        .collect();
    kept.sort_unstable();
    for boundary in [0, 10, 20, 30, 40] {
        assert!(kept.contains(&boundary), "{boundary} of {kept:?}");
    }
    assert!(!kept.contains(&15), "{kept:?}");
    assert_eq!(RunConfig::resolve(None, Some(&run.join("config.toml")), &[]).unwrap(), config);
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    for sets in [
        &[][..],
        &["lambda.kind=linear"],
        &["train.optimizer=adam", "model.linear=dense"],
        &["train.optimizer=muon"],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = tiny_run(dir.path(), sets);
        let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
        finish(&mut Trainer::create(config.clone(), &whole, None).unwrap());
        let mut trainer = Trainer::create(config, &parts, None).unwrap();
        for stop_after in [7, 1, 12, 10] {
            let asked = Cell::new(0);
            let interrupted = || {
                asked.set(asked.get() + 1);
                asked.get() > stop_after
            };
            let outcome = trainer.run(&Limits { interrupted: &interrupted, time: None }, &mut ()).unwrap();
            assert_eq!(outcome, Outcome::Interrupted);
            drop(trainer);
            trainer = Trainer::resume(&parts, None).unwrap();
        }
        assert_eq!(trainer.state().step, 30);
        finish(&mut trainer);
        assert_eq!(lines(&parts).len(), 40);
        for (part, whole) in lines(&parts).iter().zip(lines(&whole)) {
            assert_eq!(*part, whole, "{sets:?}");
        }
        assert!(weights(&parts, 40) == weights(&whole, 40), "{sets:?}");
    }
}

#[test]
fn a_run_that_stops_early_is_the_beginning_of_the_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, early) = (dir.path().join("whole"), dir.path().join("early"));
    finish(&mut Trainer::create(tiny_run(dir.path(), &[]), &whole, None).unwrap());
    let config = tiny_run(dir.path(), &["train.stop_after=13"]);
    assert_eq!(finish(&mut Trainer::create(config, &early, None).unwrap()), Outcome::Finished);
    let (lines, whole_lines) = (lines(&early), lines(&whole));
    assert_eq!(lines.len(), 13);
    let losses = |lines: &[Step]| lines.iter().map(|line| line.loss.to_bits()).collect::<Vec<_>>();
    assert_eq!(losses(&lines), losses(&whole_lines[..13]));
    assert!(lines[0].record.unique_tokens.is_some(), "the untrained network is recorded");
    let scales = lines[12].record.scale.as_ref().expect("the last step is recorded");
    assert!(scales.len() == 2 && scales.iter().all(|scale| *scale > 0.0));
    assert!(weights(&early, 13) != weights(&whole, 20));
}

#[test]
fn a_run_killed_before_its_first_checkpoint_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    let (config, run) = (tiny_run(dir.path(), &[]), dir.path().join("run"));
    drop(Trainer::create(config, &run, None).unwrap());
    std::fs::remove_file(run.join("tokenizer.json")).unwrap();
    let mut trainer = Trainer::resume(&run, None).unwrap();
    assert_eq!((trainer.state().step, finish(&mut trainer)), (0, Outcome::Finished));
    assert!(run.join("tokenizer.json").exists());
}

#[test]
fn a_damaged_checkpoint_makes_room_for_a_sound_one() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let config = tiny_run(dir.path(), &["train.keep_last=1"]);
    finish(&mut Trainer::create(config, &run, None).unwrap());
    let whole = weights(&run, 40);
    std::fs::write(run.join("checkpoints/step-00000040/weights.safetensors"), "torn").unwrap();
    let mut trainer = Trainer::resume(&run, None).unwrap();
    assert_eq!((trainer.state().step, finish(&mut trainer)), (30, Outcome::Finished));
    assert!(weights(&run, 40) == whole);
    assert!(checkpoint::locate(&run).unwrap().warnings.is_empty());
    assert_eq!(
        std::fs::read(run.join("checkpoints/damaged-step-00000040/weights.safetensors")).unwrap(),
        b"torn"
    );
    let events = journal::events::read(&run.join("events.jsonl")).unwrap();
    assert!(events.iter().any(|event| event.message.contains("is now called damaged-step-00000040")));
}

#[test]
fn losses_are_reported_without_what_regularises_them() {
    let dir = tempfile::tempdir().unwrap();
    let regular = ["train.stop_after=1", "train.z_loss=0.1", "train.label_smoothing=0.2"];
    let [plain, regular] = [&regular[..1], &regular].map(|sets| {
        let run = dir.path().join(format!("run{}", sets.len()));
        finish(&mut Trainer::create(tiny_run(dir.path(), sets), &run, None).unwrap());
        let events = journal::events::read(&run.join("events.jsonl")).unwrap();
        let untrained = events.into_iter().find(|event| event.message.starts_with("untrained")).unwrap();
        let line = lines(&run).remove(0);
        (untrained.message, line.loss, line.bits_per_byte, line.grad_norm)
    });
    assert_eq!((&plain.0, plain.1, plain.2), (&regular.0, regular.1, regular.2));
    assert_ne!(plain.3, regular.3, "they are in the gradient");
}

#[test]
fn a_deadline_ends_with_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::create(tiny_run(dir.path(), &[]), &dir.path().join("run"), None).unwrap();
    let limits = Limits { interrupted: &|| false, time: Some(std::time::Duration::ZERO) };
    assert_eq!(trainer.run(&limits, &mut ()).unwrap(), Outcome::Deadline);
    assert_eq!(trainer.state().step, 0);
}

#[test]
fn the_guard_refuses_a_step_and_the_weights_stay_finite() {
    let dir = tempfile::tempdir().unwrap();
    // At the first step every loss is a spike against a window of one and a ratio below one.
    let sets = ["train.spike_ratio=1.0000001", "train.spike_window=1", "schedule.peak=0.3"];
    let run = dir.path().join("run");
    finish(&mut Trainer::create(tiny_run(dir.path(), &sets), &run, None).unwrap());
    let events = journal::events::read(&run.join("events.jsonl")).unwrap();
    let refused = events.iter().filter(|event| event.kind == journal::events::Kind::Guard).count();
    assert!(refused > 0);
    assert_eq!(lines(&run).len(), 40);

    let mut config = tiny_run(dir.path(), &sets);
    config.train.guard = train::config::Guard::Stop;
    let run = dir.path().join("stopped");
    let mut trainer = Trainer::create(config, &run, None).unwrap();
    let error = trainer.run(&Limits { interrupted: &|| false, time: None }, &mut ()).unwrap_err().to_string();
    assert!(error.contains("guard") && error.contains("--resume"), "{error}");
    assert!(error.contains(run.join("config.toml").to_str().unwrap()), "{error}");
    drop(trainer);

    let text = std::fs::read_to_string(run.join("config.toml")).unwrap();
    let text = text.replace("guard = \"stop\"", "guard = \"skip\"");
    let changed = text.replace("spike_ratio = 1.0000001", "spike_ratio = 1000.0");
    assert_ne!(text, changed);
    std::fs::write(run.join("config.toml"), changed.replace("peak = 0.3", "peak = 0.003")).unwrap();
    finish(&mut Trainer::resume(&run, None).unwrap());
    let events = journal::events::read(&run.join("events.jsonl")).unwrap();
    let refused = events.iter().filter(|event| event.kind == journal::events::Kind::Guard).count();
    assert_eq!(refused, 1, "what is changed counts after the resume");
}

#[test]
fn contradictions_between_data_model_and_run_are_sentences() {
    let dir = tempfile::tempdir().unwrap();
    let config = tiny_run(dir.path(), &[]);
    let fails = |config: RunConfig, name: &str| {
        Trainer::create(config, &dir.path().join(name), None).err().expect(name).to_string()
    };
    let mut small = config.clone();
    small.model.vocabulary = 200;
    assert!(fails(small, "small").contains("model.vocabulary"));
    let corrected = Trainer::create(config.clone(), &dir.path().join("small"), None);
    assert!(corrected.is_ok(), "a start that was refused leaves room for another");
    let mut none = config.clone();
    none.data.clear();
    assert!(fails(none, "none").contains("--data"));
    let mut gone = config.clone();
    gone.data[0].path = dir.path().join("gone");
    assert!(fails(gone, "gone").contains("gone"));
    let run = dir.path().join("run");
    drop(Trainer::create(config.clone(), &run, None).unwrap());
    assert!(fails(config, "run").contains("--resume"));
}
