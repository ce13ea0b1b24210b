//! An experiment from its file to its verdicts, with a program in place of `trilobit` that writes what a run leaves.
#![cfg(unix)]

use lab::claim::Verdict::{self, *};
use lab::folder::{DataSet, Facts};
use lab::points::Point;
use lab::results::Results;
use lab::runner::{self, Options, Status};
use lab::{Experiment, Folder};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Writes a run of ten steps whose loss is the value of `schedule.peak` at the end. Refuses a peak of 13, stops in order with one of
/// 11, and fails after all steps with one of 12. With a peak of 14 it waits to be asked, and says in which group it does; with one of
/// 16 it waits for that one and leaves damaged metrics. A run of 15 is measured for a long time.
const PROGRAM: &str = r#"#!/bin/sh
if [ "$1" = eval ]; then
  case "$3" in *peak-15*) echo > "$3.measured"; exec sleep 15;; esac
  echo '{"perplexity": 42.5}'; exit 0
fi
echo "$@" >> "$(dirname "$0")/calls"
peak=1.0
while [ $# -gt 0 ]; do
  case "$1" in --out) out=$2;; --from) from=$2;; --set) case "$2" in schedule.peak=*) peak=${2#*=};; esac;; esac
  shift
done
if [ "$peak" = 13.0 ]; then echo "starting"; echo "error: a peak of 13 is unlucky" >&2; exit 2; fi
if [ "$peak" = 14.0 ]; then
  trap 'echo > "$out.asked"; exit 130' TERM
  ps -o pgid= -p $$ > "$out.group"
  step=0; while [ $step -lt 150 ]; do sleep 0.1; step=$((step + 1)); done
fi
mkdir -p "$out/checkpoints/step-00000000"
printf '[train]\nsteps = 10\n' > "$out/config.toml"
[ -n "$from" ] && echo "{\"step\":10,\"prompt\":\"healed from\",\"text\":\"$from | 1\"}" > "$out/samples.jsonl"
echo '{"ln_vocabulary": 9.4, "unigram_entropy": 6.0, "parameters": 1000, "perplexity": 7}' > "$out/run.json"
: > "$out/metrics.jsonl"
if [ "$peak" = 16.0 ]; then
  echo '{' > "$out/metrics.jsonl"
  while [ ! -s "$out/../../peak-14.0_seed-0/run.group" ]; do sleep 0.05; done
fi
step=0
while [ $step -lt 10 ]; do
  if [ "$peak $step" = "11.0 8" ]; then exit 0; fi
  loss=9.5; [ $step -ge 5 ] && loss=$peak
  echo "{\"step\":$step,\"tokens\":1,\"loss\":$loss,\"bits_per_byte\":1,\"lr\":0.1,\"weight_decay\":0,\"lambda\":1,\"grad_norm\":1,\"tokens_per_s\":1,\"unique_tokens\":$((step + 1)),\"output_entropy\":5.0}" >> "$out/metrics.jsonl"
  step=$((step + 1))
done
mkdir -p "$out/checkpoints/step-00000010"
echo '{"version": 1, "about": {}, "files": []}' > "$out/checkpoints/step-00000010/manifest.json"
if [ "$peak" = 12.0 ]; then echo "error: the disk is full" >&2; exit 2; fi
"#;

const EXPERIMENT: &str = r#"
title = "A test"
claim = [
  "end.raw_loss < stage1_end.raw_loss for every peak",
  "end.raw_loss[peak=3.0] < end.raw_loss[peak=2.0]",
  "end.raw_loss <= 2 for some peak",
  "end.validation_loss < 3 for every peak",
  "lowest(whole.unique_tokens[peak=2]) == 1 and start.state[peak=2] == 'uniform'",
  "perplexity == 42.5 for every peak",
]
[base]
seeds = [0, 1]
[[axis]]
name = "peak"
key = "schedule.peak"
values = [2.0, 3.0]
[[measure]]
name = "perplexity"
run = ["eval", "perplexity", "{run}", "--text", "{text.main}", "--json"]
take = "perplexity"
[[table]]
title = "Loss | end"
columns = [{ name = "end", value = "end.raw_loss" }, "end.state", "end.validation_loss"]
[[plot]]
title = "Loss"
measure = "loss"
"#;

fn program(dir: &Path) -> PathBuf {
    let path = dir.join("program");
    std::fs::write(&path, PROGRAM).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn facts() -> Facts {
    let set = DataSet { path: "shards".into(), vocabulary: 300, text: Some("held-out.txt".into()) };
    Facts { quick: false, data: BTreeMap::from([("main".to_owned(), set)]), from: None }
}

fn run(folder: &Folder, program: &Path, jobs: usize, interrupted: &dyn Fn() -> bool) -> Vec<(Point, Status)> {
    let mut options = Options {
        program: program.to_owned(),
        jobs,
        cores: 2,
        share: (0, 1),
        interrupted,
        watch: &mut |_| {},
    };
    runner::run(folder, &mut options).unwrap()
}

fn calls(dir: &Path) -> usize {
    std::fs::read_to_string(dir.join("calls")).map_or(0, |text| text.lines().count())
}

#[test]
fn points_are_run_once_and_claims_are_judged() {
    let dir = tempfile::tempdir().unwrap();
    let program = program(dir.path());
    let folder = Folder::begin(&dir.path().join("out"), "test", EXPERIMENT, facts()).unwrap();
    assert_eq!(Results::of(&folder).unwrap().claims[0].verdict, Undecided);
    let checkpoint = folder.run_dir(&folder.points[0]).join("checkpoints/step-00000010");
    let first = run(&folder, &program, 1, &|| checkpoint.join("manifest.json").exists());
    assert!(first.iter().any(|(_, status)| *status == Status::Waiting), "stopped before the end");
    let states = run(&folder, &program, 2, &|| false);
    assert!(states.iter().all(|(_, status)| matches!(status, Status::Done { .. })), "{states:?}");
    assert_eq!(calls(dir.path()), 4, "no point is run twice");
    run(&folder, &program, 2, &|| false);
    assert_eq!(calls(dir.path()), 4);
    let kept = std::fs::read_dir(folder.run_dir(&folder.points[0]).join("checkpoints")).unwrap().count();
    assert_eq!(kept, 1, "only the newest checkpoint stays");

    let results = Results::of(&Folder::open(folder.dir()).unwrap()).unwrap();
    assert!(results.is_complete());
    let verdicts: Vec<Verdict> = results.claims.iter().map(|judged| judged.verdict).collect();

    assert_eq!(verdicts, [Supported, Refuted, Supported, Undecided, Supported, Supported]);
    assert_eq!(results.claims[0].evidence.len(), 4, "two peaks, two seeds");
    let markdown = results.markdown();
    for part in [
        "| peak | end | end.state |",
        "| 2.0 | 2 (2 to 2) | healthy | – |",
        "Loss | end",
        "**refuted**",
        "seed 1: fails",
    ] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
    assert!(
        results
            .csv()
            .contains("Loss | end\npeak,end,end.state,end.validation_loss\n2.0,2 (2 to 2),healthy,–\n")
    );
    assert_eq!(results.json()["claims"][1]["verdict"], "refuted");
    let measured = lab::results::measured(&folder).unwrap();
    let svg = lab::plot::svg(&folder.experiment.plots[0], &measured);
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("peak-3.0_seed-1"), "{svg}");
}

#[test]
fn a_model_that_was_named_is_healed_and_its_samples_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let text = EXPERIMENT.replace("seeds = [0, 1]", "command = \"heal\"\n[start]\npreset = \"tiny\"");
    let named = Facts { from: Some("/models/m.gguf".into()), ..facts() };
    let folder = Folder::begin(&dir.path().join("out"), "test", &text, named).unwrap();
    run(&folder, &program(dir.path()), 1, &|| false);
    assert!(!folder.start_dir().exists(), "nothing is trained first");
    let results = Results::of(&folder).unwrap().markdown();
    assert_eq!(results.matches("| healed from | /models/m.gguf \\| 1 |").count(), 2, "{results}");
    let other = Folder::begin(folder.dir(), "test", &text, facts()).unwrap_err().to_string();
    assert!(other.contains("another model"), "{other}");
}

#[test]
fn what_is_claimed_may_change_and_names_values_that_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let begin = |text: &str| Folder::begin(&out, "test", text, facts()).map_err(|error| error.to_string());
    let sentence = begin(&EXPERIMENT.replace("[peak=3.0]", "[peak=4]")).unwrap_err();
    assert!(sentence.contains("no value 4; it has 2.0, 3.0") && !out.exists(), "{sentence}");
    let left_out = EXPERIMENT.replace("[[axis]]", "[quick.keep]\npeak = [2.0]\n[[axis]]");
    let quick = Experiment::parse("test", &left_out, true).unwrap();
    quick.check_values("test").unwrap();
    begin(EXPERIMENT).unwrap();
    let corrected =
        EXPERIMENT.replace("<= 2 for some peak", "<= 2.5 for some peak").replace("Loss | end", "End");
    begin(&corrected).unwrap();
    let folder = Folder::open(&out).unwrap();
    assert!(folder.experiment.claims[2].0.contains("2.5") && folder.experiment.tables[0].title == "End");
    assert!(
        begin(&EXPERIMENT.replace("seeds = [0, 1]", "seeds = [0]"))
            .unwrap_err()
            .contains("another experiment")
    );
}

#[test]
fn a_point_that_fails_says_why_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let text = EXPERIMENT
        .replace("values = [2.0, 3.0]", "values = [13.0, 3.0]")
        .replace("peak=2.0", "peak=13")
        .replace("peak=2]", "peak=13]");
    let folder = Folder::begin(&dir.path().join("out"), "test", &text, facts()).unwrap();
    let states = run(&folder, &program(dir.path()), 1, &|| false);
    assert_eq!(states[0].1, Status::Failed("error: a peak of 13 is unlucky".into()));
    assert!(matches!(states[2].1, Status::Done { .. }));
    let other = Folder::begin(folder.dir(), "test", EXPERIMENT, facts()).unwrap_err().to_string();
    assert!(other.contains("another experiment"), "{other}");
    let other = Facts { quick: true, ..facts() };
    assert!(Folder::begin(folder.dir(), "test", &text, other).unwrap_err().to_string().contains("size"));
    let script = lab::slurm::script(&folder, Path::new("/bin/tri lobit"), Path::new("e.toml"), 99);
    assert!(
        script.contains("--array=0-3")
            && script.contains("--signal=B:USR1@120\n")
            && script.contains("'/bin/tri lobit' lab run 'e.toml'"),
        "{script}"
    );
    let last = script.lines().last().unwrap().trim();
    assert_eq!(last, "--share \"$SLURM_ARRAY_TASK_ID/4\"", "the folder knows the data");
}

#[test]
fn a_run_is_finished_once_its_last_checkpoint_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let program = program(dir.path());
    let folder = Folder::begin(&dir.path().join("out"), "test", EXPERIMENT, facts()).unwrap();
    run(&folder, &program, 2, &|| false);
    assert_eq!(calls(dir.path()), 4);
    let checkpoints = |point: usize| folder.run_dir(&folder.points[point]).join("checkpoints");
    // Killed before the last checkpoint, and a disk that has lost some of it.
    std::fs::rename(checkpoints(0).join("step-00000010"), checkpoints(0).join("step-00000005")).unwrap();
    std::fs::write(checkpoints(1).join("step-00000010/manifest.json"), "{").unwrap();
    let states = run(&folder, &program, 2, &|| false);
    assert!(states.iter().all(|(_, status)| matches!(status, Status::Done { .. })), "{states:?}");
    assert_eq!(calls(dir.path()), 6, "both go on");
    for point in [0, 1] {
        let names = std::fs::read_dir(checkpoints(point)).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["step-00000010"]);
    }
}

#[test]
fn a_child_that_stops_is_told_from_one_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let text = EXPERIMENT.replace("values = [2.0, 3.0]", "values = [2.0, 3.0, 11.0, 12.0]");
    let folder = Folder::begin(&dir.path().join("out"), "test", &text, facts()).unwrap();
    let states = run(&folder, &program(dir.path()), 1, &|| false);
    let of = |label: &str| &states.iter().find(|(point, _)| point.label == label).unwrap().1;
    assert_eq!(*of("peak-11.0_seed-0"), Status::Stopped);
    assert_eq!(*of("peak-12.0_seed-0"), Status::Failed("error: the disk is full".into()));
}

/// The experiment with these values of its axis.
fn with_peaks(values: &str) -> String {
    EXPERIMENT.replace("values = [2.0, 3.0]", &format!("values = [{values}, 2.0, 3.0]"))
}

#[test]
fn a_child_is_asked_to_stop_by_this_process_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::begin(&dir.path().join("out"), "test", &with_peaks("14.0"), facts()).unwrap();
    let beside = |ending| folder.run_dir(&folder.points[0]).with_extension(ending);
    let group = || std::fs::read_to_string(beside("group")).ok()?.trim().parse::<i32>().ok();
    let states = run(&folder, &program(dir.path()), 1, &|| group().is_some());
    assert_eq!(states[0].1, Status::Stopped, "the exit code of a second signal is no failure then");
    assert!(beside("asked").exists());
    let own = rustix::process::getpgrp().as_raw_nonzero().get();
    assert_ne!(group(), Some(own), "Ctrl-C in a terminal does not reach it");
}

#[test]
fn a_measure_ends_where_this_process_is_asked_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::begin(&dir.path().join("out"), "test", &with_peaks("15.0"), facts()).unwrap();
    let measured = folder.run_dir(&folder.points[0]).with_extension("measured");
    let begun = std::time::Instant::now();
    let states = run(&folder, &program(dir.path()), 1, &|| measured.exists());
    assert_eq!(states[0].1, Status::Stopped);
    assert!(begun.elapsed().as_secs() < 14, "nobody waited for it");
}

#[test]
fn an_error_at_one_point_stops_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let text = with_peaks("14.0, 16.0").replace("seeds = [0, 1]", "seeds = [0]");
    let folder = Folder::begin(&dir.path().join("out"), "test", &text, facts()).unwrap();
    let mut options = Options {
        program: program(dir.path()),
        jobs: 2,
        cores: 2,
        share: (0, 1),
        interrupted: &|| false,
        watch: &mut |_| {},
    };
    let error = runner::run(&folder, &mut options).unwrap_err().to_string();
    assert!(error.contains("line 1 is damaged"), "{error}");
    assert!(folder.run_dir(&folder.points[0]).with_extension("asked").exists(), "none is left behind");
}

#[test]
fn a_finished_run_is_taken_for_what_it_was_begun_with() {
    let dir = tempfile::tempdir().unwrap();
    let program = program(dir.path());
    let folder = Folder::begin(&dir.path().join("out"), "test", EXPERIMENT, facts()).unwrap();
    run(&folder, &program, 2, &|| false);
    std::fs::rename(folder.dir(), dir.path().join("moved")).unwrap();
    let folder = Folder::open(&dir.path().join("moved")).unwrap();
    let states = run(&folder, &program, 2, &|| false);
    assert!(states.iter().all(|(_, status)| matches!(status, Status::Done { .. })), "{states:?}");
    assert_eq!(calls(dir.path()), 4, "a folder may be moved");
    let begun = |point: usize| folder.point_dir(&folder.points[point]).join("point.json");
    std::fs::copy(begun(2), begun(0)).unwrap();
    let mut options =
        Options { program, jobs: 1, cores: 1, share: (0, 1), interrupted: &|| false, watch: &mut |_| {} };
    let error = runner::run(&folder, &mut options).unwrap_err().to_string();
    assert!(error.contains("peak-2.0_seed-0") && error.contains("other settings"), "{error}");
}

#[test]
fn a_share_waits_for_the_model_that_another_one_trains() {
    let dir = tempfile::tempdir().unwrap();
    let text = EXPERIMENT.replace("seeds = [0, 1]", "command = \"heal\"\n[start]\npreset = \"tiny\"");
    let folder = Folder::begin(&dir.path().join("out"), "test", &text, facts()).unwrap();
    let start = folder.start_dir().parent().unwrap().to_owned();
    std::fs::create_dir_all(&start).unwrap();
    let held = RefCell::new(Some(journal::Lock::acquire(&start).unwrap()));
    let looks = Cell::new(0);
    let release = || {
        looks.set(looks.get() + 1);
        if looks.get() == 2 {
            held.take();
        }
        false
    };
    let states = run(&folder, &program(dir.path()), 1, &release);
    assert!(states.iter().all(|(_, status)| matches!(status, Status::Done { .. })), "{states:?}");
    assert_eq!(calls(dir.path()), 3, "the model, and two runs that heal it");
}

#[test]
fn shares_divide_the_points() {
    let dir = tempfile::tempdir().unwrap();
    let program = program(dir.path());
    let folder = Folder::begin(&dir.path().join("out"), "test", EXPERIMENT, facts()).unwrap();
    for own in 0..3 {
        let mut options = Options {
            program: program.clone(),
            jobs: 1,
            cores: 1,
            share: (own, 3),
            interrupted: &|| false,
            watch: &mut |_| {},
        };
        let states = runner::run(&folder, &mut options).unwrap();
        assert_eq!(states.len(), if own == 0 { 2 } else { 1 });
    }
    assert!(Results::of(&folder).unwrap().is_complete());
}

#[test]
fn experiments_that_contradict_themselves_are_refused_with_the_place() {
    let parse = |text: &str| Experiment::parse("e.toml", text, false).map(drop);
    let long = format!("values = [\"{}\"]", "x".repeat(300));
    for (from, to, part) in [
        ("title = \"A test\"", "titel = 1", "titel"),
        ("end.raw_loss < stage1_end.raw_loss for every peak", "end.raw_loss < 3", "leaves 'peak' open"),
        (
            "for every peak\",\n  \"end.raw_loss[peak=3.0]",
            "for every pick\",\n  \"end.raw_loss[peak=3.0]",
            "no axis 'pick'",
        ),
        ("end.raw_loss <= 2", "ende.raw_loss <= 2", "no moment 'ende'"),
        ("end.raw_loss <= 2", "end.rawloss <= 2", "'rawloss' is not measured"),
        ("end.raw_loss <= 2", "raw_loss <= 2", "end.raw_loss"),
        ("end.raw_loss <= 2", "end.raw_loss <=", "the end"),
        ("values = [2.0, 3.0]", "values = [2.0, 2.0]", "same label"),
        (
            "values = [2.0, 3.0]",
            "values = [\"a b\", \"a-b\"]",
            "peak=a b, seed=0 and peak=a-b, seed=0 would share",
        ),
        ("values = [2.0, 3.0]", &long, "255"),
        ("seeds = [0, 1]", "seeds = [7, 7]", "the seed 7 is there twice"),
        ("[[measure]]\nname = \"perplexity\"", "[[measure]]\nname = \"minutes\"", "called 'minutes'"),
        (
            "[[table]]",
            "[[measure]]\nname = \"perplexity\"\nrun = []\ntake = \"x\"\n[[table]]",
            "two measures are called 'perplexity'",
        ),
        ("values = [2.0, 3.0]", "values = []", "values"),
        ("key = \"schedule.peak\"\n", "", "need a 'key'"),
        ("values = [2.0, 3.0]", "values = [{ is = 1, data = \"none\" }]", "no data set 'none'"),
        ("seeds = [0, 1]", "command = \"heal\"", "[start]"),
        ("seeds = [0, 1]", "seeds = []", "0 points"),
        ("measure = \"loss\"", "measure = \"gloss\"", "cannot be plotted"),
        ("[base]", "[moments]\nlate = \"101%\"\n[base]", "'101%' is no moment"),
        ("[base]", "[quick.keep]\nx = [1]\n[base]", "no axis 'x'"),
    ] {
        let text = EXPERIMENT.replacen(from, to, 1);
        assert_ne!(text, EXPERIMENT, "{from}");
        let error = match part {
            "no axis 'x'" => Experiment::parse("e.toml", &text, true).unwrap_err().to_string(),
            _ => parse(&text).unwrap_err().to_string(),
        };
        assert!(error.contains(part) && error.contains("e.toml"), "{part}: {error}");
    }
}

proptest! {
    #[test]
    fn any_damage_to_an_experiment_is_a_sentence(from in 0..EXPERIMENT.len(), length in 0..40usize, put in "\\PC{0,12}", quick: bool) {
        let whole = EXPERIMENT.replace("[2.0, 3.0]", "[2.0, { is = 3, set = { a = { b = 1 } } }]");
        let range = whole.floor_char_boundary(from)..whole.floor_char_boundary((from + length).min(whole.len()));
        let mut damaged = whole.clone();
        damaged.replace_range(range, &put);
        match Experiment::parse("e.toml", &damaged, quick) {
            Ok(read) => prop_assert!(lab::points::points(&read).len() <= 1000),
            Err(error) => prop_assert!(error.to_string().contains("e.toml")),
        }
    }
}

#[test]
fn axes_may_be_drawn_listed_and_cut() {
    let text = EXPERIMENT
        .replace(
            "values = [2.0, 3.0]",
            "random = { from = 1e-4, to = 1e-2, log = true, count = 5, seed = 3 }",
        )
        .replace("end.raw_loss[peak=3.0] < end.raw_loss[peak=2.0]", "1 < 2")
        .replace("[peak=2]", "[peak=1]");
    let first = Experiment::parse("e", &text, false).unwrap();
    assert_eq!(first, Experiment::parse("e", &text, false).unwrap(), "drawn the same again");
    let values: Vec<f64> = first.axes[0].values.iter().map(|value| value.label.parse().unwrap()).collect();
    assert!(values.len() == 5 && values.iter().all(|value| (1e-4..=1e-2).contains(value)), "{values:?}");
    let list = EXPERIMENT
        .replace("[base]", "[[axis]]\nname = \"two\"\nkey = \"a.b\"\nvalues = [\"x\", \"y\"]\n[base]");
    let list = list
        .replace("claim = [", "combine = \"list\"\nclaim = [")
        .replace("for every peak", "for every peak, two");
    let list = list.replace("for some peak", "for some peak, two").replace("[peak=3.0]", "[peak=3.0, two=y]");
    let list = list.replace("[peak=2.0]", "[peak=2.0, two=x]").replace("[peak=2]", "[peak=2, two=x]");
    let points = lab::points::points(&Experiment::parse("e", &list, false).unwrap());
    let labels: Vec<&str> = points.iter().map(|point| point.label.as_str()).collect();
    assert_eq!(
        labels,
        ["two-x_peak-2.0_seed-0", "two-x_peak-2.0_seed-1", "two-y_peak-3.0_seed-0", "two-y_peak-3.0_seed-1"]
    );
    assert!(points[0].settings.set.contains(&("a.b".into(), "\"x\"".into())));
}
