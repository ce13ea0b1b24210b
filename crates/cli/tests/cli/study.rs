//! An experiment from its file to its verdicts, and the report of its runs.

use crate::{fail, json, succeed, text, trilobit};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

const EXPERIMENT: &str = r#"
title = "Two optimisers"
claim = [
  "end.weight_decay == 0 and stage1.weight_decay > 0 for every optimizer",
  "end.loss < 0 for every optimizer",
  "perplexity > 1 for every optimizer",
]
[base]
preset = "tiny"
vocabulary = "data"
[base.set]
model = { hidden = 64, layers = 2, heads = 2, kv_heads = 1, head_size = 32, ffn = 96, context = 64 }
train = { steps = 8, batch = 4, sequence = 64, record_every = 2, checkpoint_every = 0, validate_batches = 1 }
schedule.warmup = 2
[[axis]]
name = "optimizer"
key = "train.optimizer"
values = ["adam", "adamw"]
[[measure]]
name = "perplexity"
run = ["eval", "perplexity", "{run}", "--text", "{text.main}", "--json"]
take = "perplexity"
[[table]]
title = "Losses"
columns = ["start.loss", "end.loss", "end.state"]
[[plot]]
title = "Loss"
measure = "loss"
"#;

#[test]
fn an_experiment_is_run_judged_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    testkit::dataset(dir.path(), 500, 300);
    let (file, out, data, corpus) = (path("two.toml"), path("out"), path("data"), path("corpus.txt"));
    std::fs::write(&file, EXPERIMENT).unwrap();
    let (file, out, data, corpus) = (text(&file), text(&out), text(&data), text(&corpus));
    let run = ["lab", "run", file, "--out", out, "--data", data, "--text", corpus, "--jobs", "2"];
    // One task of the array, as Slurm would run it.
    let script = path("array.sh");
    succeed(&[&run[..], &["--slurm", text(&script), "--tasks", "2"]].concat());
    let task = Command::new("bash").arg(&script).env("SLURM_ARRAY_TASK_ID", "1").output().unwrap();
    assert!(task.status.success(), "{}", String::from_utf8_lossy(&task.stderr));
    let is_begun = |name: &str| path("out/points").join(name).exists();
    assert_eq!(["optimizer-adam_seed-0", "optimizer-adamw_seed-0"].map(is_begun), [false, true]);
    let printed = succeed(&run);
    assert!(printed.contains("2 of 2 runs are done") && printed.contains("**refuted**"), "{printed}");
    assert_eq!(succeed(&run), printed, "nothing is run again");
    let results = json(&["lab", "show", out]);
    let verdicts: Vec<&str> = results["claims"]
        .as_array()
        .unwrap()
        .iter()
        .map(|claim| claim["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["supported", "refuted", "supported"]);
    assert!(succeed(&["lab", "show", out, "--csv"]).contains("optimizer,start.loss,end.loss,end.state"));
    for name in ["results.md", "results.csv", "results.json", "report.html", "plots/loss.svg"] {
        assert!(path("out").join(name).metadata().unwrap().len() > 200, "{name}");
    }
    let misspelt = path("misspelt.toml");
    std::fs::write(&misspelt, EXPERIMENT.replace("train.optimizer\"", "train.optimiser\"")).unwrap();
    let other = path("other");
    let sentence = fail(&["lab", "run", text(&misspelt), "--out", text(&other), "--data", data]);
    assert!(
        sentence.contains("did you mean 'train.optimizer'") && !other.join("points").exists(),
        "{sentence}"
    );
    let sentence = fail(&["lab", "run", "wd2", "--out", out]);
    assert!(sentence.contains("another experiment"), "{sentence}");
    assert!(fail(&["lab", "run", "wd3", "--out", out]).contains("separation"));
    assert!(fail(&["lab", "show", data]).contains("lab run"));

    let runs = ["adam", "adamw"].map(|name| path("out").join(format!("points/optimizer-{name}_seed-0/run")));
    let page = path("page.html");
    let report = ["report", text(&runs[0]), text(&runs[1]), "--out", text(&page), "--sample", "Once upon"];
    let summary = succeed(&report);
    assert!(summary.contains("optimizer-adamw_seed-0: ") && summary.contains("training loss"), "{summary}");
    let html = std::fs::read_to_string(&page).unwrap();
    for part in ["heat-scale-1", "weights-down-1", "<b>Once upon</b>", "train.optimizer", "state at 100 %"] {
        assert!(html.contains(part), "{part}");
    }
    assert!(fail(&["report", data]).contains("run folder"));
}

#[test]
fn ctrl_c_lets_every_run_write_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    testkit::dataset(dir.path(), 500, 300);
    let (file, out, data) = (dir.path().join("two.toml"), dir.path().join("out"), dir.path().join("data"));
    std::fs::write(&file, EXPERIMENT.replace("steps = 8", "steps = 1_000_000")).unwrap();
    let corpus = dir.path().join("corpus.txt");
    let args =
        ["lab", "run", text(&file), "--out", text(&out), "--data", text(&data), "--text", text(&corpus)];
    // As a terminal does it: the signal goes to a whole process group.
    let child = trilobit(&[&args[..], &["--jobs", "2"]].concat()).process_group(0).spawn().unwrap();
    let runs = ["adam", "adamw"].map(|name| out.join(format!("points/optimizer-{name}_seed-0/run")));
    let begun = Instant::now();
    let has_steps = |run: &std::path::PathBuf| {
        std::fs::metadata(run.join("metrics.jsonl")).is_ok_and(|metrics| metrics.len() > 0)
    };
    while !runs.iter().all(has_steps) && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    Command::new("kill").args(["-INT", "--", &format!("-{}", child.id())]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("not all runs are done"), "{said}");
    for run in &runs {
        let names =
            std::fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<_> = names.collect();
        assert!(names.iter().any(|name| *name != "step-00000000"), "{names:?}");
        assert!(std::fs::read_to_string(run.join("events.jsonl")).unwrap().contains("interrupt"), "{said}");
    }
}
