//! A writer killed at any moment leaves the complete folder or none. The writer is this test program, run as a child.

use formats::{FileError, atomic, folder, manifest};
use serde_json::Map;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PARENT: &str = "FORMATS_TEST_KILL_PARENT";
const FILES: usize = 4;

/// Commits folders `0`, `1`, … until it is killed. Without the variable it is a test that does nothing.
#[test]
fn child() {
    let Some(parent) = std::env::var_os(PARENT) else {
        return;
    };
    for number in 0.. {
        let path = Path::new(&parent).join(number.to_string());
        if path.exists() {
            continue;
        }
        let fill = |dir: &Path| -> Result<(), FileError> {
            let mut files = 0..FILES;
            files.try_for_each(|i| atomic::write_bytes(&dir.join(i.to_string()), &[7; 100_000]))
        };
        folder::commit(&path, &Map::new(), fill).unwrap();
    }
}

#[test]
fn a_killed_writer_leaves_complete_folders_only() {
    let parent = tempfile::tempdir().unwrap();
    for round in 0..12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(PARENT, parent.path())
            .spawn()
            .unwrap();
        let before = visible(parent.path()).len();
        while visible(parent.path()).len() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(round * 13 % 50));
        child.kill().unwrap();
        child.wait().unwrap();
        for path in visible(parent.path()) {
            assert_eq!(manifest::verify(&path).unwrap().files.len(), FILES);
        }
    }
    folder::sweep(parent.path());
    let left = std::fs::read_dir(parent.path()).unwrap().count();
    assert_eq!(left, visible(parent.path()).len(), "leftovers are swept");
}

fn visible(parent: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).unwrap().map(|e| e.unwrap());
    let visible = entries.filter(|e| !e.file_name().to_string_lossy().starts_with('.'));
    visible.map(|e| e.path()).collect()
}
