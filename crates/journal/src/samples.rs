//! `samples.jsonl`: what the checkpoints of a run said to the same prompts, one JSON object a line.

use crate::lines::{self, Appender};
use formats::{FileError, Kind};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One answer, greedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Steps done by the checkpoint that answered.
    pub step: u64,
    /// What it was given.
    pub prompt: String,
    /// How it went on.
    pub text: String,
}

/// Appends `samples` to the file at `path`, creating it when absent.
pub fn append(path: &Path, samples: &[Sample]) -> Result<(), FileError> {
    lines::retain(path, |_: &Sample| true)?;
    let mut file = Appender::open(path)?;
    samples.iter().try_for_each(|sample| file.append(sample))
}

/// All samples of `path`; none where it is absent. A torn end is passed over.
pub fn read(path: &Path) -> Result<Vec<Sample>, FileError> {
    let mut samples = Vec::new();
    let visited = lines::for_each(path, |sample, _| {
        samples.push(sample);
        Ok(())
    });
    match visited {
        Err(error) if error.kind != Kind::Missing => Err(error),
        _ => Ok(samples),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_added_to_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.jsonl");
        assert_eq!(read(&path).unwrap(), []);
        let sample = |step| Sample { step, prompt: "Once".into(), text: "\n</script>\u{0}".into() };
        append(&path, &[sample(0), sample(1)]).unwrap();
        append(&path, &[sample(2)]).unwrap();
        assert_eq!(read(&path).unwrap(), [sample(0), sample(1), sample(2)]);
    }
}
