//! The whole way on a small corpus, each step's JSON as the command-line contract says.

use crate::{json, succeed, text, tiny};

#[test]
fn from_text_to_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    testkit::dataset(dir.path(), 500, 300);
    let (tokenizer, data, run) = (path("tokenizer.json"), path("data"), path("run"));
    let (tokenizer, data, run) = (text(&tokenizer), text(&data), text(&run));

    let (corpus, again, shards) = (path("corpus.txt"), path("again.json"), path("shards"));
    let (corpus, again, shards) = (text(&corpus), text(&again), text(&shards));
    succeed(&["tokenizer", "train", "--input", corpus, "--vocab-size", "300", "--out", again]);
    assert_eq!(
        std::fs::read(again).unwrap(),
        std::fs::read(tokenizer).unwrap(),
        "the same text, the same tokenizer"
    );
    let prepare = ["--tokenizer", again, "--input", corpus, "--out", shards, "--valid-share", "0.05"];
    succeed(&[&["data", "prepare"], &prepare[..]].concat());
    assert_eq!(
        json(&["data", "stats", shards])["fingerprint"],
        json(&["data", "stats", data])["fingerprint"]
    );

    let ids = json(&["tokenizer", "encode", "--tokenizer", tokenizer, "--text", "Once upon"]);
    assert!(!ids["ids"].as_array().unwrap().is_empty());

    let mut train = tiny(16);
    train.extend(["--data", data, "--out", run].map(str::to_owned));
    succeed(&train.iter().map(String::as_str).collect::<Vec<_>>());
    let lines = std::fs::read_to_string(path("run/metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 16);
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        for key in ["step", "tokens", "loss", "lr", "weight_decay", "lambda", "grad_norm", "tokens_per_s"] {
            assert!(line[key].is_number(), "{key} of {line}");
        }
    }
    speak(run);

    let inspected = json(&["checkpoint", "inspect", run]);
    assert_eq!(inspected["step"], 16);
    succeed(&["checkpoint", "verify", run]);
    let score = json(&["eval", "perplexity", run, "--text", corpus]);
    let nll = score["nll_per_token"].as_f64().unwrap();
    assert!((score["perplexity"].as_f64().unwrap() / nll.exp() - 1.0).abs() < 1e-9);
    assert!(score["bits_per_byte"].as_f64().unwrap() > 0.0 && score["tokens"].as_u64().unwrap() > 1000);

    let batches = path("batches.safetensors");
    let arguments = ["--out", text(&batches), "--steps", "3", "--batch", "4", "--sequence", "64"];
    succeed(&[&["data", "batches", data], &arguments[..]].concat());
    let file = formats::safetensors::File::open(&batches).unwrap();
    assert_eq!(file.info("targets").unwrap().shape, [3, 4, 64]);
}

fn speak(run: &str) {
    let arguments = ["--prompt", "Once upon a", "--max-tokens", "12", "--temperature", "0"];
    let generate = [&["generate", run], &arguments[..]].concat();
    let first = json(&generate);
    assert!(first["tokens"].as_array().unwrap().len() <= 12 && first["tokens_per_s"].is_number());
    assert_eq!(first["text"], json(&generate)["text"]);
    let logits = json(&["logits", run, "--prompt", "Once upon a", "--top", "8"]);
    assert_eq!(logits["top"].as_array().unwrap().len(), 8);
    // Greedy: the likeliest token after the prompt is the first that is generated.
    assert_eq!(logits["top"][0][0], first["tokens"][0]);
}

#[test]
fn a_dry_run_needs_no_data_and_knows_the_2b4t_shape() {
    let printed = succeed(&["train", "--preset", "2b4t", "--dry-run"]);
    assert!(printed.contains("2,412,820,480"), "{printed}");
    for (preset, millions) in
        [("study256", 28.4), ("study512", 62.0), ("study768", 101.0), ("study1024", 145.0)]
    {
        let total =
            json(&["train", "--preset", preset, "--dry-run"])["parameters"]["total"].as_f64().unwrap();
        assert!((total / 1e6 - millions).abs() < 0.3, "{preset}: {total}");
    }
}

#[test]
fn the_schedule_prints_the_published_figures() {
    let points = json(&[
        "schedule",
        "--kind",
        "microsoft",
        "--steps",
        "100000",
        "--peak",
        "1.5e-3",
        "--peak2",
        "1e-3",
        "--warmup",
        "375",
        "--at",
        "49999,50000",
    ]);
    let point = |index: usize, key: &str| points["points"][index][key].as_f64().unwrap();
    assert!((point(0, "lr") - 7.6778e-4).abs() < 1e-8 && point(0, "weight_decay") == 0.1);
    assert!((point(1, "lr") - 5.1683e-4).abs() < 1e-8 && point(1, "weight_decay") == 0.0);
    assert_eq!(point(1, "lambda"), 1.0);
}
