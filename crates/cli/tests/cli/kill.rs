//! `kill -9` and SIGTERM at random moments: of training, until the run is done with the same weights and metrics as the run
//! that nobody disturbed; of an export, whose file is then the old one or the new one.

use crate::{tiny, trilobit};
use serde_json::Value;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const STEPS: u64 = 60;
const KILLS: u32 = 20;
/// A bound on the whole test, should training hang.
const PATIENCE: Duration = Duration::from_secs(300);

fn begin(data: &str, run: &str, more: &[&str]) -> Child {
    let mut args = tiny(STEPS);
    args.extend(more.iter().map(|word| (*word).to_owned()));
    args.extend(["--data", data, "--out", run].map(str::to_owned));
    trilobit(&args.iter().map(String::as_str).collect::<Vec<_>>()).spawn().unwrap()
}

/// Every line without what depends on the clock.
fn metrics(run: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(format!("{run}/metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let without = lines.map(|mut line| {
        line.as_object_mut().unwrap().remove("tokens_per_s").unwrap();
        line.as_object_mut().unwrap().remove("memory_bytes");
        line
    });
    without.collect()
}

fn weights(run: &str) -> Vec<u8> {
    std::fs::read(format!("{run}/checkpoints/step-{STEPS:08}/weights.safetensors")).unwrap()
}

/// Waits for `child` at most `time`; then ends it, with SIGTERM or SIGKILL. True if it had ended well by itself.
fn disturb(mut child: Child, time: Duration, kindly: bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < time {
        if let Some(status) = child.try_wait().unwrap() {
            let mut sentence = String::new();
            std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut sentence).unwrap();
            assert!(status.success(), "{sentence}");
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let signal = if kindly { "-TERM" } else { "-KILL" };
    Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    let status = child.wait().unwrap();
    // None: the signal came before the program listened.
    assert!(!kindly || matches!(status.code(), Some(0) | None), "SIGTERM ended it with {status}");
    false
}

#[test]
fn a_run_killed_at_twenty_random_moments_ends_like_the_undisturbed_one() {
    let dir = tempfile::tempdir().unwrap();
    testkit::dataset(dir.path(), 500, 300);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (shards, whole, parts) = (path("data"), path("whole"), path("parts"));
    let begun = Instant::now();
    assert!(begin(&shards, &whole, &[]).wait().unwrap().success());
    let alone = begun.elapsed();

    let mut random = 0x9e37_79b9_u32;
    let mut kills = 0;
    loop {
        assert!(begun.elapsed() < PATIENCE, "{kills} kills and no end");
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let child = begin(&shards, &parts, &["--resume"]);
        // Anywhere from before the first byte is written to a third of the run.
        let time = alone.mul_f64(f64::from(random >> 16) / 65536.0 / 3.0);
        let time = if kills >= KILLS { PATIENCE } else { time };
        if disturb(child, time, kills % 4 == 3) && kills >= KILLS {
            break;
        }
        kills += 1;
    }
    assert_eq!(metrics(&parts), metrics(&whole));
    assert!(weights(&parts) == weights(&whole), "the weights differ");
}

#[test]
fn an_export_killed_at_any_moment_leaves_the_old_file_or_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let export = |out: &str| trilobit(&["export", "gguf", "random:tiny", "--type", "tq2_0", "--out", out]);
    let begun = Instant::now();
    assert!(export(&path("whole.gguf")).output().unwrap().status.success());
    let time = begun.elapsed();
    let whole = std::fs::read(path("whole.gguf")).unwrap();
    let mut killed = 0;
    for kill in 0..KILLS {
        std::fs::write(path("out.gguf"), b"old").unwrap();
        let finished = disturb(export(&path("out.gguf")).spawn().unwrap(), time * kill / KILLS, false);
        let found = std::fs::read(path("out.gguf")).unwrap();
        assert!(found == whole || (!finished && found == b"old"), "kill {kill} left {} bytes", found.len());
        killed += u32::from(!finished);
    }
    assert!(killed > 0, "no export was killed");
}
