//! Healing and distillation on tiny runs: a dense model becomes ternary, a stopped healing goes on to the same bits, and what
//! cannot be healed is refused with a reason.

mod common;

use common::tiny_run;
use journal::metrics::{self, Step};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use train::config::{HealConfig, SourceConfig, SubNorm};
use train::{Limits, Outcome, RunConfig, Trainer};

const RUN: [&str; 9] = [
    "train.batch=2",
    "train.sequence=32",
    "train.steps=24",
    "train.record_every=6",
    "train.validate_batches=2",
    "train.threads=2",
    "train.backward=f32",
    "schedule.peak=3e-3",
    "schedule.warmup=0",
];

fn finish(config: &RunConfig, out: &Path) -> Vec<Step> {
    let mut trainer = Trainer::create(config.clone(), out, None).unwrap();
    let limits = Limits { interrupted: &|| false, time: None };
    assert_eq!(trainer.run(&limits, &mut ()).unwrap(), Outcome::Finished);
    metrics::read(&out.join("metrics.jsonl")).unwrap()
}

/// A dense network, trained for a moment, and its data.
fn pretrained(dir: &Path) -> (PathBuf, Vec<SourceConfig>) {
    let sets = [
        "model.linear=dense",
        "model.sub_norms=false",
        "train.steps=150",
        "model.activation=silu",
        "model.tied=true",
    ];
    let config = tiny_run(dir, &sets);
    finish(&config, &dir.join("dense"));
    (dir.join("dense"), config.data)
}

/// The model as it is.
fn plain(from: &Path) -> HealConfig {
    HealConfig { from: from.to_owned(), sub_norm: SubNorm::None, rotate: false }
}

fn healing(heal: HealConfig, data: &[SourceConfig], teacher: Option<&Path>, sets: &[&str]) -> RunConfig {
    let source = checkpoint::open(&heal.from).unwrap();
    let sets: Vec<String> = RUN.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    let config = RunConfig::heal(heal, source.config(), teacher, None, &sets).unwrap();
    RunConfig { data: data.to_vec(), ..config }
}

fn fact(run: &Path, lambda: f64) -> f64 {
    let facts = journal::Run::open(run).unwrap().facts().unwrap();
    facts[&journal::layout::untrained_loss(lambda)].as_f64().unwrap()
}

#[test]
fn quantisation_destroys_and_healing_brings_back() {
    let dir = tempfile::tempdir().unwrap();
    let (dense, data) = pretrained(dir.path());
    let whole =
        metrics::read(&dense.join("metrics.jsonl")).unwrap().last().unwrap().record.validation_loss.unwrap();
    for (sub_norm, rotate) in [(SubNorm::None, false), (SubNorm::Insert, false), (SubNorm::None, true)] {
        let out = dir.path().join(format!("{sub_norm:?}-{rotate}"));
        let heal = HealConfig { sub_norm, rotate, ..plain(&dense) };
        let steps = finish(&healing(heal, &data, None, &["lambda.n=8"]), &out);
        let (healthy, broken) = (fact(&out, 0.0), fact(&out, 1.0));
        if sub_norm == SubNorm::None {
            assert!((healthy - whole).abs() < 1e-5, "λ = 0 is the model itself: {healthy} and {whole}");
        }
        assert!(healthy < whole + 0.5, "new norms change little: {healthy} and {whole}");
        let healed = steps.last().unwrap().record.validation_loss.unwrap();
        assert!(broken > healthy && healed < broken - 0.1, "{healthy} {broken} {healed}");
        assert_eq!((steps[0].lambda, steps[8].lambda), (0.0, 1.0));
        // Weight decay ends where λ has come to 1.
        assert!(steps[7].weight_decay > 0.0 && steps[8].weight_decay == 0.0);
        let early = &steps[5].record;
        assert!(early.ternary_validation_loss.unwrap() > early.validation_loss.unwrap());
    }
}

#[test]
fn a_stopped_healing_with_a_teacher_goes_on_to_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let (dense, data) = pretrained(dir.path());
    let cache = format!("distill.cache={}", dir.path().join("cache").display());
    let inside = [
        "distill.logits=0",
        "distill.relation=1",
        "distill.relation_layer=0",
        "distill.hidden=1",
        "distill.curve=cosine",
    ];
    let lessons: [(bool, &[&str]); 4] = [
        (false, &["distill.logits=[1.0, 0.5]"]),
        (false, &["distill.top_k=8", &cache]),
        (false, &inside),
        (true, &inside),
    ];
    for (number, (rotate, lesson)) in lessons.into_iter().enumerate() {
        let config = healing(HealConfig { rotate, ..plain(&dense) }, &data, Some(&dense), lesson);
        let (whole, parts) =
            (dir.path().join(format!("whole{number}")), dir.path().join(format!("parts{number}")));
        let steps = finish(&config, &whole);
        assert!(steps.iter().all(|step| step.distillation.is_some()));
        let sum = |step: &Step| step.distillation.unwrap().iter().sum::<f64>();
        assert!(sum(&steps[0]) < 1e-6, "at λ = 0 a model agrees with itself: {:?}", steps[0].distillation);
        assert!(sum(&steps[10]) > 1e-4);
        let mut trainer = Trainer::create(config, &parts, None).unwrap();
        for stop_after in [5, 11] {
            let asked = Cell::new(0);
            let interrupted = || {
                asked.set(asked.get() + 1);
                asked.get() > stop_after
            };
            trainer.run(&Limits { interrupted: &interrupted, time: None }, &mut ()).unwrap();
            drop(trainer);
            trainer = Trainer::resume(&parts, None).unwrap();
        }
        trainer.run(&Limits { interrupted: &|| false, time: None }, &mut ()).unwrap();
        let weights =
            |run: &Path| std::fs::read(run.join("checkpoints/step-00000024/weights.safetensors")).unwrap();
        assert!(weights(&whole) == weights(&parts), "lesson {number}");
    }
    assert!(std::fs::read_dir(dir.path().join("cache")).unwrap().count() > 10);
}

/// The last layer is ternary while the first is untouched, and the other way round where the first is the less sensitive.
#[test]
fn layers_are_healed_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    let (dense, data) = pretrained(dir.path());
    for order in ["last-first", "least-sensitive-first"] {
        let sets = ["lambda.kind=linear", &format!("lambda.order={order}")];
        let out = dir.path().join(order);
        let config = healing(plain(&dense), &data, None, &sets);
        let steps = finish(&config, &out);
        assert!(steps.last().unwrap().loss.is_finite());
        let state = std::fs::read_to_string(out.join("checkpoints/step-00000012/state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        let ranks: Vec<u64> =
            state["ranks"].as_array().unwrap().iter().map(|rank| rank.as_u64().unwrap()).collect();
        assert!(ranks == [1, 0] || (order != "last-first" && ranks == [0, 1]), "{ranks:?}");
        let resumed = Trainer::resume(&out, None).unwrap();
        assert_eq!(resumed.state().ranks, ranks.iter().map(|rank| *rank as usize).collect::<Vec<_>>());
    }
}

/// The cache speaks as the teacher did, to the bit.
#[test]
fn a_cache_takes_the_place_of_its_teacher() {
    let dir = tempfile::tempdir().unwrap();
    let (dense, data) = pretrained(dir.path());
    let cache = format!("distill.cache={}", dir.path().join("cache").display());
    let config = healing(plain(&dense), &data, Some(&dense), &["distill.top_k=8", &cache]);
    let [first, second] = ["first", "second"].map(|name| finish(&config, &dir.path().join(name)));
    for (a, b) in first.iter().zip(&second) {
        assert_eq!((a.loss, a.distillation), (b.loss, b.distillation));
    }

    // Another teacher does not find there what the first one said.
    let other = |cache: &str, name: &str| {
        let teacher = dir.path().join("first");
        let config = healing(plain(&dense), &data, Some(&teacher), &["distill.top_k=8", cache]);
        finish(&config, &dir.path().join(name))
    };
    let own = format!("distill.cache={}", dir.path().join("own").display());
    for (a, b) in other(&cache, "third").iter().zip(&other(&own, "fourth")) {
        assert_eq!((a.loss, a.distillation), (b.loss, b.distillation));
    }
}

#[test]
fn what_cannot_be_healed_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (dense, data) = pretrained(dir.path());
    let refused = |config: RunConfig, name: &str| {
        Trainer::create(config, &dir.path().join(name), None).err().expect(name).to_string()
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let other = testkit::dataset(elsewhere.path(), 300, 280);
    let strange = vec![SourceConfig { path: other, weight: 1.0 }];
    let sentence = refused(healing(plain(&dense), &strange, None, &[]), "tokenizer");
    assert!(sentence.contains("tokenizer is not that of") && sentence.contains("data prepare"), "{sentence}");

    let healed = tiny_run(dir.path(), &["train.steps=2"]);
    finish(&RunConfig { data: data.clone(), ..healed }, &dir.path().join("ternary"));
    let ternary = checkpoint::open(&dir.path().join("ternary")).unwrap();
    let heal = HealConfig { rotate: true, ..plain(&dir.path().join("ternary")) };
    let sentence = RunConfig::heal(heal, ternary.config(), None, None, &[]).unwrap_err().to_string();
    assert!(sentence.contains("heal.rotate") && sentence.contains("are ternary"), "{sentence}");

    let config = healing(plain(&dense), &data, None, &["train.sequence=31", "model.hidden=64"]);
    assert!(refused(config, "network").contains("leave [model] out"));

    let mut config = tiny_run(dir.path(), &["model.hidden=48", "model.head_size=24", "train.steps=2"]);
    config.data = data.clone();
    finish(&config, &dir.path().join("wide"));
    let sets = ["distill.hidden=1"];
    let config = healing(plain(&dense), &data, Some(&dir.path().join("wide")), &sets);
    let sentence = refused(config, "width");
    assert!(sentence.contains("48 elements") && sentence.contains("distill.hidden"), "{sentence}");
}
