//! The names of everything in a run folder.

use formats::{FileError, Kind, atomic, bounded, limits};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The resolved configuration, itself a valid input.
pub const CONFIG: &str = "config.toml";
/// Facts about the run: parameters, ln V, unigram entropy, data fingerprint, kernel, threads, start time.
pub const FACTS: &str = "run.json";
/// One line a step.
pub const METRICS: &str = "metrics.jsonl";
/// One line an event.
pub const EVENTS: &str = "events.jsonl";
/// One line a sample of what a checkpoint says.
pub const SAMPLES: &str = "samples.jsonl";
/// What the doctor found, as it prints it.
pub const FINDINGS: &str = "findings.json";
/// The tokenizer the run was trained with.
pub const TOKENIZER: &str = "tokenizer.json";
/// The folder of the checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";

const CHECKPOINT_PREFIX: &str = "step-";

/// Key of [`FACTS`]: the validation loss at a λ of a pretrained model before the first step, nats per token.
pub fn untrained_loss(lambda: f64) -> String {
    format!("untrained_validation_loss_at_lambda_{lambda}")
}

/// A run folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    dir: PathBuf,
}

impl Run {
    /// Creates the folder of a new run, parents included. A folder that holds something already is an error, but for what a run
    /// that was killed before its first file was whole has left.
    pub fn create(dir: &Path) -> Result<Self, FileError> {
        let run = Self { dir: dir.to_owned() };
        let remedy = "choose another --out, or continue that run with --resume";
        if run.config().exists() {
            return Err(FileError::new(dir, Kind::Exists, "it holds a run already", remedy));
        }
        if dir.is_dir() {
            let entries = std::fs::read_dir(dir).map_err(|e| FileError::io(dir, "list", &e))?;
            let mut names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
            if let Some(name) = names.find(|name| !is_of_no_run(name)) {
                let what = format!("it is not empty: it holds '{name}'");
                return Err(FileError::new(dir, Kind::Exists, what, "choose another --out"));
            }
        }
        let checkpoints = run.checkpoints();
        std::fs::create_dir_all(&checkpoints).map_err(|e| FileError::io(&checkpoints, "create", &e))?;
        Ok(run)
    }

    /// A run folder that is there.
    pub fn open(dir: &Path) -> Result<Self, FileError> {
        if Self::is_run(dir) {
            return Ok(Self { dir: dir.to_owned() });
        }
        let what = match std::fs::metadata(dir) {
            Ok(facts) if facts.is_dir() => {
                format!("it is no run folder: it lacks {CONFIG} or {CHECKPOINTS}/")
            }
            Ok(_) => "it is a file, not a run folder".to_owned(),
            Err(error) => return Err(FileError::io(dir, "open the run folder", &error)),
        };
        Err(FileError::new(dir, Kind::Unfit, what, "name the folder that 'train --out' wrote"))
    }

    /// Whether `dir` looks like a run folder.
    pub fn is_run(dir: &Path) -> bool {
        dir.join(CHECKPOINTS).is_dir() && dir.join(CONFIG).is_file()
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Path of [`CONFIG`].
    pub fn config(&self) -> PathBuf {
        self.dir.join(CONFIG)
    }

    /// Path of [`METRICS`].
    pub fn metrics(&self) -> PathBuf {
        self.dir.join(METRICS)
    }

    /// Path of [`EVENTS`].
    pub fn events(&self) -> PathBuf {
        self.dir.join(EVENTS)
    }

    /// Path of [`SAMPLES`].
    pub fn samples(&self) -> PathBuf {
        self.dir.join(SAMPLES)
    }

    /// Path of [`FINDINGS`].
    pub fn findings(&self) -> PathBuf {
        self.dir.join(FINDINGS)
    }

    /// Path of [`TOKENIZER`].
    pub fn tokenizer(&self) -> PathBuf {
        self.dir.join(TOKENIZER)
    }

    /// Path of [`CHECKPOINTS`].
    pub fn checkpoints(&self) -> PathBuf {
        self.dir.join(CHECKPOINTS)
    }

    /// Path of the checkpoint after `step` steps.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints().join(checkpoint_name(step))
    }

    /// Writes [`FACTS`], replacing what was there.
    pub fn write_facts(&self, facts: &Map<String, Value>) -> Result<(), FileError> {
        let mut text = serde_json::to_vec_pretty(facts).expect("plain data becomes JSON");
        text.push(b'\n');
        atomic::write_bytes(&self.dir.join(FACTS), &text)
    }

    /// Reads [`FACTS`].
    pub fn facts(&self) -> Result<Map<String, Value>, FileError> {
        let path = self.dir.join(FACTS);
        let text = bounded::read(&path, limits::CONFIG_BYTES_MAX)?;
        serde_json::from_slice(&text).map_err(|e| {
            FileError::damaged(&path, format!("it is no JSON object: {e}"), "remove it or restore it")
        })
    }
}

/// Whether a folder in which no run has begun may hold `name`: the lock, the folder of checkpoints, or a file that was never
/// finished.
fn is_of_no_run(name: &str) -> bool {
    name == crate::lock::NAME || name == CHECKPOINTS || atomic::is_temporary(name)
}

/// `step-00001000`: sorts by step up to 10⁸ steps; beyond, [`checkpoint_step`] still orders.
pub fn checkpoint_name(step: u64) -> String {
    format!("{CHECKPOINT_PREFIX}{step:08}")
}

/// The step of a checkpoint's folder name; `None` for any other name.
pub fn checkpoint_step(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(CHECKPOINT_PREFIX)?;
    let plain = digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_created_once_and_opened_again() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("runs/a");
        let run = Run::create(&dir).unwrap();
        assert!(Run::open(&dir).unwrap_err().to_string().contains("lacks config.toml"));
        std::fs::write(dir.join(".config.toml.tmp-1-0"), "").unwrap();
        Run::create(&dir).expect("a run that never wrote its config is started again");
        std::fs::write(run.config(), "").unwrap();
        assert_eq!(Run::open(&dir).unwrap(), run);
        let sentence = Run::create(&dir).unwrap_err().to_string();
        assert!(sentence.contains("holds a run already") && sentence.contains("--resume"), "{sentence}");
    }

    #[test]
    fn a_strangers_folder_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "").unwrap();
        assert!(Run::create(dir.path()).unwrap_err().to_string().contains("thesis.tex"));
        assert!(Run::open(&dir.path().join("thesis.tex")).unwrap_err().to_string().contains("is a file"));
        assert_eq!(Run::open(&dir.path().join("none")).unwrap_err().kind, Kind::Missing);
    }

    #[test]
    fn facts_go_round() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(&dir.path().join("a")).unwrap();
        let facts = Map::from_iter([
            ("parameters".to_owned(), 2_412_820_480u64.into()),
            ("ln_v".to_owned(), 9.01.into()),
        ]);
        run.write_facts(&facts).unwrap();
        assert_eq!(run.facts().unwrap(), facts);
        std::fs::write(run.dir().join(FACTS), "{").unwrap();
        assert!(run.facts().unwrap_err().to_string().contains("run.json"));
    }

    #[test]
    fn checkpoint_names_carry_their_step() {
        for step in [0, 1000, 99_999_999, 100_000_000, u64::MAX] {
            assert_eq!(checkpoint_step(&checkpoint_name(step)), Some(step));
        }
        for name in [
            "step-1",
            "step-0000000x",
            "step--0000001",
            "best",
            "step-99999999999999999999999",
            ".step-00000001.tmp-1-0",
        ] {
            assert_eq!(checkpoint_step(name), None, "{name}");
        }
    }
}
