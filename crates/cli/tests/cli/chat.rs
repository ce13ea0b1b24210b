//! Conversations and constrained answers, through the program: a tiny trained model, lines from a pipe.

use crate::{fail, json, succeed, text, tiny, trilobit};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// A run of a model that was trained for a few steps.
fn train(dir: &Path) -> String {
    testkit::dataset(dir, 500, 300);
    let (data, run) = (dir.join("data"), dir.join("run"));
    let mut args = tiny(8);
    args.extend(
        ["--data", text(&data), "--out", text(&run), "--set", "model.context=100000"].map(str::to_owned),
    );
    succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());
    text(&run).to_owned()
}

/// What the program prints for these lines, and what it says beside.
fn talk(args: &[&str], lines: &str) -> (String, String) {
    let mut child = trilobit(&[&["chat"], args].concat()).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(if said.contains("error:") { 2 } else { 0 }), "{said}");
    (String::from_utf8(out.stdout).unwrap(), said)
}

fn answers(printed: &str) -> Vec<Value> {
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_model_is_talked_to_and_held_to_a_grammar() {
    let dir = tempfile::tempdir().unwrap();
    let run = train(dir.path());
    conversations(dir.path(), &run);
    an_error_changes_nothing(&run);
    commands(dir.path(), &run);
    an_answer_can_be_stopped(dir.path(), &run);
    a_full_disk_is_an_error(&run);
    grammars(dir.path(), &run);
    details(&run);
    windows(dir.path(), &run);
}

fn conversations(dir: &Path, run: &str) {
    let greedy = [run, "--temperature", "0", "--max-tokens", "8", "--json"];
    let (printed, said) = talk(&greedy, "Once upon\n\nthere was\nThe end");
    assert!(said.contains("'plain'"), "{said}");
    let three = answers(&printed);
    assert_eq!(three.len(), 3, "an empty line says nothing, the last needs no end: {printed}");
    assert_eq!(three[0]["reused_tokens"], 0);
    let reused = |index: usize| three[index]["reused_tokens"].as_u64().unwrap();
    assert!(reused(1) > 8 && reused(2) > reused(1), "{printed}");
    // The same answers as for the same conversation in one go: what was read before changes nothing.
    let (plain, _) = talk(&[run, "--temperature", "0", "--max-tokens", "8"], "Once upon\nthere was\n");
    assert!(plain.trim_start().starts_with(three[0]["text"].as_str().unwrap()), "{plain}");
    let (looked_up, _) = talk(&[&greedy[..], &["--lookup", "5"]].concat(), "Once upon\nthere was\nThe end");
    for (a, b) in answers(&looked_up).iter().zip(&three) {
        assert_eq!(a["text"], b["text"]);
    }
    // A full context forgets, and goes on.
    let long = "the cat and the dog\n".repeat(12);
    let (printed, said) = talk(&[&greedy[..], &["--context", "128"]].concat(), &long);
    assert!(answers(&printed).len() == 12 && said.contains("forgotten"), "{said}");
    let (printed, said) = talk(&[&greedy[..], &["--context", "32"]].concat(), &"the cat ".repeat(40));
    assert!(printed.is_empty() && said.contains("shorten it"), "{said}");

    let template = dir.join("template.jinja");
    std::fs::write(&template, "{% for m in messages %}{{ m.content }}{{ raise_exception('no more') if m.content == 'x' }}{% endfor %}")
        .unwrap();
    let (printed, said) = talk(&[&greedy[..], &["--template", text(&template)]].concat(), "x\nonce\n");
    assert!(answers(&printed).len() == 1 && said.contains("no more"), "{said}");
    std::fs::write(&template, "{% for").unwrap();
    let sentence = fail(&["chat", run, "--template", text(&template)]);
    assert!(sentence.contains("template.jinja"), "{sentence}");
    assert!(fail(&["chat", run, "--template", "lama3"]).contains("llama3"));
}

/// What the context has no room for was not said, and takes nothing of what was said before with it.
fn an_error_changes_nothing(run: &str) {
    let args = [run, "--temperature", "0", "--max-tokens", "8", "--json", "--context", "128"];
    let long = "the cat and the dog ".repeat(40);
    let (plain, _) = talk(&args, "Once upon\nthere was\n");
    let (disturbed, said) = talk(&args, &format!("Once upon\n{long}\nthere was\n"));
    assert!(said.contains("shorten it") && !said.contains("forgotten"), "{said}");
    let (plain, disturbed) = (answers(&plain), answers(&disturbed));
    assert_eq!(disturbed.len(), 2);
    for key in ["text", "reused_tokens"] {
        assert_eq!(disturbed[1][key], plain[1][key], "{key}");
    }
    let (printed, said) =
        talk(&args, &format!("Once upon\n/system {long}\n/regenerate\n/system\n/regenerate\n"));
    assert!(said.contains("shorten it") && !said.contains("no answer yet"), "{said}");
    let printed = answers(&printed);
    assert_eq!((printed.len(), &printed[1]["text"]), (2, &printed[0]["text"]));
}

fn a_full_disk_is_an_error(run: &str) {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        return eprintln!("skipped: 1 test needs /dev/full");
    };
    let verbs: [&[&str]; 2] = [&["generate", run, "--prompt", "the cat"], &["chat", run]];
    let form: [&[&str]; 2] = [&["--max-tokens", "8"], &["--max-tokens", "8", "--json"]];
    for args in verbs.into_iter().flat_map(|verb| form.map(|form| [verb, form].concat())) {
        let mut child =
            trilobit(&args).stdin(Stdio::piped()).stdout(full.try_clone().unwrap()).spawn().unwrap();
        // What does not read it may have ended.
        let _ = child.stdin.take().unwrap().write_all(b"Once upon\nthere was\n");
        let out = child.wait_with_output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains("free some space") && !said.contains("panicked"), "{args:?}: {said}");
        assert_eq!(said.matches("error:").count(), 1, "{args:?}: {said}");
    }
}

/// A window takes the memory of its own length, not of the model's context.
fn windows(dir: &Path, run: &str) {
    let (folder, words) = (dir.join("hf"), dir.join("words.txt"));
    succeed(&["export", "hf", run, "--mode", "online", "--no-prompts", "--out", text(&folder)]);
    let config = folder.join("config.json");
    let mut long: Value = serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    long["max_position_embeddings"] = (1 << 21).into();
    std::fs::write(&config, long.to_string()).unwrap();
    std::fs::write(&words, "the cat and the dog\n".repeat(20)).unwrap();
    let measure = ["eval", "perplexity", text(&folder), "--text", text(&words), "--kv", "f32", "--window"];
    for (window, stride) in [("2097153", "1"), ("0", "1"), ("8", "9")] {
        let sentence = fail(&[&measure[..], &[window, "--stride", stride]].concat());
        assert!(sentence.contains("(the model's context)"), "{sentence}");
    }
    if cfg!(target_os = "linux") {
        // 2^21 tokens of keys and values are a gigabyte.
        let limited = "ulimit -v 1000000; exec \"$0\" \"$@\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", limited, env!("CARGO_BIN_EXE_trilobit")]).args(measure).args([
            "32",
            "--threads",
            "1",
        ]);
        let out = shell.output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

fn commands(dir: &Path, run: &str) {
    let file = dir.join("said.json");
    let lines = format!(
        "/system Be brief.\none\ntwo\n/undo\n/regenerate\n//three\n/save {}\n/set temperature=0.5\n/set top_q=1\n\
         /sav x\n/help\n/reset\n/undo\nfour\n/quit\nnever\n",
        text(&file)
    );
    let (printed, said) = talk(&[run, "--max-tokens", "6", "--json", "--seed", "3"], &lines);
    assert_eq!(answers(&printed).len(), 5, "{printed}");
    for part in ["top_p", "/save", "/regenerate ", "nothing to take back"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let saved: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let saved = saved["messages"].as_array().unwrap();
    let roles: Vec<&str> = saved.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    assert_eq!((&saved[1]["content"], &saved[3]["content"]), (&"one".into(), &"/three".into()));
}

/// Ctrl-C ends the answer; the program goes on, and what was said is part of the conversation.
fn an_answer_can_be_stopped(dir: &Path, run: &str) {
    let file = dir.join("stopped.json");
    // A token that is always chosen: an answer of a hundred thousand, each slower than the one before.
    let args = ["chat", run, "--context", "100000", "--max-tokens", "100000", "--logit-bias", "70=1000"];
    let mut child = trilobit(&args).stdin(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    writeln!(input, "go on").unwrap();
    output.read_exact(&mut [0]).unwrap();
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    writeln!(input, "/save {}\n/quit", text(&file)).unwrap();
    let mut answer = String::new();
    output.read_to_string(&mut answer).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(answer.len() < 90_000 && answer.ends_with('\n'), "{} bytes", answer.len());
    let saved = std::fs::read_to_string(&file).unwrap();
    assert!(saved.contains("go on") && saved.contains("assistant"), "{saved}");
}

fn grammars(dir: &Path, run: &str) {
    let schema = dir.join("schema.json");
    std::fs::write(
        &schema,
        r#"{"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer",
            "minimum": 0, "maximum": 120}}, "required": ["name", "age"], "additionalProperties": false}"#,
    )
    .unwrap();
    let generate = |more: &[&str]| json(&[&["generate", run, "--prompt", "Once upon a"], more].concat());
    for seed in ["1", "2", "3"] {
        let answer = generate(&["--json-schema", text(&schema), "--seed", seed, "--temperature", "1.5"]);
        let value: Value = serde_json::from_str(answer["text"].as_str().unwrap()).unwrap();
        assert!(value["name"].as_str().unwrap().chars().count() <= 5, "{value}");
        assert!(value["age"].as_u64().unwrap() <= 120 && value.as_object().unwrap().len() == 2, "{value}");
        let answer = generate(&["--regex", " (yes|no)[!.]", "--seed", seed]);
        assert!([" yes!", " yes.", " no!", " no."].contains(&answer["text"].as_str().unwrap()), "{answer}");
        assert_eq!(answer["finish"], "complete grammar");
    }
    std::fs::write(&schema, "{\"type\": ").unwrap();
    let generate = ["generate", run, "--prompt", "x"];
    let sentence = fail(&[&generate[..], &["--json-schema", text(&schema)]].concat());
    assert!(sentence.contains("schema.json") && sentence.contains("no JSON schema"), "{sentence}");
    assert!(fail(&[&generate[..], &["--regex", "(x"]].concat()).contains("regular expression"));
    assert!(fail(&[&generate[..], &["--regex", "x", "--grammar", "y"]].concat()).contains("--grammar"));
}

fn details(run: &str) {
    let greedy =
        ["generate", run, "--prompt", "the cat the cat the", "--temperature", "0", "--max-tokens", "40"];
    let plain = json(&greedy);
    let more = json(&[&greedy[..], &["--lookup", "6", "--logprobs", "2"]].concat());
    assert_eq!(plain["tokens"], more["tokens"]);
    assert!(more["lookup"]["proposed"].as_u64() >= more["lookup"]["accepted"].as_u64());
    let steps = more["logprobs"].as_array().unwrap();
    assert_eq!(steps.len(), plain["tokens"].as_array().unwrap().len());
    for step in steps {
        assert_eq!(step["top"][0][0], step["id"], "greedy takes the likeliest: {step}");
        assert_eq!(step["top"].as_array().unwrap().len(), 2);
    }
    let warm =
        ["--typical-p", "0.9", "--presence-penalty", "0.5", "--frequency-penalty", "0.2", "--mirostat", "3"];
    let plain = ["generate", run, "--prompt", "a", "--seed", "4", "--max-tokens", "9"];
    let drawn = [&plain[..], &warm, &["--logit-bias", "5=-100"]].concat();
    assert_eq!(json(&drawn)["tokens"], json(&drawn)["tokens"]);
    assert!(fail(&[&plain[..], &["--typical-p", "0"]].concat()).contains("typical_p"));
    let huge = [&plain[..], &["--logit-bias", "5=3e38", "--logit-bias", "5=3e38"]].concat();
    assert_eq!(json(&huge)["tokens"], Value::from(vec![5; 9]));
    for (penalty, name) in [
        ("--repeat-penalty=1e-38", "repetition_penalty"),
        ("--frequency-penalty=-3e38", "frequency_penalty"),
        ("--presence-penalty=3e38", "presence_penalty"),
    ] {
        assert!(fail(&[&plain[..], &[penalty]].concat()).contains(name));
    }
    // What no question could be answered with is said before the first.
    for (flags, part) in [
        (&["--lookup", "4", "--lambda", "0.5"][..], "lookup"),
        (&["--logit-bias", "99999=1"], "99999"),
        (&["--stop", ""], "stop string"),
    ] {
        for verb in [&plain[..], &["chat", run]] {
            let sentence = fail(&[verb, flags].concat());
            assert!(sentence.contains(part), "{verb:?}: {sentence}");
        }
    }
}
