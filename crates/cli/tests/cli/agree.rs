//! One checkpoint, three forwards: training's evaluation, the slow reference and the engine say the same greedy tokens, for every
//! golden network after some steps of training.

use infer::{Engine, EngineOptions};
use kernels::gemm::Arithmetic;
use model::{Config, Layout, Weights, reference};
use serde::Deserialize;
use train::loss::cross_entropy::{IGNORE, Options};
use train::optim::adam::{self, Adam};
use train::step::{Dimensions, Keep, MicroBatch, Network};

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    file: String,
    model: Config,
    lambda: f32,
}

const SEQUENCE: usize = 24;
const PROMPT: usize = 8;
const STEPS: usize = 5;

fn golden_weights(case: &Case) -> Weights {
    let file = testkit::golden(&format!("model/{}", case.file));
    let mut weights = Weights::zeros(&case.model);
    for tensor in Layout::new(&case.model).tensors() {
        let values = file.f32(&format!("weight/{}", tensor.name)).unwrap();
        tensor.slot.of_mut(&mut weights.data).copy_from_slice(&values);
    }
    weights
}

fn prompt(case: &Case) -> Vec<u32> {
    (0..PROMPT as u32).map(|i| (i * i * 5 + i + 3) % case.model.vocabulary as u32).collect()
}

/// A network after some steps on one sequence.
fn trained(case: &Case) -> Network {
    let dimensions = Dimensions {
        batch: 1,
        sequence: SEQUENCE,
        blend: case.lambda < 1.0,
        backward: Arithmetic::F32,
        keep: Keep::All,
    };
    let options = Options { label_smoothing: 0.0, z_loss: 0.0 };
    let mut network = Network::new(golden_weights(case), dimensions, options, 2);
    let vocabulary = case.model.vocabulary as u32;
    let tokens: Vec<u32> = (0..SEQUENCE as u32).map(|i| (i * 11 + 2) % vocabulary).collect();
    let mut targets: Vec<u32> = tokens[1..].to_vec();
    targets.push(IGNORE);
    let options = adam::Options { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, coupled: false };
    let mut optimizer = Adam::new(network.weights.data.len(), options);
    network.renew(case.lambda);
    for _ in 0..STEPS {
        network.gradients.fill(0.0);
        let batch = MicroBatch { tokens: &tokens, targets: &targets, starts: &[0; SEQUENCE] };
        network.forward_backward(batch, 1.0 / (SEQUENCE - 1) as f32);
        let Network { machine, weights, gradients, .. } = &mut network;
        let update = adam::Update { lr: 3e-3, weight_decay: 0.0, gradient_scale: 1.0 };
        optimizer.step(&machine.pool, weights, gradients, update);
        network.renew(case.lambda);
    }
    network
}

/// The tokens after the prompt, each the likeliest by `logits` of all before it.
fn greedy(case: &Case, mut logits: impl FnMut(&[u32]) -> Vec<f32>) -> Vec<u32> {
    let mut ids = prompt(case);
    while ids.len() < SEQUENCE {
        let row = logits(&ids);
        let best = (1..row.len()).fold(0, |best, id| if row[id] > row[best] { id } else { best });
        ids.push(best as u32);
    }
    ids.split_off(PROMPT)
}

/// By the forward of evaluation, on sequences filled up behind what it may see.
fn by_training(case: &Case, network: &mut Network) -> Vec<u32> {
    greedy(case, |ids| {
        let mut tokens = ids.to_vec();
        tokens.resize(SEQUENCE, 0);
        let batch = MicroBatch { tokens: &tokens, targets: &[IGNORE; SEQUENCE], starts: &[0; SEQUENCE] };
        let mut last = Vec::new();
        network.predict(batch, |row, logits| {
            if row + 1 == ids.len() {
                last = logits.to_vec();
            }
        });
        last
    })
}

/// The weights as a checkpoint folder, opened as any model is.
pub fn saved(dir: &std::path::Path, weights: &Weights) -> checkpoint::Loaded {
    let parts = checkpoint::native::Parts {
        config: &format!("[model]\n{}", toml::to_string(&weights.config).unwrap()),
        tokenizer: None,
        chat_template: None,
        weights: &checkpoint::arena::tensors(&weights.layout, "", &weights.data),
        optimizer: &[],
        recorded: &[],
        state: &serde_json::json!({}),
    };
    checkpoint::native::save(dir, &parts).unwrap();
    checkpoint::open(dir).unwrap()
}

#[test]
fn training_reference_and_engine_say_the_same_tokens() {
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/model/cases.json");
    let Cases { cases } = serde_json::from_slice(&std::fs::read(cases).unwrap()).unwrap();
    let dir = testkit::temp_dir();
    let mut different = std::collections::HashSet::new();
    for case in &cases {
        let mut network = trained(case);
        let loaded = saved(&dir.path().join(&case.name), &network.weights);
        let training = by_training(case, &mut network);

        let slow = reference::Network::read(&*loaded.source).unwrap();
        let by_reference = greedy(case, |ids| {
            let logits = slow.logits(ids, &vec![0; ids.len()], case.lambda);
            logits[(ids.len() - 1) * case.model.vocabulary..].to_vec()
        });
        assert_eq!(training, by_reference, "{}: training and reference", case.name);

        let options = EngineOptions { threads: 2, lambda: case.lambda, ..EngineOptions::default() };
        let engine = Engine::new(&*loaded.source, options).unwrap();
        let mut session = engine.session(SEQUENCE).unwrap();
        let by_engine = greedy(case, |ids| session.forward(&ids[session.position()..]).unwrap().to_vec());
        assert_eq!(training, by_engine, "{}: training and engine", case.name);
        different.extend(training);
    }
    assert!(cases.len() >= 14 && different.len() > 10, "{} networks said {different:?}", cases.len());
}
