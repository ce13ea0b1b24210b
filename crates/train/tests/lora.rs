//! Adapters: against PyTorch with PEFT, against differences, a run that learns one, and what of it is kept.

#[path = "common/chats.rs"]
mod chats;
mod common;

use checkpoint::hf::peft;
use common::tiny_run;
use data::IGNORE;
use formats::safetensors::File;
use journal::metrics;
use kernels::gemm::Arithmetic;
use model::adapter::Rank;
use model::{Adapter, Config, LinearKind, Projection, Weights};
use std::path::{Path, PathBuf};
use train::config::StartConfig;
use train::frozen::Frozen;
use train::loss::cross_entropy::Options;
use train::step::{Dimensions, Keep, MicroBatch, Network};
use train::{Limits, Outcome, RunConfig, TrainError, Trainer};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

fn integers(file: &File, name: &str) -> Vec<u32> {
    let bytes = file.bytes(name).unwrap();
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Largest difference over the largest expected magnitude.
fn relative(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let largest = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let worst = actual.iter().zip(expected).fold(0.0f32, |m, (a, e)| m.max((a - e).abs()));
    f64::from(worst) / f64::from(largest).max(1e-30)
}

fn adapted(base: Frozen, adapter: Adapter, batch: usize, sequence: usize) -> Network {
    let backward = Arithmetic::F32;
    let dimensions = Dimensions { batch, sequence, blend: false, backward, keep: Keep::All };
    let mut network = Network::adapted(base, adapter, dimensions, Options::default(), 2);
    network.renew(1.0);
    network
}

/// PEFT beside a ternary and a dense model of transformers: its files are read, and logits, loss and every gradient are its.
#[test]
fn logits_loss_and_gradients_are_pefts() {
    for (name, base) in [("ternary", "bitnet-online"), ("dense", "qwen2")] {
        let folder = golden().join("lora").join(name);
        let model = checkpoint::open(&golden().join("hf").join(base)).unwrap();
        assert_eq!(model.config().linear == LinearKind::Ternary, name == "ternary");
        let opened = peft::open(&folder, model.config()).unwrap();
        assert!(opened.base.unwrap().ends_with(base));
        let file = File::open(&folder.join("expected.safetensors")).unwrap();
        let shape = file.info("tokens").unwrap().shape.clone();
        let (tokens, targets) = (integers(&file, "tokens"), integers(&file, "targets"));
        let scored = targets.iter().filter(|target| **target != IGNORE).count();
        let factor = 1.0 / scored as f32;
        let starts = vec![0; tokens.len()];
        let batch = MicroBatch { tokens: &tokens, targets: &targets, starts: &starts };
        let mut network = adapted(Frozen::read(&model, 2).unwrap(), opened.adapter, shape[0], shape[1]);
        let mut logits = Vec::new();
        network.predict(batch, |_, row| logits.extend_from_slice(row));
        let error = relative(&logits, &file.f32("logits").unwrap());
        assert!(error < 2e-5, "{name}: logits differ by {error:e}");
        let loss = network.forward_backward(batch, factor) as f32 * factor;
        let expected = file.f32("loss").unwrap()[0];
        assert!((loss / expected - 1.0).abs() < 5e-6, "{name}: loss {loss}, PyTorch {expected}");
        assert_eq!(network.gradients.len(), network.adapter.as_ref().unwrap().data.len());
        for tensor in network.learned() {
            let expected = file.f32(&format!("grad/{}", tensor.name)).unwrap();
            let error = relative(tensor.slot.of(&network.gradients), &expected);
            assert!(error < 5e-5, "{name}: gradient of {} differs by {error:e}", tensor.name);
        }
    }
}

/// What is written is what PEFT writes: the same tensors, and a configuration that says the same.
#[test]
fn an_adapter_is_written_as_peft_writes_it() {
    for (name, base) in [("ternary", "bitnet-online"), ("dense", "qwen2")] {
        let theirs = golden().join("lora").join(name);
        let config = checkpoint::open(&golden().join("hf").join(base)).unwrap().config().clone();
        let opened = peft::open(&theirs, &config).unwrap();
        let ours = testkit::temp_dir();
        peft::write(ours.path(), &opened.adapter, &config, &opened.base.unwrap()).unwrap();
        let [a, b] = [ours.path(), &theirs].map(|dir| File::open(&dir.join(peft::WEIGHTS)).unwrap());
        assert_eq!(a.tensors().len(), b.tensors().len());
        for tensor in b.tensors() {
            assert_eq!(a.info(&tensor.name).unwrap(), tensor);
            assert!(a.bytes(&tensor.name).unwrap() == b.bytes(&tensor.name).unwrap(), "{}", tensor.name);
        }
        assert_eq!(a.metadata(), b.metadata());
        let [a, b] = [ours.path(), &theirs].map(|dir| -> serde_json::Value {
            let mut json: serde_json::Value =
                serde_json::from_slice(&std::fs::read(dir.join(peft::CONFIG)).unwrap()).unwrap();
            let targets = json["target_modules"].as_array_mut().unwrap();
            targets.sort_by_key(ToString::to_string);
            json
        });
        for (key, value) in a.as_object().unwrap() {
            assert_eq!(value, &b[key], "{name}: {key}");
        }
    }
}

/// Beside a network that pairs neighbours, the rows of q and k are those of the same network by halves.
#[test]
fn an_adapter_beside_interleaved_rope_is_that_of_the_other_pairing() {
    let text = "hidden = 16\nlayers = 1\nheads = 2\nkv_heads = 1\nhead_size = 8\nffn = 24\nvocabulary = 11\ncontext = 8";
    let halves: Config = toml::from_str(text).unwrap();
    let pairs: Config = toml::from_str(&format!("{text}\nrope_style = 'interleaved'")).unwrap();
    let mut adapter = Adapter::fresh(&pairs, RANK, &Projection::ALL, 1);
    adapter.data.iter_mut().enumerate().for_each(|(i, value)| *value = (i as f32 * 0.37).sin());
    let dir = testkit::temp_dir();
    peft::write(dir.path(), &adapter, &pairs, "x").unwrap();
    assert_eq!(peft::open(dir.path(), &pairs).unwrap().adapter, adapter);
    let other = peft::open(dir.path(), &halves).unwrap().adapter;
    let row = |adapter: &Adapter, projection, row: usize| {
        let pair = adapter.pair(0, projection).unwrap();
        pair.b.of(&adapter.data)[row * RANK.rank..][..RANK.rank].to_vec()
    };
    for (theirs, ours) in [(0, 0), (1, 2), (4, 1), (5, 3), (7, 7), (9, 10)] {
        assert_eq!(row(&other, Projection::Q, theirs), row(&adapter, Projection::Q, ours));
    }
    assert_eq!(row(&other, Projection::V, 1), row(&adapter, Projection::V, 1));
}

const RANK: Rank = Rank { rank: 2, alpha: 3.0, stabilised: false };

/// Central differences of the loss of a dense network, beside all seven projections.
#[test]
fn gradients_are_differences() {
    let text = "hidden = 12\nlayers = 2\nheads = 2\nkv_heads = 1\nhead_size = 6\nffn = 16\nvocabulary = 13\ncontext = 8\n\
                linear = 'dense'\nqk_norm = true\nqkv_bias = true";
    let config: Config = toml::from_str(text).unwrap();
    let mut weights = Weights::random(&config, 3);
    weights.data.iter_mut().for_each(|value| *value *= if value.abs() < 0.5 { 12.0 } else { 1.0 });
    let mut adapter = Adapter::fresh(&config, RANK, &Projection::ALL, 1);
    adapter.data.iter_mut().enumerate().for_each(|(i, value)| *value = 0.4 * (i as f32 * 0.7).sin());
    let shadows = (0..2).map(|_| Default::default()).collect();
    let mut network = adapted(Frozen { weights, shadows }, adapter, 1, 8);
    let tokens: Vec<u32> = (0..8).map(|i| i * 5 % 13).collect();
    let targets: Vec<u32> = (0..8).map(|i| (i * 3 + 1) % 13).collect();
    let batch = MicroBatch { tokens: &tokens, targets: &targets, starts: &[0; 8] };
    network.forward_backward(batch, 1.0);
    let gradients = network.gradients.clone();
    let largest = gradients.iter().fold(0.0f32, |max, gradient| max.max(gradient.abs()));
    assert!(largest > 0.1, "{largest}");
    for index in (0..gradients.len()).step_by(7) {
        let before = network.adapter.as_ref().unwrap().data[index];
        let mut at = |value: f32| {
            network.adapter.as_mut().unwrap().data[index] = value;
            network.evaluate(batch)
        };
        let difference = ((at(before + 4e-3) - at(before - 4e-3)) / 8e-3) as f32;
        at(before);
        let error = (difference - gradients[index]).abs();
        assert!(error < 4e-3 * largest, "{index}: {} against {difference}", gradients[index]);
    }
}

fn finish(config: &RunConfig, out: &Path) {
    let mut trainer = Trainer::create(config.clone(), out, None).unwrap();
    let limits = Limits { interrupted: &|| false, time: None };
    assert_eq!(trainer.run(&limits, &mut ()).unwrap(), Outcome::Finished);
}

/// A run on the data of a tiny base.
fn beside(base: &Path, data: &RunConfig, sets: &[&str]) -> RunConfig {
    let source = checkpoint::open(base).unwrap();
    let mut all: Vec<String> = [
        "train.steps=12",
        "train.batch=2",
        "train.sequence=32",
        "train.threads=2",
        "train.validate_batches=2",
        "train.record_every=4",
        "schedule.peak=0.01",
        "schedule.warmup=1",
        "lora.rank=4",
    ]
    .map(str::to_owned)
    .to_vec();
    all.extend(sets.iter().map(|set| (*set).to_owned()));
    let start = StartConfig { from: base.to_owned() };
    let config = RunConfig::adapt(&start, source.config(), None, &all).unwrap();
    RunConfig { data: data.data.clone(), ..config }
}

fn base(dir: &Path, sets: &[&str]) -> (PathBuf, RunConfig) {
    let mut config = tiny_run(dir, sets);
    config.train.steps = 30;
    finish(&config, &dir.join("base"));
    (dir.join("base"), config)
}

#[test]
fn a_run_learns_an_adapter_and_leaves_the_model_as_it_is() {
    for linear in ["ternary", "dense"] {
        let dir = testkit::temp_dir();
        let (base, data) = base(dir.path(), &[&format!("model.linear={linear}")]);
        let out = dir.path().join("run");
        finish(&beside(&base, &data, &["train.steps=200"]), &out);
        let steps = metrics::read(&out.join("metrics.jsonl")).unwrap();
        // The two files lie in the run's folder and in every checkpoint, which holds nothing of the model.
        let config = checkpoint::open(&base).unwrap().config().clone();
        let last = out.join("checkpoints/step-00000200");
        let [ours, kept] = [&out, &last].map(|folder| peft::open(folder, &config).unwrap());
        assert_eq!(ours.adapter, kept.adapter);
        assert_eq!(ours.base.unwrap(), base.display().to_string());
        assert_eq!(ours.adapter.pair(0, Projection::Q).unwrap().a.rows, 4);
        assert!(ours.adapter.data.iter().all(|value| value.is_finite()));
        assert!(!last.join("weights.safetensors").exists());
        let moments = File::open(&last.join("optimizer.safetensors")).unwrap();
        assert!(moments.tensors().all(|tensor| tensor.name.contains(".lora_")));
        let sentence = checkpoint::open(&out).err().unwrap().to_string();
        assert!(sentence.contains("holds an adapter") && sentence.contains("--adapter"), "{sentence}");
        // At first it changes nothing.
        let first = peft::open(&out.join("checkpoints/step-00000000"), &config).unwrap().adapter;
        let events = std::fs::read_to_string(out.join("events.jsonl")).unwrap();
        let untrained = events.lines().find(|line| line.contains("before training")).unwrap();
        assert!(first.pair(1, Projection::V).unwrap().b.of(&first.data).iter().all(|value| *value == 0.0));
        let untrained = untrained.split("validation loss ").nth(1).unwrap();
        let before: f64 = untrained[..untrained.find(',').unwrap()].parse().unwrap();
        let after = steps[199].record.validation_loss.unwrap();
        assert!(after < before - 0.01, "{linear}: {before} then {after}");
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    let dir = testkit::temp_dir();
    let (base, data) = base(dir.path(), &[]);
    let config = beside(&base, &data, &["lora.targets=['q_proj', 'down_proj']"]);
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    finish(&config, &whole);
    let mut trainer = Trainer::create(config, &parts, None).unwrap();
    let asked = std::cell::Cell::new(0);
    let interrupted = || {
        asked.set(asked.get() + 1);
        asked.get() > 5
    };
    let limits = Limits { interrupted: &interrupted, time: None };
    assert_eq!(trainer.run(&limits, &mut ()).unwrap(), Outcome::Interrupted);
    drop(trainer);
    let limits = Limits { interrupted: &|| false, time: None };
    Trainer::resume(&parts, None).unwrap().run(&limits, &mut ()).unwrap();
    let bytes = |run: &Path| std::fs::read(run.join(peft::WEIGHTS)).unwrap();
    assert!(bytes(&whole) == bytes(&parts));
    // Without the model it cannot go on.
    std::fs::rename(&base, dir.path().join("elsewhere")).unwrap();
    assert!(matches!(Trainer::resume(&parts, None), Err(TrainError::File(_))));
}

#[test]
fn conversations_are_learned_in_an_adapter_too() {
    let dir = testkit::temp_dir();
    let (base, file) = chats::model_and_conversations(dir.path(), &[]);
    let config = chats::sft(&base, &file, &["lora.rank=2", "schedule.peak=0.02", "train.steps=40"]);
    let out = dir.path().join("run");
    finish(&config, &out);
    let steps = metrics::read(&out.join("metrics.jsonl")).unwrap();
    let mean = |steps: &[metrics::Step]| steps.iter().map(|step| step.loss).sum::<f64>() / steps.len() as f64;
    let (first, last) = (mean(&steps[..8]), mean(&steps[32..]));
    assert!(last < first, "{first} then {last}");
    let model = checkpoint::open(&base).unwrap();
    assert!(peft::open(&out, model.config()).unwrap().chat_template.is_some());
    Trainer::resume(&out, None).unwrap();
}

#[test]
fn contradictions_are_sentences() {
    let dir = testkit::temp_dir();
    let (base, _) = base(dir.path(), &[]);
    let source = checkpoint::open(&base).unwrap();
    let start = StartConfig { from: base };
    let fails = |set: &str| {
        let sets = [set.to_owned(), "train.sequence=32".to_owned()];
        RunConfig::adapt(&start, source.config(), None, &sets).unwrap_err().to_string()
    };
    for (set, word) in [
        ("lora.rank=0", "lora.rank"),
        ("lora.rank=5000", "1..=1024"),
        ("lora.alpha=-1", "lora.alpha"),
        ("lora.targets=[]", "all seven"),
        ("lora.targets=['q_proj','q_proj']", "twice"),
        ("lora.targets=['query']", "q_proj"),
        ("lora.dropout=0.1", "unknown key"),
        ("lambda.kind=linear", "lambda.kind"),
        ("train.optimizer=muon", "adamw"),
    ] {
        let sentence = fails(set);
        assert!(sentence.contains(word), "{set}: {sentence}");
    }
    let sets = ["lora.rank=4".to_owned()];
    let sentence = RunConfig::resolve(Some("tiny"), None, &sets).unwrap_err().to_string();
    assert!(sentence.contains("--from"), "{sentence}");
}

/// The plan of an adapter beside books10m: gradients and moments are its own alone.
#[test]
fn the_plan_counts_no_gradients_of_weights_that_do_not_change() {
    let dir = testkit::temp_dir();
    let (base, data) = base(dir.path(), &[]);
    let plan = |config: &RunConfig| train::plan::Plan::new(config, train::plan::Rate::Assumed(1e9)).unwrap();
    let config = beside(&base, &data, &[]);
    let adapted = plan(&config);
    let whole = plan(&RunConfig { lora: None, ..config });
    let parameters =
        Adapter::fresh(&data.model, Rank { rank: 4, ..RANK }, &Projection::ALL, 0).data.len() as u64;
    assert_eq!(adapted.memory.gradients, 4 * parameters);
    assert_eq!(adapted.memory.optimizer, 8 * parameters);
    assert_eq!(adapted.checkpoint_bytes, 12 * parameters);
    assert_eq!(2 * adapted.memory.ternary_codes, whole.memory.ternary_codes);
    let projections = adapted.parameters.projections;
    assert_eq!(adapted.memory.latent_weights + 4 * projections, whole.memory.latent_weights);
    assert!(
        adapted.memory_total < whole.memory_total + adapted.memory.activations - whole.memory.activations
    );
    assert!(adapted.flops_per_token.total() < whole.flops_per_token.total());
}
