//! What users get wrong: exit code 2, a sentence with file, cause and remedy, and nothing lost.

use crate::{fail, succeed, text, tiny, trilobit};
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
        (&["generate", "/no/such/run", "--prompt", "x"], &["/no/such/run"]),
    ] {
        let sentence = fail(args);
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
