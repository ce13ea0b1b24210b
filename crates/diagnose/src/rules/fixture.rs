//! A healthy subject, and ways to make it sick: what the tests of all rules share.

use super::{RULES, Rule};
use crate::{Sign, Subject};

pub use crate::Severity;
pub use crate::recipe::{Optimizer, Recipe};
pub use crate::subject::{Form, Quantization, Stored};
use crate::subject::{Point, Progress, Text};
use crate::tensors::{Latent, Tensor, Ternary};

/// A finished official run of 1000 steps of a small network, whose log and weights are as they should be.
pub fn healthy() -> Subject {
    let config: model::Config = toml::from_str(
        "hidden = 256\nlayers = 2\nheads = 4\nkv_heads = 4\nhead_size = 64\nffn = 512\nvocabulary = 256\ncontext = 64",
    )
    .unwrap();
    let recipe = Recipe {
        steps: Some(1000),
        warmup: Some(50),
        peak: Some(1.5e-3),
        schedule: Some("microsoft".into()),
        weight_decay: Some(0.1),
        weight_decay2: Some(0.0),
        optimizer: Some(Optimizer::Adamw),
        beta2: Some(0.95),
        clip: Some(1.0),
        batch: Some(8.0),
        sequence: Some(64.0),
        lambda_end: Some(1.0),
        lambda_full_at: Some(0.0),
        lambda_at_once: true,
        data: vec!["fineweb-edu".into()],
        ..Recipe::default()
    };
    let official = recipe.official().unwrap();
    let progress = Progress {
        step: Some(1000),
        tokens: Some(512_000.0),
        lambda: Some(1.0),
        best_loss: Some(2.9),
        unigram_entropy: Some(4.6),
        train_tokens: Some(2e6),
        guarded: 0,
        lost: None,
    };
    Subject {
        form: Form::Checkpoint,
        tensors: tensors(&config),
        config: Some(config),
        recipe,
        progress,
        series: (0..1000).map(|step| line(of_schedule(official.at(step)))).collect(),
        text: Text { size: Some(256), end_ids: vec![0], ..Text::default() },
        ..Subject::default()
    }
}

/// Learning rate, weight decay and λ of a log line.
pub fn of_schedule(point: train::schedule::Point) -> Point {
    Point {
        step: point.step,
        lr: Some(point.lr),
        weight_decay: Some(point.weight_decay),
        lambda: Some(point.lambda),
        ..Point::default()
    }
}

/// An S-curve from ln 256 to 3, a record every tenth step, a validation at each quarter.
fn line(point: Point) -> Point {
    let x = point.step as f64 / 1000.0;
    let fall = if x < 0.5 { 1.2 * (1.0 - (-12.0 * x).exp()) } else { 1.3 + 2.4 * (x - 0.5) };
    let loss = 256f64.ln() - fall;
    let record = point.step % 10 == 9;
    Point {
        loss: Some(loss),
        grad_norm: Some(1.0 + 0.2 * (7.0 * x).sin()),
        validation_loss: (point.step % 250 == 249).then_some(loss + 0.05),
        unique_tokens: record.then_some(12.0),
        repetition: record.then_some(0.35),
        flip_rate: record.then_some(0.05 * (1.0 - 0.9 * x)),
        ..point
    }
}

fn tensors(config: &model::Config) -> Vec<Tensor> {
    let layout = model::Layout::new(config);
    let tensor = |(n, named): (usize, &model::layout::Named)| {
        let varied = n as f64 / 1000.0;
        let near = named.slot.len() / 8;
        let ternary = Ternary {
            scale: 0.02 + n as f32 / 1e4,
            zero_share: 0.33 + varied,
            plus_share: 0.335 - varied / 2.0,
            minus_share: 0.335 - varied / 2.0,
            latent: Some(Latent {
                norm_ratio: 0.6126,
                relative_error: 0.5763,
                cosine: 0.8492,
                near,
                beside: (near as f64 / 1.09) as usize,
            }),
        };
        Tensor {
            name: named.name.clone(),
            rows: named.slot.rows,
            cols: named.slot.cols,
            largest: 0.3,
            absmean: 0.02,
            ternary: named.is_projection().then_some(ternary),
            ..Tensor::default()
        }
    };
    layout.tensors().iter().enumerate().map(tensor).collect()
}

/// The ternary figures of all projections, to be changed.
pub fn ternaries(subject: &mut Subject) -> impl Iterator<Item = &mut Ternary> {
    subject.tensors.iter_mut().filter_map(|tensor| tensor.ternary.as_mut())
}

/// The figures of an initialisation.
pub fn fresh(subject: &mut Subject) {
    use crate::tensors::gaussian;
    for tensor in subject.tensors.iter_mut().filter(|tensor| tensor.name.ends_with("norm")) {
        (tensor.absmean, tensor.largest) = (1.0, 1.0);
    }
    for ternary in ternaries(subject) {
        ternary.zero_share = gaussian::ZERO_SHARE;
        if let Some(latent) = &mut ternary.latent {
            latent.cosine = gaussian::COSINE;
        }
    }
}

/// As many weights about the threshold for each beside it.
pub fn crowd(subject: &mut Subject, crowding: f64) {
    for latent in ternaries(subject).filter_map(|ternary| ternary.latent.as_mut()) {
        latent.beside = (latent.near as f64 / crowding) as usize;
    }
}

/// A tensor as a file lists it.
pub fn stored(name: &str, kind: &str, shape: &[usize]) -> Stored {
    Stored { name: name.into(), kind: kind.into(), shape: shape.to_vec(), ..Stored::default() }
}

/// What the rule says about the healthy subject made sick; it has to be silent before.
#[track_caller]
pub fn fires(rule: &dyn Rule, make_sick: impl Fn(&mut Subject)) -> Sign {
    assert_eq!(rule.check(&healthy()), None, "about the healthy subject");
    let mut subject = healthy();
    make_sick(&mut subject);
    rule.check(&subject).unwrap_or_else(|| panic!("{} says nothing", rule.name()))
}

/// The rule says nothing about a subject that only looks like a sick one.
#[track_caller]
pub fn silent(rule: &dyn Rule, change: impl Fn(&mut Subject)) {
    let mut subject = healthy();
    change(&mut subject);
    assert_eq!(rule.check(&subject), None);
    assert!(RULES.iter().any(|known| known.code() == rule.code()), "it is registered");
}
