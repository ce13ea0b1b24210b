//! Import, export and verify by prompts, and the time of a cold start.

use crate::{agree, fail, json, succeed, text, trilobit};

#[test]
fn conversions_say_how_the_prompts_went_and_verify_tells_a_copy_from_another_model() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (native, gguf, hf) = (path("native"), path("a.gguf"), path("hf"));
    let said = succeed(&["import", "random:tiny", "--out", &native]);
    assert!(said.contains("64 of 64 greedy tokens equal, logits within 0.0e0"), "{said}");
    let said =
        succeed(&["export", "gguf", &native, "--type", "tq2_0", "--embedding", "q8_0", "--out", &gguf]);
    assert!(said.contains("4 prompts:"), "{said}");
    let said = succeed(&["export", "hf", &native, "--no-prompts", "--out", &hf]);
    assert!(said.contains("prompts were not run"), "{said}");

    for copy in [&gguf, &hf] {
        let verified = json(&["checkpoint", "verify", copy, "--against", &native]);
        assert_eq!((&verified["ok"], &verified["against"]["ok"]), (&true.into(), &true.into()), "{verified}");
    }
    // the same shape, other weights: every code is compared, and the prompts are answered differently
    let config = model::presets::model("tiny").unwrap();
    let other = path("other");
    let weights = model::Weights::random(&config, 1);
    agree::saved(other.as_ref(), &weights);
    let output =
        trilobit(&["checkpoint", "verify", &other, "--against", &native, "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["against"]["ok"], false, "{found}");
}

#[test]
fn a_cold_start_is_measured_beside_the_reading() {
    let dir = tempfile::tempdir().unwrap();
    let gguf = dir.path().join("a.gguf");
    succeed(&["export", "gguf", "random:tiny", "--type", "i2_s", "--no-prompts", "--out", text(&gguf)]);
    let found = json(&["bench", "load", text(&gguf), "--threads", "1"]);
    assert_eq!(found["bytes"], std::fs::metadata(&gguf).unwrap().len());
    assert!(found["first_token_s"].as_f64() > Some(0.0) && found["read_s"].as_f64() > Some(0.0), "{found}");
    let refused = trilobit(&["bench", "load", "random:tiny"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not on the disk"));
}

#[test]
fn a_measurement_takes_no_option_that_it_would_not_look_at() {
    let cases: [(&[&str], &str); 7] = [
        (&["prefill", "--sequences", "2"], "--sequences"),
        (&["prefill", "--prompt", "9"], "--prompt"),
        (&["prefill", "--tokens", "0"], "--tokens"),
        (&["decode", "--tokens", "0"], "--tokens"),
        (&["decode", "--sequences", "0"], "--sequences"),
        (&["decode", "random:tiny", "--preset", "2b4t"], "--preset"),
        (&["decode", "--preset", "tiny", "--sequences", "4294967295"], "fewer sequences"),
    ];
    for (args, part) in cases {
        let sentence = fail(&[&["bench"], args].concat());
        assert!(sentence.contains(part), "{args:?}: {sentence}");
    }
    let found = json(&["bench", "prefill", "--preset", "tiny", "--tokens", "4294967295", "--rounds", "1"]);
    assert_eq!(found["tokens"], model::presets::model("tiny").unwrap().context, "{found}");
}

#[test]
fn a_peer_is_measured_in_the_same_run() {
    let decode = ["bench", "decode", "--preset", "tiny", "--tokens", "2", "--rounds", "2", "--threads", "1"];
    let found = json(&[&decode[..], &["--peer", "echo '{\"tokens_per_s\": 4}'"]].concat());
    assert_eq!(found["peer"]["median"], 4.0);
    let ratio = found["tokens_per_s"].as_f64().unwrap() / 4.0;
    let (least, most) = (found["ratio"]["min"].as_f64().unwrap(), found["ratio"]["max"].as_f64().unwrap());
    assert!(least <= ratio * 1.001 && ratio <= most * 1.001, "{found}");
    let failed = trilobit(&[&decode[..], &["--peer", "exit 3"]].concat()).output().unwrap();
    assert!(String::from_utf8_lossy(&failed.stderr).contains("'exit 3' failed"));
}
