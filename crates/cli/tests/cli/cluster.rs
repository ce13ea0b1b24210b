//! Several ranks under `mpirun`, as a user starts them: the curve, the checkpoints, and what is said when a rank is lost. Skipped,
//! visibly, where there is no Open MPI; where there is, the program is first built with the feature `mpi`.

use crate::{fail, tiny, trilobit};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A bound on what has to end by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program built with MPI, or nothing where there is no Open MPI.
pub fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    let works = |program: &str| Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !works("mpirun") || !works("mpicc") {
        testkit::skip("the tests of several ranks need Open MPI: mpirun and mpicc (Debian: libopenmpi-dev)");
        return None;
    }
    // …/target/release/trilobit; what others built stays where it is, and only the program goes beside it.
    let plain = Path::new(env!("CARGO_BIN_EXE_trilobit"));
    let (folder, target) = (plain.parent().unwrap(), plain.ancestors().nth(2).unwrap());
    let own = target.join("mpi");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--package", "cli", "--features", "mpi", "--target-dir"]);
    cargo.arg(&own).arg("--config").arg(format!("build.build-dir={target:?}"));
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let Output { status, stderr, .. } = cargo.output().unwrap();
    assert!(
        status.success(),
        "{cargo:?} failed (it needs libclang, and what 'cargo fetch' fetches): {}",
        String::from_utf8_lossy(&stderr)
    );
    Some(own.join(folder.file_name().unwrap()).join("trilobit"))
}

/// `mpirun` of `ranks` ranks on this machine, its streams caught.
fn mpirun(ranks: usize, args: &[String]) -> Option<Command> {
    let mut command = Command::new("mpirun");
    // Without "isolated" it looks for ssh, which these ranks do not need.
    command
        .args(["--mca", "plm", "isolated", "--oversubscribe", "--bind-to", "none", "-np"])
        .arg(ranks.to_string());
    Some(prepare(command, program()?, args))
}

pub fn prepare(mut command: Command, program: &Path, args: &[String]) -> Command {
    command.arg(program).args(args);
    command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn train(data: &Path, run: &Path, steps: u64, more: &[&str]) -> Vec<String> {
    let mut args = tiny(steps);
    let paths = ["--data", crate::text(data), "--out", crate::text(run)];
    let paths = [&paths[..], &["--set", "train.threads=1", "--set", "schedule.peak=3e-4"]].concat();
    args.extend(paths.iter().chain(more).map(|word| (*word).to_owned()));
    args
}

/// Waits for the end, which has to come by itself; what was said, and how long it took.
pub fn end(mut child: Child) -> (Output, Duration) {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("no end: {}", said(&child.wait_with_output().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    (child.wait_with_output().unwrap(), begun.elapsed())
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeed(command: &mut Command) {
    let (output, _) = end(command.spawn().unwrap());
    assert!(output.status.success(), "{command:?}: {}", said(&output));
}

pub fn metrics(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn losses(run: &Path) -> Vec<f64> {
    metrics(run).iter().map(|line| line["loss"].as_f64().unwrap()).collect()
}

pub fn wait_for(path: &Path, child: &mut Child) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < PATIENCE && child.try_wait().unwrap().is_none(), "no {}", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The process of a rank of this run, found by what its launcher told it.
pub fn process_of(rank: usize, run: &Path) -> String {
    let marks = [format!("OMPI_COMM_WORLD_RANK={rank}"), crate::text(run).to_owned()];
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let has =
            |bytes: &[u8], mark: &str| bytes.split(|byte| *byte == 0).any(|word| word == mark.as_bytes());
        if has(&read("environ"), &marks[0]) && has(&read("cmdline"), &marks[1]) {
            return entry.file_name().into_string().unwrap();
        }
    }
    panic!("no process of rank {rank}");
}

fn signal(name: &str, process: &str) {
    assert!(Command::new("kill").args([name, process]).status().unwrap().success());
}

#[test]
fn a_program_without_mpi_refuses_to_be_one_of_several_ranks() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let args = ["train", "--preset", "tiny", "--out", crate::text(&run)];
    let output = trilobit(&args).env("OMPI_COMM_WORLD_SIZE", "2").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--features mpi"), "{}", said(&output));
    // Alone under mpirun it is what it is without.
    let output = trilobit(&args).env("OMPI_COMM_WORLD_SIZE", "1").output().unwrap();
    assert!(said(&output).contains("--data"), "{}", said(&output));
}

#[test]
fn two_ranks_train_as_one_and_a_checkpoint_goes_on_at_any_number() {
    let dir = tempfile::tempdir().unwrap();
    let data = testkit::dataset(dir.path(), 500, 300);
    let [alone, two, again, mixed] = ["alone", "two", "again", "mixed"].map(|name| dir.path().join(name));
    // In single precision only the order of sums differs between numbers of ranks; block floating point also rounds other
    // blocks of tokens together, and ternary codes that flip on that part the curves by up to 1.3e-3 here.
    let curve =
        |run: &Path, more: &[&str]| train(&data, run, 50, &[&["--set", "train.backward=f32"], more].concat());
    let Some(mut command) = mpirun(2, &curve(&two, &[])) else { return };
    succeed(&mut command);
    succeed(&mut mpirun(2, &curve(&again, &[])).unwrap());
    let one = |run: &Path, more: &[&str]| {
        let args = curve(run, more);
        succeed(&mut trilobit(&args.iter().map(String::as_str).collect::<Vec<_>>()));
    };
    one(&alone, &[]);
    let expected = losses(&alone);
    let close = |run: &Path| {
        let losses = losses(run);
        assert_eq!(losses.len(), expected.len());
        let worst = losses.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-3, "{}: {worst}", run.display());
    };
    close(&two);
    let weights =
        |run: &Path| std::fs::read(run.join("checkpoints/step-00000050/weights.safetensors")).unwrap();
    assert!(weights(&two) == weights(&again), "two runs of two ranks differ");

    // One rank, then two until a signal, then one.
    one(&mixed, &["--max-time", "0s"]);
    let mut child = mpirun(2, &curve(&mixed, &["--resume"])).unwrap().spawn().unwrap();
    wait_for(&mixed.join("checkpoints/step-00000008"), &mut child);
    signal("-USR1", &child.id().to_string());
    let (output, _) = end(child);
    assert!(output.status.success(), "{}", said(&output));
    one(&mixed, &["--resume"]);
    close(&mixed);
}

/// A run of two ranks that would go on for long, once it has a checkpoint to resume from.
fn long_run(dir: &Path) -> Option<(Child, PathBuf, PathBuf)> {
    let (data, run) = (testkit::dataset(dir, 500, 300), dir.join("run"));
    let mut child = mpirun(2, &train(&data, &run, 1_000_000, &["--rank-timeout", "3s"]))?.spawn().unwrap();
    wait_for(&run.join("checkpoints/step-00000008"), &mut child);
    Some((child, data, run))
}

/// The run can be resumed, by one process.
pub fn resume(data: &Path, run: &Path) {
    let args = train(data, run, 1_000_000, &["--resume", "--max-time", "0s"]);
    let output = trilobit(&args.iter().map(String::as_str).collect::<Vec<_>>()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(metrics(run).len() >= 8);
}

#[test]
fn a_killed_rank_ends_the_job_with_its_name() {
    for rank in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        let Some((child, data, run)) = long_run(dir.path()) else { return };
        signal("-KILL", &process_of(rank, &run));
        let (output, time) = end(child);
        let sentence = said(&output);
        assert!(!output.status.success() && time < Duration::from_secs(20), "{time:?}: {sentence}");
        assert!(sentence.contains(&format!("rank {rank}")), "{sentence}");
        resume(&data, &run);
    }
}

#[test]
fn a_silent_rank_ends_the_job_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let Some((child, data, run)) = long_run(dir.path()) else { return };
    signal("-STOP", &process_of(1, &run));
    let (output, time) = end(child);
    let sentence = said(&output);
    assert!(!output.status.success() && time < Duration::from_secs(20), "{time:?}: {sentence}");
    assert!(sentence.contains("rank 1 (process") && sentence.contains("silent"), "{sentence}");
    assert!(sentence.contains("newest checkpoint is"), "{sentence}");
    resume(&data, &run);
}

/// The checkpoint is large enough that a rank which does not wait for it would end the job meanwhile.
#[test]
fn two_ranks_that_the_guard_stops_leave_a_sound_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (data, run) = (testkit::dataset(dir.path(), 500, 300), dir.path().join("run"));
    let sets = [
        "train.guard=stop",
        "train.spike_ratio=1.0000001",
        "train.spike_window=1",
        "model.vocabulary=60000",
        "schedule.peak=0.3",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    let Some(mut command) = mpirun(2, &train(&data, &run, 60, &sets)) else { return };
    let (output, _) = end(command.spawn().unwrap());
    let sentence = said(&output);
    assert!(!output.status.success() && sentence.contains("refused by the guard"), "{sentence}");
    let done = metrics(&run).len();
    let last = run.join(format!("checkpoints/step-{done:08}"));
    crate::succeed(&["checkpoint", "verify", crate::text(&last)]);
}

#[test]
fn two_ranks_heal_and_one_of_them_says_how_it_went() {
    let dir = tempfile::tempdir().unwrap();
    let (data, dense, run) =
        (testkit::dataset(dir.path(), 500, 300), dir.path().join("dense"), dir.path().join("run"));
    let sets = ["model.linear=dense", "model.sub_norms=false"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    let args = train(&data, &dense, 4, &sets);
    crate::succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let paths = [("--from", &dense), ("--data", &data), ("--out", &run)];
    let sets =
        ["train.steps=4", "train.batch=2", "train.sequence=32", "train.threads=1", "schedule.warmup=0"];
    let paths = paths.iter().flat_map(|(option, path)| [*option, crate::text(path)]);
    let heal = ["heal"].into_iter().chain(paths).chain(sets.iter().flat_map(|set| ["--set", *set]));
    let args: Vec<String> = heal.map(str::to_owned).collect();
    let Some(mut command) = mpirun(2, &args) else { return };
    let (output, _) = end(command.spawn().unwrap());
    assert!(output.status.success(), "{}", said(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(table.matches("recovered: share").count(), 1, "{table}");
}

#[test]
fn a_rank_with_an_error_of_its_own_says_it_and_the_others_follow() {
    let dir = tempfile::tempdir().unwrap();
    let data = testkit::dataset(dir.path(), 500, 300);
    let args = train(&data, &dir.path().join("run"), 4, &["--set", "train.batch=3"]);
    let Some(mut command) = mpirun(2, &args) else { return };
    let (output, _) = end(command.spawn().unwrap());
    let sentence = said(&output);
    assert!(!output.status.success(), "{sentence}");
    assert!(sentence.contains("train.batch = 3") && sentence.contains("2 ranks"), "{sentence}");
}

#[test]
fn a_plan_says_that_it_is_a_prediction() {
    let args = ["plan", "--preset", "2b4t", "--nodes", "64", "--network", "12.5", "--tokens", "4e12"];
    let text = crate::succeed(&args);
    assert!(text.contains("prediction") && text.contains("assumed, not measured"), "{text}");
    let plan = crate::json(&args);
    assert_eq!(plan["tokens"], 4_000_000_000_000u64);
    assert!(plan["efficiency"].as_f64().unwrap() <= 1.0);
    let sentence = fail(&["plan", "--preset", "2b4t", "--nodes", "2", "--network", "-1"]);
    assert!(sentence.contains("--network"), "{sentence}");
}
