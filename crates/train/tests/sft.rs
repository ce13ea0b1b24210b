//! Supervised fine-tuning: only answers are scored, a run begins with a model's weights, and goes on to the same bits.

#[path = "common/chats.rs"]
mod chats;
mod common;

use chats::{model_and_conversations, sft};
use common::tiny_run;
use data::IGNORE;
use journal::metrics;
use kernels::gemm::Arithmetic;
use model::{Config, LinearKind, Weights, reference};
use std::path::Path;
use train::config::{HealConfig, StartConfig, SubNorm};
use train::loss::cross_entropy::Options;
use train::step::{Dimensions, Keep, MicroBatch, Network};
use train::{Limits, Outcome, RunConfig, Trainer};

fn finish(trainer: &mut Trainer) -> Outcome {
    trainer.run(&Limits { interrupted: &|| false, time: None }, &mut ()).unwrap()
}

fn weights(run: &Path) -> Weights {
    checkpoint::locate(run).unwrap().checkpoint.load_weights().unwrap()
}

/// Two conversations side by side, one unscored position of each at a time given another target: nothing changes but
/// where an answer's target is changed. The loss is the mean surprise of the answers under the reference forward.
#[test]
fn only_answers_are_scored() {
    let config: Config = toml::from_str(
        "hidden = 32\nlayers = 2\nheads = 2\nkv_heads = 1\nhead_size = 16\nffn = 48\nvocabulary = 50\ncontext = 16",
    )
    .unwrap();
    let tokens: Vec<u32> = (0..16).map(|i| (i * 7 + 3) % 50).collect();
    let starts: Vec<u32> = (0..16).map(|i| if i < 9 { 0 } else { 9 }).collect();
    let mut targets = vec![IGNORE; 16];
    // answers: the tokens after positions 4..=7, and after 12..=13
    let scored = [4, 5, 6, 7, 12, 13];
    scored.iter().for_each(|at| targets[*at] = (tokens[*at] + 1) % 50);
    let weights = Weights::random(&config, 3);
    let run = |targets: &[u32]| {
        let dimensions =
            Dimensions { batch: 1, sequence: 16, blend: false, backward: Arithmetic::F32, keep: Keep::All };
        let mut network = Network::new(weights.clone(), dimensions, Options::default(), 1);
        network.renew(1.0);
        let loss = network.forward_backward(MicroBatch { tokens: &tokens, targets, starts: &starts }, 1.0);
        (loss, network.gradients)
    };
    let (loss, gradients) = run(&targets);
    let logits = reference::logits(&weights, &tokens, &starts, 1.0);
    let surprise = |at: usize| {
        let logits = &logits[at * 50..(at + 1) * 50];
        let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        sum.ln() - f64::from(logits[targets[at] as usize])
    };
    let expected: f64 = scored.into_iter().map(surprise).sum();
    assert!((loss / expected - 1.0).abs() < 1e-5, "{loss} {expected}");
    // No gradient comes from a prompt: scoring answers one by one adds up to all of it.
    let mut sum = vec![0.0f32; gradients.len()];
    for at in scored {
        let mut one = vec![IGNORE; 16];
        one[at] = targets[at];
        run(&one).1.iter().zip(&mut sum).for_each(|(gradient, sum)| *sum += gradient);
    }
    let largest = gradients.iter().fold(0.0f32, |max, gradient| max.max(gradient.abs()));
    assert!(gradients.iter().zip(&sum).all(|(all, sum)| (all - sum).abs() < 1e-5 * largest));
    assert!(run(&[IGNORE; 16]).1.iter().all(|gradient| *gradient == 0.0));
    // Tokens of the other conversation do not reach this one.
    let mut first = vec![IGNORE; 16];
    scored[..4].iter().for_each(|at| first[*at] = targets[*at]);
    let embedding = weights.layout.embedding;
    let gradients = run(&first).1;
    for at in 9..16 {
        if !tokens[..9].contains(&tokens[at]) && !weights.config.tied {
            let row = &embedding.of(&gradients)[tokens[at] as usize * 32..][..32];
            assert!(row.iter().all(|gradient| *gradient == 0.0), "position {at}");
        }
    }
}

#[test]
fn a_run_begins_with_a_models_weights_and_keeps_what_it_is() {
    for linear in ["ternary", "dense"] {
        let dir = testkit::temp_dir();
        let (base, file) = model_and_conversations(dir.path(), &[&format!("model.linear={linear}")]);
        let run = dir.path().join("run");
        let config = sft(&base, &file, &["schedule.peak=0.01"]);
        assert_eq!(config.model.linear == LinearKind::Ternary, linear == "ternary");
        let mut trainer = Trainer::create(config, &run, None).unwrap();
        let notes = trainer.notes().join("\n");
        assert!(notes.contains("40 conversations") && notes.contains("no chat template"), "{notes}");
        finish(&mut trainer);
        drop(trainer);
        let first = journal::layout::checkpoint_name(0);
        let begun = checkpoint::open(&run.join("checkpoints").join(first)).unwrap();
        assert!(begun.chat_template.unwrap().contains("eos_token") && !begun.end_ids.is_empty());
        let first = run.join("checkpoints").join(journal::layout::checkpoint_name(0));
        let [begun, base] = [weights(&first), weights(&base)];
        assert!(begun.data == base.data, "{linear}");
        let steps = metrics::read(&run.join("metrics.jsonl")).unwrap();
        assert!(steps[7].loss < steps[0].loss - 0.1, "{} then {}", steps[0].loss, steps[7].loss);
    }
}

#[test]
fn a_stopped_fine_tuning_goes_on_to_the_same_bits() {
    let dir = testkit::temp_dir();
    let (base, file) = model_and_conversations(dir.path(), &[]);
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    finish(&mut Trainer::create(sft(&base, &file, &[]), &whole, None).unwrap());
    let mut trainer = Trainer::create(sft(&base, &file, &[]), &parts, None).unwrap();
    let asked = std::cell::Cell::new(0);
    let interrupted = || {
        asked.set(asked.get() + 1);
        asked.get() > 5
    };
    let limits = Limits { interrupted: &interrupted, time: None };
    assert_eq!(trainer.run(&limits, &mut ()).unwrap(), Outcome::Interrupted);
    drop(trainer);
    // What it began with is no longer needed.
    std::fs::remove_dir_all(&base).unwrap();
    finish(&mut Trainer::resume(&parts, None).unwrap());
    assert!(weights(&parts).data == weights(&whole).data);
    std::fs::write(
        &file,
        r#"{"prompt":"a","completion":"b"}"#.to_owned() + "\n" + r#"{"prompt":"c","completion":"d"}"#,
    )
    .unwrap();
    let error = Trainer::resume(&parts, None).err().expect("other conversations").to_string();
    assert!(error.contains("other data"), "{error}");
}

/// Adam sees only the direction but for epsilon: the same weights come out within rounding, from a gradient of the sum.
#[test]
fn the_sum_is_the_mean_times_its_tokens() {
    let dir = testkit::temp_dir();
    let (base, file) = model_and_conversations(dir.path(), &[]);
    let norms = ["mean", "sum"].map(|reduction| {
        let run = dir.path().join(reduction);
        let set = format!("train.reduction={reduction}");
        finish(&mut Trainer::create(sft(&base, &file, &[&set]), &run, None).unwrap());
        let steps = metrics::read(&run.join("metrics.jsonl")).unwrap();
        (steps[0].grad_norm, steps[0].loss)
    });
    assert_eq!(norms[0].1, norms[1].1);
    let tokens = norms[1].0 / norms[0].0;
    assert!((tokens - tokens.round()).abs() < 1e-3 * tokens && tokens > 1.5, "{tokens}");
}

#[test]
fn contradictions_are_sentences() {
    let dir = testkit::temp_dir();
    let (base, file) = model_and_conversations(dir.path(), &[]);
    let source = checkpoint::open(&base).unwrap();
    let start = StartConfig { from: base.clone() };
    let fails = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        RunConfig::start(&start, source.config(), None, &sets).unwrap_err().to_string()
    };
    let files = format!("sft.files=['{}']", file.display());
    assert!(fails(&["sft.files=[]"]).contains("names no file"));
    assert!(fails(&[&files, "sft.valid_share=0"]).contains("valid_share"));
    assert!(fails(&[&files, "data=[{path='x'}]"]).contains("leave one of them out"));
    assert!(fails(&[&files, "train.document_mask=false"]).contains("kept apart"));
    assert!(fails(&["heal.from=x"]).contains("healing"));
    let error = RunConfig::resolve(Some("tiny"), None, &[files]).unwrap_err().to_string();
    assert!(error.contains("--from"), "{error}");
    let mut other = sft(&base, &file, &[]);
    other.model.ffn = 64;
    let error = Trainer::create(other, &dir.path().join("other"), None).err().unwrap().to_string();
    assert!(error.contains("its network is not"), "{error}");
}

#[test]
fn a_healing_on_conversations_learns_from_a_teacher_with_the_same_tokenizer() {
    let dir = testkit::temp_dir();
    let (base, file) = model_and_conversations(dir.path(), &["model.linear=dense"]);
    let source = checkpoint::open(&base).unwrap();
    let config = |teacher: &Path, sub_norm| {
        let sets = [
            "train.steps=4",
            "train.batch=2",
            "train.sequence=32",
            "train.threads=2",
            "schedule.warmup=1",
            "lambda.kind=linear",
            "sft.valid_share=0.1",
            "distill.relation=0.1",
        ];
        let mut sets = sets.map(str::to_owned).to_vec();
        sets.push(format!("sft.files=['{}']", file.display()));
        let heal = HealConfig { from: base.clone(), sub_norm, rotate: false };
        RunConfig::heal(heal, source.config(), Some(teacher), None, &sets).unwrap()
    };
    for (name, sub_norm) in [("none", SubNorm::None), ("insert", SubNorm::Insert)] {
        let run = dir.path().join(name);
        finish(&mut Trainer::create(config(&base, sub_norm), &run, None).unwrap());
        let steps = metrics::read(&run.join("metrics.jsonl")).unwrap();
        let distilled = steps[3].distillation.unwrap();
        assert!(
            distilled[0] > 0.0 && distilled[1] > 0.0 && steps[3].record.ternary_validation_loss.is_some()
        );
    }
    let elsewhere = testkit::temp_dir();
    let mut other = tiny_run(elsewhere.path(), &["train.steps=1", "model.linear=dense", "schedule.warmup=0"]);
    let words = testkit::temp_dir();
    other.data[0].path = testkit::dataset(words.path(), 100, 290);
    let teacher = elsewhere.path().join("teacher");
    finish(&mut Trainer::create(other, &teacher, None).unwrap());
    let run = dir.path().join("refused");
    let error = Trainer::create(config(&teacher, SubNorm::None), &run, None).err().unwrap().to_string();
    assert!(error.contains("its tokenizer is not that of"), "{error}");
}
