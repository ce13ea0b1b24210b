//! The losses that a teacher gives, against PyTorch: their values and every gradient of a student at λ = 0, 0.3 and 1.
//! The files come from `tools/golden/distill.py`.

use checkpoint::{arena, native};
use formats::safetensors::File;
use model::{Config, Layout, Weights};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use train::RunConfig;
use train::loss::cross_entropy::{IGNORE, Options};
use train::step::{Dimensions, Keep, MicroBatch, Network};
use train::teacher::Lesson;

#[derive(Deserialize)]
struct Golden {
    student: Config,
    teachers: Map<String, Value>,
    lessons: Vec<Named>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    teacher: String,
    distill: Map<String, Value>,
}

#[derive(Deserialize)]
struct Case {
    lambda: f32,
    file: String,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/distill")
}

fn weights(file: &File, prefix: &str, config: &Config) -> Weights {
    let mut weights = Weights::zeros(config);
    for tensor in Layout::new(config).tensors() {
        let values = file.f32(&format!("{prefix}/{}", tensor.name)).unwrap();
        tensor.slot.of_mut(&mut weights.data).copy_from_slice(&values);
    }
    weights
}

/// Saves the teachers as models in `dir`.
fn save_teachers(golden: &Golden, dir: &Path) {
    let file = File::open(&folder().join("teachers.safetensors")).unwrap();
    for (name, model) in &golden.teachers {
        let config: Config = serde_json::from_value(model.clone()).unwrap();
        let weights = weights(&file, name, &config);
        let text = toml::to_string(&json!({ "model": model })).unwrap();
        let parts = native::Parts {
            config: &text,
            tokenizer: None,
            chat_template: None,
            weights: &arena::tensors(&weights.layout, "", &weights.data),
            optimizer: &[],
            recorded: &[],
            state: &json!({}),
        };
        native::save(&dir.join(name), &parts).unwrap();
    }
}

/// Largest difference over the largest expected magnitude.
fn relative(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let largest = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let worst = actual.iter().zip(expected).fold(0.0f32, |m, (a, e)| m.max((a - e).abs()));
    f64::from(worst) / f64::from(largest).max(1e-30)
}

/// The student after one forward and backward under this lesson, and both losses of a scored token.
fn learn(golden: &Golden, case: &Case, lesson: &Named, teachers: &Path, keep: Keep) -> (Network, [f64; 2]) {
    let file = &File::open(&folder().join(&case.file)).unwrap();
    let integers = |name: &str| -> Vec<u32> {
        let bytes = file.bytes(name).unwrap().chunks_exact(4);
        bytes.map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let [batch, sequence] = file.info("tokens").unwrap().shape[..] else { panic!("tokens are (B, T)") };
    let mut table = lesson.distill.clone();
    table.insert("teacher".into(), teachers.join(&lesson.teacher).to_str().unwrap().into());
    let text = toml::to_string(&json!({
        "model": golden.student,
        "train": { "batch": batch, "sequence": sequence, "backward": "f32", "threads": 2 },
        "distill": table,
    }));
    let config = RunConfig::from_toml(&text.unwrap()).unwrap();
    let dimensions = Dimensions {
        batch,
        sequence,
        blend: case.lambda < 1.0,
        backward: config.train.backward.arithmetic(),
        keep,
    };
    let student = weights(file, "weight", &golden.student);
    let mut network = Network::new(student, dimensions, Options::default(), 2);
    network.renew(case.lambda);
    let distill = config.distill.as_ref().unwrap();
    network.lesson = Some(Box::new(
        Lesson::open(&config, distill, &checkpoint::open(&distill.teacher).unwrap(), batch).unwrap(),
    ));
    let (tokens, targets, starts) = (integers("tokens"), integers("targets"), integers("starts"));
    let micro = MicroBatch { tokens: &tokens, targets: &targets, starts: &starts };
    let scored = targets.iter().filter(|target| **target != IGNORE).count() as f64;
    let text = network.forward_backward(micro, 1.0 / scored as f32);
    let sums = network.lesson.as_ref().unwrap().sums;
    let own = if distill.relation.is_on() {
        sums.relation
    } else if distill.hidden.is_on() {
        sums.hidden
    } else {
        sums.logits
    };
    (network, [text / scored, own / scored])
}

#[test]
fn every_loss_and_every_gradient_agree_with_pytorch() {
    let text = std::fs::read_to_string(folder().join("cases.json")).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    let dir = testkit::temp_dir();
    save_teachers(&golden, dir.path());
    let (mut worst_loss, mut worst_gradient) = (0.0f64, 0.0f64);
    for case in &golden.cases {
        let file = File::open(&folder().join(&case.file)).unwrap();
        for lesson in &golden.lessons {
            let name = format!("{} at λ = {}", lesson.name, case.lambda);
            let (network, losses) = learn(&golden, case, lesson, dir.path(), Keep::All);
            let (recomputed, same) = learn(&golden, case, lesson, dir.path(), Keep::Inputs);
            assert!(recomputed.gradients == network.gradients && same == losses, "{name}: computed again");
            let expected = file.f32(&format!("{}/losses", lesson.name)).unwrap();
            for (ours, theirs) in losses.into_iter().zip(expected.iter().map(|loss| f64::from(*loss))) {
                let error = (ours / theirs - 1.0).abs();
                assert!(error < 2e-6, "{name}: loss {ours}, PyTorch {theirs}: {error:e}");
                worst_loss = worst_loss.max(error);
            }
            for tensor in network.weights.layout.tensors() {
                let expected = file.f32(&format!("{}/grad/{}", lesson.name, tensor.name)).unwrap();
                let error = relative(tensor.slot.of(&network.gradients), &expected);
                assert!(error < 1e-5, "{name}: gradient of {} differs by {error:e}", tensor.name);
                worst_gradient = worst_gradient.max(error);
            }
        }
    }
    assert_eq!((golden.cases.len(), golden.lessons.len()), (3, 13));
    println!("losses within {worst_loss:.1e}, gradients within {worst_gradient:.1e}");
}
