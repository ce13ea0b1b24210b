//! `trilobit diagnose`: its one object, its exit codes, its pages.

use crate::{fail, json, succeed, text, trilobit};
use serde_json::Value;
use std::path::Path;

const RECIPE: &str = "learning_rate: 0.0015\nlr_schedule: two-stage\nmax_steps: 10000\nwarmup_steps: 375\nweight_decay: 0.1\n\
    stage2_weight_decay: 0.05\noptimizer: adamw\nadam_beta2: 0.999\n";

fn diagnose(path: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let args: Vec<&str> = ["diagnose", text(path), "--json"].iter().chain(more).copied().collect();
    let output = trilobit(&args).output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn findings_have_their_parts_and_decide_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let (sick, mild) = (dir.path().join("sick.yaml"), dir.path().join("mild.yaml"));
    std::fs::write(&sick, RECIPE).unwrap();
    std::fs::write(&mild, RECIPE.replace("0.05", "0.0")).unwrap();
    let (code, object) = diagnose(&sick, &[]);
    let finding = &object["findings"][0];
    assert_eq!((code, &finding["code"], &finding["severity"]), (Some(1), &"T101".into(), &"error".into()));
    for part in ["name", "evidence", "remedy", "meaning", "source"] {
        assert!(finding[part].as_str().is_some_and(|part| part.len() > 5), "{finding}");
    }
    let (code, object) = diagnose(&mild, &[]);
    assert_eq!((code, &object["findings"][0]["code"]), (Some(0), &"T106".into()));
    assert_eq!(diagnose(&mild, &["--fail-on", "note"]).0, Some(1));
    assert_eq!(diagnose(&mild, &["--fail-on", "warning"]).0, Some(0));
}

#[test]
fn rules_are_listed_and_explained() {
    let object = json(&["diagnose", "--list"]);
    assert!(
        object["rules"].as_array().unwrap().len() >= 35 && object["probes"].as_array().unwrap().len() >= 8
    );
    assert!(succeed(&["diagnose", "explain", "t105"]).contains("coupled L2"));
    assert!(fail(&["diagnose", "explain", "T999"]).contains("--list"));
}

#[test]
fn what_cannot_be_diagnosed_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "hello").unwrap();
    assert!(fail(&["diagnose", text(&path)]).contains("nothing here is known"));
    assert!(fail(&["diagnose", text(&dir.path().join("none"))]).contains("no such file"));
    assert!(fail(&["diagnose"]).contains("--list"));
    for (name, text, part) in [
        ("e.json", "{}", "no key of a training recipe"),
        ("Cargo.toml", "[package]\nname = 'x'", "no key of a training recipe"),
        ("part.toml", "[train]\nweigth_decay = 0.05", "train.weight_decay"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let sentence = fail(&["diagnose", path.to_str().unwrap()]);
        assert!(sentence.contains(part), "{name}: {sentence}");
    }
    let recipe = dir.path().join("a.yaml");
    std::fs::write(&recipe, RECIPE).unwrap();
    let out = dir.path().join("out");
    assert!(fail(&["diagnose", text(&recipe), "--fix", text(&out)]).contains("no probe proved"));
}
