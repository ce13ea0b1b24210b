//! An adapter from training to serving, and why it is not merged.

use crate::{fail, json, succeed, text, tiny};

#[test]
fn an_adapter_is_learned_served_and_not_merged() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    testkit::dataset(dir.path(), 500, 300);
    let (data, base, run, corpus) = (path("data"), path("base"), path("run"), path("corpus.txt"));
    let (data, base, run, corpus) = (text(&data), text(&base), text(&run), text(&corpus));
    let mut train = tiny(12);
    train.extend(["--data", data, "--out", base].map(str::to_owned));
    succeed(&train.iter().map(String::as_str).collect::<Vec<_>>());

    let beside = ["train", "--from", base, "--adapter", "lora", "--data", data, "--out", run];
    let sets = [
        "train.steps=6",
        "train.batch=2",
        "train.sequence=64",
        "schedule.warmup=2",
        "schedule.peak=0.05",
        "lora.rank=4",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    succeed(&[&beside[..], &sets, &["--sample", "Once upon a"]].concat());
    let samples = std::fs::read_to_string(path("run/samples.jsonl")).unwrap();
    assert!(samples.contains("Once upon a"));
    succeed(&["checkpoint", "verify", run]);

    let prompt = ["--prompt", "Once upon a", "--max-tokens", "8", "--temperature", "0"];
    let adapted = [&["generate", base], &prompt[..], &["--adapter", run]].concat();
    assert!(json(&adapted)["tokens"].is_array());
    let logits = |adapter: &[&str]| {
        json(&[&["logits", base, "--prompt", "Once upon a", "--top", "4"], adapter].concat())["top"].clone()
    };
    assert_ne!(logits(&[]), logits(&["--adapter", run]));
    let loss = |adapter: &[&str]| {
        json(&[&["eval", "perplexity", base, "--text", corpus], adapter].concat())["nll_per_token"].as_f64()
    };
    assert_ne!(loss(&[]), loss(&["--adapter", run]));
    let sentence = fail(&["generate", run, "--prompt", "x"]);
    assert!(sentence.contains("--adapter"), "{sentence}");
    let sentence = fail(&["generate", base, "--prompt", "x", "--adapter", data]);
    assert!(sentence.contains("adapter_config.json"), "{sentence}");

    let out = path("merged");
    let export = ["export", "hf", base, "--adapter", run, "--out", text(&out)];
    let sentence = fail(&export);
    assert!(sentence.contains("no ternary sum") && sentence.contains("--quantize"), "{sentence}");
    let sentence = fail(&[&export[..], &["--quantize"]].concat());
    assert!(sentence.contains("--text"), "{sentence}");
    assert!(!out.exists());
    let said = succeed(&[&export[..], &["--quantize", "--text", corpus]].concat());
    assert!(said.contains("of the codes") && said.contains("nats a token"), "{said}");
    assert!(out.join("model.safetensors").exists());
}
