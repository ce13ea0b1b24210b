//! What users get wrong: exit code 2, a sentence with file, cause and remedy, and nothing lost.

use crate::{fail, json, succeed, text, tiny, trilobit};
use std::path::Path;
use std::process::Output;

fn train(data: &Path, run: &Path, sets: &[&str]) -> Vec<String> {
    let mut args = tiny(8);
    args.extend(["--data", text(data), "--out", text(run)].map(str::to_owned));
    sets.iter().for_each(|set| args.extend(["--set".to_owned(), (*set).to_owned()]));
    args
}

fn fail_owned(args: &[String]) -> String {
    fail(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn configurations() {
    for (args, parts) in [
        (&["train", "--preset", "tinny", "--out", "x"][..], &["tinny", "tiny"][..]),
        (
            &["train", "--preset", "tiny", "--set", "train.stpes=5", "--dry-run"],
            &["train.stpes", "train.steps"],
        ),
        (
            &["train", "--preset", "tiny", "--set", "train.sequence=9999", "--dry-run"],
            &["train.sequence", "context"],
        ),
        (&["train", "--preset", "tiny", "--set", "model.heads=5", "--dry-run"], &["heads"]),
        (&["train", "--preset", "tiny", "--dry-run", "--set", "schedule.kind=cosin"], &["cosin", "cosine"]),
        (&["train", "--config", "/no/such.toml", "--dry-run"], &["/no/such.toml"]),
        (&["train", "--preset", "tiny", "--adapter", "lora", "--out", "x"], &["--adapter", "--preset"]),
        (&["train", "--config", "x.toml", "--adapter", "lora", "--out", "x"], &["--from"]),
        (&["train", "--preset", "tiny", "--json", "--out", "x"], &["--dry-run"]),
        (&["train", "--preset", "tiny", "--dry-run", "--data", "/no/such"], &["/no/such"]),
        (&["train", "--preset", "tiny", "--dry-run", "--resume"], &["--out"]),
        (&["generate", "/no/such/run", "--prompt", "x"], &["/no/such/run"]),
        (&["train", "--preset", "tiny", "--set", "train.steps=1e9", "--dry-run"], &["exponent: 1000000000"]),
        (
            &["train", "--preset", "tiny", "--set", "train.seed=18446744073709551615", "--dry-run"],
            &["9223372036854775807"],
        ),
        (
            &[
                "train",
                "--preset",
                "tiny",
                "--set",
                "train.batch=1048576",
                "--set",
                "train.accumulation=1048576",
                "--dry-run",
            ],
            &["steps of 1048576 × 1048576 sequences"],
        ),
        (
            &["train", "--preset", "tiny", "--set", "distill.logits=[1,0,3]", "--dry-run"],
            &["distill.logits", "neither a number nor two of them"],
        ),
        (&["plan", "--preset", "tiny", "--nodes", "2", "--network", "1e300"], &["--network", "at most"]),
        (&["checkpoint", "diff", "a", "b", "--tolerance", "nan"], &["--tolerance", "≥ 0"]),
    ] {
        let sentence = fail(args);
        assert!(sentence.matches("os error").count() < 2, "the cause is told once: {sentence}");
        for part in parts {
            assert!(sentence.contains(part), "{args:?}: {sentence}");
        }
    }
}

#[test]
fn files() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    testkit::dataset(dir.path(), 500, 300);
    let tokenizer = path("tokenizer.json");
    let prepare = |input: &Path, out: &str| {
        let out = path(out);
        fail(&[
            "data",
            "prepare",
            "--tokenizer",
            text(&tokenizer),
            "--input",
            text(input),
            "--out",
            text(&out),
        ])
    };
    // What is read is not written over.
    let [words, batches] = [path("words.txt"), path("data/batches.safetensors")];
    std::fs::write(&words, "the cat and the dog").unwrap();
    let learn = ["tokenizer", "train", "--vocab-size", "300", "--input", text(&words), "--out", text(&words)];
    assert!(fail(&learn).contains("one of the texts"));
    let data = path("data");
    let write = ["data", "batches", text(&data), "--steps", "1", "--batch", "1", "--sequence", "8", "--out"];
    assert!(fail(&[&write[..], &[text(&batches)]].concat()).contains("in the data set itself"));

    let bare = path("bare");
    std::fs::create_dir(&bare).unwrap();
    std::fs::write(bare.join("model.safetensors"), "").unwrap();
    assert!(fail(&["generate", text(&bare), "--prompt", "x"]).contains("no config.json"));

    std::fs::write(path("empty.txt"), "").unwrap();
    assert!(prepare(&path("empty.txt"), "a").contains("empty.txt"));
    std::fs::write(path("binary.txt"), [0xff, 0xfe, 0, 1, 2]).unwrap();
    assert!(prepare(&path("binary.txt"), "b").contains("binary.txt"));
    assert!(prepare(&path("gone.txt"), "c").contains("gone.txt"));

    let shard = path("data/train-00000.bin");
    let whole = std::fs::read(&shard).unwrap();
    for cut in [0, 10, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&shard, &whole[..cut]).unwrap();
        let sentence = fail_owned(&train(&path("data"), &path("run"), &[]));
        assert!(sentence.contains("train-00000.bin"), "{sentence}");
        std::fs::remove_dir_all(path("run")).ok();
    }
    std::fs::write(&shard, &whole).unwrap();
    let sentence = fail_owned(&train(&path("data"), &path("run"), &["model.vocabulary=100"]));
    assert!(sentence.contains("model.vocabulary"), "{sentence}");
    let mut dry = train(&path("data"), &path("run"), &["model.vocabulary=100"]);
    dry.push("--dry-run".to_owned());
    assert!(fail_owned(&dry).contains("model.vocabulary"), "a plan looks at the data, too");
}

#[test]
fn a_run_goes_on_from_anywhere_with_data_that_has_moved() {
    let dir = tempfile::tempdir().unwrap();
    testkit::dataset(dir.path(), 500, 300);
    let path = |name: &str| dir.path().join(name);
    let begun = train(Path::new("data"), Path::new("run"), &["train.checkpoint_every=2"]);
    let begun: Vec<&str> = begun.iter().map(String::as_str).collect();
    let Output { status, stderr, .. } = trilobit(&begun).current_dir(dir.path()).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let run = path("run");
    let resume = ["train", "--out", text(&run), "--resume"];
    succeed(&resume);

    // The newest checkpoint is damaged: who looks hears so, and an older one goes on.
    let weights = path("run/checkpoints/step-00000008/weights.safetensors");
    let mut content = std::fs::read(&weights).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 0x40;
    std::fs::write(&weights, content).unwrap();
    let Output { stdout, .. } = trilobit(&["diagnose", text(&run)]).output().unwrap();
    let found = String::from_utf8(stdout).unwrap();
    assert!(found.contains("T501") && found.contains("step-00000008") && !found.contains("T202"), "{found}");
    let plan = json(&[&resume[..], &["--dry-run"]].concat());
    assert_eq!((&plan["steps"], &plan["checkpoints"]), (&2.into(), &1.into()), "{plan}");

    std::fs::rename(path("data"), path("moved")).unwrap();
    assert!(fail(&resume).contains("there is no such folder"));
    std::fs::create_dir(path("other")).unwrap();
    let corpus = std::fs::read_to_string(path("corpus.txt")).unwrap();
    std::fs::write(path("other/corpus.txt"), &corpus[..corpus.len() / 2]).unwrap();
    let (tokenizer, half, other) = (path("tokenizer.json"), path("other/corpus.txt"), path("other/data"));
    let prepare = ["data", "prepare", "--tokenizer", text(&tokenizer), "--input", text(&half)];
    succeed(&[&prepare[..], &["--out", text(&other)]].concat());
    assert!(fail(&[&resume[..], &["--data", text(&other)]].concat()).contains("begun with data ="));
    let moved = trilobit(&[&resume[..], &["--data", "moved"]].concat()).current_dir(dir.path()).output();
    let Output { status, stderr, .. } = moved.unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(status.success() && said.contains("all 8 steps"), "{said}");
    assert!(said.contains("step-00000008") && said.contains("step-00000006, which is older"), "{said}");
    succeed(&resume);
}

#[test]
fn a_file_that_is_cut_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, cut) = (dir.path().join("whole.gguf"), dir.path().join("cut.gguf"));
    succeed(&["export", "gguf", "random:tiny", "--type", "i2_s", "--no-prompts", "--out", text(&whole)]);
    let content = std::fs::read(&whole).unwrap();
    std::fs::write(&cut, &content[..content.len() / 2]).unwrap();
    let Output { status, stdout, .. } =
        trilobit(&["checkpoint", "verify", text(&cut), "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!((status.code(), &report["ok"]), (Some(1), &false.into()), "{report}");
    assert!(fail(&["checkpoint", "verify", "/no/such.gguf"]).contains("/no/such.gguf"));
}

#[test]
fn what_is_typed_beside_a_resume_has_to_be_what_the_run_was_begun_with() {
    let dir = tempfile::tempdir().unwrap();
    testkit::dataset(dir.path(), 500, 300);
    let (data, run) = (dir.path().join("data"), dir.path().join("run"));
    let begun = train(&data, &run, &[]);
    succeed(&begun.iter().map(String::as_str).collect::<Vec<_>>());
    let (data, run) = (text(&data), text(&run));
    let resume =
        |verb: &'static str, more: &[&'static str]| [&[verb, "--out", run, "--resume"], more].concat();
    succeed(&resume("train", &[]));
    succeed(&[&resume("train", &["--set", "train.steps=8"])[..], &["--data", data]].concat());
    for (verb, more, part) in [
        ("train", &["--set", "train.steps=9"][..], "train.steps = 8, and 9"),
        ("train", &["--recompute"], "train.recompute = false"),
        ("train", &["--data", "elsewhere"], "begun with data ="),
        ("train", &["--preset", "books10m"], "begun with model."),
        ("train", &["--set", "train.stpes=8"], "train.steps"),
        ("heal", &["--teacher", "T"], "begun without distill"),
        ("heal", &["--set", "train.steps=9"], "train.steps = 8, and 9"),
        ("distill", &["--teacher", "T"], "begun without distill"),
        ("distill", &["--set", "train.clip=0.3"], "begun with train.clip"),
    ] {
        let sentence = fail(&resume(verb, more));
        assert!(sentence.contains(part), "{verb} {more:?}: {sentence}");
    }
}

/// The expression that finds the words of this tokenizer has to try every way to cut the letters.
#[test]
fn a_text_that_cannot_be_encoded() {
    let dir = tempfile::tempdir().unwrap();
    testkit::dataset(dir.path(), 500, 300);
    let path = dir.path().join("tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json["pre_tokenizer"] = serde_json::json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "(?:a|aa)+b"}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
    ]});
    std::fs::write(&path, json.to_string()).unwrap();
    let prompt = format!("{}cb", "a".repeat(60));
    let input = dir.path().join("long.txt");
    std::fs::write(&input, &prompt).unwrap();
    let model = ["random:tiny", "--tokenizer", text(&path)];
    for args in [
        &[&["generate"], &model[..], &["--prompt", &prompt]].concat()[..],
        &[&["logits"], &model[..], &["--prompt", &prompt]].concat(),
        &[&["eval", "perplexity"], &model[..], &["--text", text(&input)]].concat(),
        &["tokenizer", "encode", "--tokenizer", text(&path), "--text", &prompt],
        &["tokenizer", "inspect", text(&path), "--text", &prompt],
        &["tokenizer", "inspect", text(&path), "--input", text(&input)],
    ] {
        let sentence = fail(args);
        assert!(sentence.contains("begins \"aaaa"), "{args:?}: {sentence}");
        assert_eq!(sentence.trim().lines().count(), 1, "{args:?}: {sentence}");
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    // A device that is always full stands where the output should go.
    let full = Path::new("/dev/full");
    if !full.exists() {
        eprintln!("skipped: 1 test needs /dev/full");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    testkit::dataset(dir.path(), 500, 300);
    let corpus = dir.path().join("corpus.txt");
    let sentence =
        fail(&["tokenizer", "train", "--input", text(&corpus), "--vocab-size", "300", "--out", text(full)]);
    assert!(sentence.contains("/dev/full"), "{sentence}");
    let out = std::fs::File::options().write(true).open(full).unwrap();
    let dry = ["train", "--preset", "tiny", "--dry-run", "--json"];
    let Output { status, stderr, .. } = trilobit(&dry).stdout(out).output().unwrap();
    let sentence = String::from_utf8(stderr).unwrap();
    assert!(status.code() == Some(2) && !sentence.contains("panicked"), "{sentence}");
    assert!(sentence.contains("free some space"), "{sentence}");
}

#[test]
fn a_reader_that_has_gone_ends_the_program_quietly() {
    for args in [&["schedule", "--preset", "tiny"][..], &["train", "--preset", "tiny", "--dry-run", "--json"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let Output { status, stderr, .. } = trilobit(args).stdout(writer).output().unwrap();
        assert_eq!((status.code(), String::from_utf8(stderr).unwrap().as_str()), (Some(141), ""), "{args:?}");
    }
}
