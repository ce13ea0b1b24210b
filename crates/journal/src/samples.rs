//! `samples.jsonl`: what the checkpoints of a run say, one JSON object a line.

use crate::lines::{self, Appender};
use formats::FileError;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A prompt, and how a checkpoint went on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Steps done.
    pub step: u64,
    /// What was given.
    pub prompt: String,
    /// What followed.
    pub text: String,
}

/// Appends samples.
#[derive(Debug)]
pub struct Writer(Appender);

impl Writer {
    /// Opens `path` to go on after the step `done`, creating it when absent; what a later checkpoint said is dropped.
    pub fn open_at(path: &Path, done: u64) -> Result<Self, FileError> {
        lines::retain(path, |sample: &Sample| sample.step <= done)?;
        Ok(Self(Appender::open(path)?))
    }

    /// Appends `sample`.
    pub fn append(&mut self, sample: &Sample) -> Result<(), FileError> {
        self.0.append(sample)
    }
}

/// All samples of `path`, oldest first. A torn end is passed over.
pub fn read(path: &Path) -> Result<Vec<Sample>, FileError> {
    let mut samples = Vec::new();
    lines::for_each(path, |sample, _| {
        samples.push(sample);
        Ok(())
    })?;
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_go_round_and_later_ones_are_dropped_on_a_resume() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(crate::layout::SAMPLES);
        let sample = |step| Sample { step, prompt: "a \"b\"".into(), text: "\n".into() };
        let mut writer = Writer::open_at(&path, 0).unwrap();
        [0, 10, 20].iter().for_each(|step| writer.append(&sample(*step)).unwrap());
        drop(writer);
        Writer::open_at(&path, 10).unwrap().append(&sample(15)).unwrap();
        assert_eq!(read(&path).unwrap(), [0, 10, 15].map(sample));
    }
}
