//! A dense model is healed, stopped on the way, refused by the export, healed to its end, distilled and shipped.

use crate::{fail, json, succeed, text, tiny, trilobit};
use std::path::Path;

fn with(base: &[&str], sets: &[&str]) -> Vec<String> {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    base.iter().copied().chain(sets).map(str::to_owned).collect()
}

fn run(arguments: &[String]) -> String {
    succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

const QUICK: [&str; 6] = [
    "train.steps=12",
    "train.batch=2",
    "train.sequence=32",
    "train.record_every=4",
    "train.validate_batches=1",
    "schedule.warmup=0",
];

/// A little dense model in `dir/dense`, and its data.
fn pretrained(dir: &Path) {
    testkit::dataset(dir, 400, 300);
    let mut train = tiny(30);
    train.extend(["--data", text(&dir.join("data")), "--out", text(&dir.join("dense"))].map(str::to_owned));
    train.extend(with(&[], &["model.linear=dense", "model.sub_norms=false", "model.activation=silu"]));
    run(&train);
}

#[test]
fn from_a_dense_model_to_a_ternary_file() {
    let dir = tempfile::tempdir().unwrap();
    pretrained(dir.path());
    let path = |name: &str| text(&dir.path().join(name)).to_owned();
    let (dense, data, healed) = (path("dense"), path("data"), path("healed"));
    let heal = ["heal", "--from", &dense, "--data", &data, "--out", &healed];
    let table = run(&with(&[&heal[..], &["--sample", "Once"]].concat(), &QUICK));
    assert!(table.contains("recovered") && table.lines().count() >= 6, "{table}");
    let samples = std::fs::read_to_string(path("healed/samples.jsonl")).unwrap();
    assert!(samples.lines().count() >= 4 && samples.contains("\"prompt\":\"Once\""), "{samples}");

    // The checkpoint of the first quarter came before λ = 1 … of a linear λ.
    let slow = path("slow");
    let heal = ["heal", "--from", &dense, "--data", &data, "--out", &slow];
    run(&with(&heal, &[&QUICK[..], &["lambda.kind=linear"]].concat()));
    let early = path("slow/checkpoints/step-00000006");
    let out = path("early.gguf");
    for kind in ["i2_s", "f16"] {
        let sentence = fail(&["export", "gguf", &early, "--type", kind, "--out", &out]);
        assert!(sentence.contains("of 1") && sentence.contains("--quantize"), "{sentence}");
    }
    let forced =
        succeed(&["export", "gguf", &early, "--type", "i2_s", "--out", &out, "--quantize", "--no-prompts"]);
    assert!(forced.contains("relative error"), "{forced}");
    succeed(&["export", "gguf", &healed, "--type", "i2_s", "--out", &path("healed.gguf")]);

    let plan = run(&with(&["heal", "--from", &dense, "--teacher", &dense, "--dry-run"], &QUICK));
    assert!(plan.contains("\n  teacher   "), "{plan}");

    let sentence = fail(&["heal", "--data", &data, "--out", &path("nothing")]);
    assert!(sentence.contains("--from MODEL"), "{sentence}");
}

#[test]
fn the_recipe_goes_on_between_its_stages() {
    let dir = tempfile::tempdir().unwrap();
    pretrained(dir.path());
    let path = |name: &str| text(&dir.path().join(name)).to_owned();
    let (dense, data, out) = (path("dense"), path("data"), path("out"));
    let recipe = ["distill", "--recipe", "bitdistill", "--teacher", &dense, "--data", &data, "--out", &out];
    let cold = with(&recipe, &[&QUICK[..], &["distill.temperature=0"]].concat());
    let sentence = fail(&cold.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(sentence.contains("distill.temperature") && !Path::new(&out).exists(), "{sentence}");
    let ranks = trilobit(&recipe).env("OMPI_COMM_WORLD_SIZE", "2").output().unwrap();
    let sentence = String::from_utf8(ranks.stderr).unwrap();
    assert!(sentence.contains("two stages") && !Path::new(&out).exists(), "{sentence}");

    let quick = [&QUICK[..], &["distill.temperature=3", "lambda.n=4"]].concat();
    let dry = with(&[&recipe[..], &["--dry-run"]].concat(), &quick);
    let plan = json(&dry.iter().map(String::as_str).collect::<Vec<_>>());
    let stages = plan["stages"].as_array().unwrap();
    assert_eq!(stages.iter().map(|stage| stage["steps"].as_u64()).collect::<Vec<_>>(), [Some(12); 2]);
    assert!(
        stages[0]["memory"]["teacher"] == 0
            && stages[1]["memory"]["teacher"] != 0
            && !Path::new(&out).exists()
    );
    run(&with(&[&recipe[..], &["--max-time", "0s"]].concat(), &quick));
    assert!(!Path::new(&path("out/2-distill")).exists(), "the first stage was stopped");
    run(&with(&recipe, &quick));
    let [first, second] = ["out/1-pretrain/config.toml", "out/2-distill/config.toml"]
        .map(|name| std::fs::read_to_string(path(name)).unwrap());
    assert!(first.contains("n = 4\n") && !first.contains("[distill]"), "{first}");
    assert!(second.contains("temperature = 3.0") && second.contains("kind = \"one\""), "{second}");
    let sentence = fail(&[&recipe[..], &["--set", "train.steps=99"]].concat());
    assert!(sentence.contains("1-pretrain: it was begun with train.steps = 12"), "{sentence}");
    let lines = std::fs::read_to_string(path("out/2-distill/metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 12);
    assert!(lines.lines().all(|line| line.contains("\"distillation\":[")), "{lines}");
}

#[test]
fn data_is_prepared_with_the_tokenizer_of_a_model() {
    let dir = tempfile::tempdir().unwrap();
    pretrained(dir.path());
    let path = |name: &str| text(&dir.path().join(name)).to_owned();
    let (dense, corpus, out) = (path("dense"), path("corpus.txt"), path("again"));
    succeed(&[
        "data",
        "prepare",
        "--tokenizer",
        &dense,
        "--input",
        &corpus,
        "--out",
        &out,
        "--valid-share",
        "0.05",
    ]);
    let tokenizers =
        [path("tokenizer.json"), path("again/tokenizer.json")].map(|path| std::fs::read(path).unwrap());
    assert!(tokenizers[0] == tokenizers[1]);
}
