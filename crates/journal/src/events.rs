//! `events.jsonl`: what happened to a run, one JSON object a line.

use crate::lines::{self, Appender};
use formats::FileError;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The run began.
    Start,
    /// The run was taken up again from a checkpoint.
    Resume,
    /// A checkpoint was written.
    Checkpoint,
    /// A stage of the schedule began.
    Phase,
    /// A guard saw something wrong: a non-finite loss or gradient, a loss far above its average.
    Guard,
    /// The run was stopped from outside.
    Interrupt,
    /// The run reached its last step.
    Finish,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Steps done when it happened.
    pub step: u64,
    /// What kind.
    pub kind: Kind,
    /// A sentence for people.
    pub message: String,
}

/// Appends events.
#[derive(Debug)]
pub struct Writer(Appender);

impl Writer {
    /// Opens `path` to go on after the step `done`, creating it when absent: what happened later was not kept, and happens
    /// again or otherwise. The torn end of a killed writer is cut.
    pub fn open_at(path: &Path, done: u64) -> Result<Self, FileError> {
        lines::retain(path, |event: &Event| event.step <= done)?;
        Ok(Self(Appender::open(path)?))
    }

    /// Appends `event`: one write call.
    pub fn append(&mut self, event: &Event) -> Result<(), FileError> {
        self.0.append(event)
    }
}

/// All events of `path`, oldest first. A torn end is passed over.
pub fn read(path: &Path) -> Result<Vec<Event>, FileError> {
    let mut events = Vec::new();
    lines::for_each(path, |event, _| {
        events.push(event);
        Ok(())
    })?;
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_a_torn_end_and_later_ones_are_dropped_on_a_resume() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let event = |step, kind, message: &str| Event { step, kind, message: message.into() };
        let (start, guard) =
            (event(0, Kind::Start, "begun"), event(7, Kind::Guard, "loss \"NaN\"\nat step 7"));
        Writer::open_at(&path, 0).unwrap().append(&start).unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"step\":0,\"kind\":\"start\",\"message\":\"begun\"}\n");
        text.push_str("{\"step\":5,\"ki");
        std::fs::write(&path, text).unwrap();
        assert_eq!(read(&path).unwrap(), std::slice::from_ref(&start));
        Writer::open_at(&path, 0).unwrap().append(&guard).unwrap();
        assert_eq!(read(&path).unwrap(), [start.clone(), guard.clone()]);
        // Taken up again at step 7, the step is kept; from an older checkpoint it is made again.
        drop(Writer::open_at(&path, 7).unwrap());
        assert_eq!(read(&path).unwrap(), [start.clone(), guard]);
        drop(Writer::open_at(&path, 6).unwrap());
        assert_eq!(read(&path).unwrap(), [start]);
    }
}
