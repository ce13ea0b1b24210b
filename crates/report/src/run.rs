//! What is known of a run: everything in its folder but the tensors.

use crate::weights::Histograms;
use formats::{FileError, bounded, limits};
use journal::collapse::Marks;
use journal::events::{self, Event, Kind};
use journal::metrics::{self, Step};
use journal::samples::{self, Sample};
use journal::{Run, layout};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;
use toml::Table;

/// Largest `metrics.jsonl` that is read, bytes: some ten million steps.
const METRICS_BYTES_MAX: u64 = 4 << 30;
/// Most samples that a page shows of a run, the newest.
const SAMPLES_MAX: usize = 500;

/// One finding of the doctor, as it prints it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub struct Finding {
    /// T101 …
    pub code: String,
    /// of the rule
    pub name: String,
    /// how bad it is
    pub severity: String,
    /// what was seen; a sentence, or figures by name
    pub evidence: Value,
    /// what it means
    pub meaning: String,
    /// what to do
    pub remedy: String,
}

/// A stage of the schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// `warmup`, `stage-1` …
    pub name: String,
    /// its first step
    pub from: u64,
}

/// One run.
#[derive(Default)]
pub struct RunData {
    /// the folder's name, or what tells it from the other runs of the page
    pub name: String,
    /// the configuration; empty where the file is damaged
    pub config: Table,
    /// the same as it is written
    pub config_text: String,
    /// `run.json`; empty where there is none
    pub facts: Map<String, Value>,
    /// lines of the metrics
    pub steps: Vec<Step>,
    /// what happened
    pub events: Vec<Event>,
    /// what checkpoints said
    pub samples: Vec<Sample>,
    /// what the doctor found; `None` where nobody asked it
    pub findings: Option<Vec<Finding>>,
    /// weights of the newest checkpoint; `None` where they were not looked at, or there is none
    pub histograms: Option<Histograms>,
    /// what could not be read, or is left out, a sentence each
    pub notes: Vec<String>,
}

impl RunData {
    /// Reads the run folder `dir`. Only the metrics, and that it is a run folder, are needed; what else cannot be read is left
    /// out with a note.
    ///
    /// # Errors
    /// `dir` is no run folder, or its metrics are damaged or too long.
    pub fn read(dir: &Path) -> Result<Self, FileError> {
        let run = Run::open(dir)?;
        let mut data = Self { name: name_of(dir), ..Self::default() };
        data.steps = read_metrics(&run.metrics())?;
        let text = data.or_note(bounded::read_text(&run.config(), limits::CONFIG_BYTES_MAX));
        data.config_text = text.unwrap_or_default();
        let config = data.config_text.parse::<Table>().map_err(|error| {
            FileError::damaged(
                &run.config(),
                format!("it is no TOML: {}", error.message()),
                "correct it there",
            )
        });
        data.config = data.or_note(config).unwrap_or_default();
        if run.dir().join(layout::FACTS).exists() {
            data.facts = data.or_note(run.facts()).unwrap_or_default();
        }
        if run.events().exists() {
            data.events = data.or_note(events::read(&run.events())).unwrap_or_default();
        }
        if run.samples().exists() {
            data.samples = data.or_note(samples::read(&run.samples())).unwrap_or_default();
            let all = data.samples.len();
            if all > SAMPLES_MAX {
                data.samples.drain(..all - SAMPLES_MAX);
                data.notes.push(format!("the newest {SAMPLES_MAX} of {all} samples are shown"));
            }
        }
        if run.findings().exists() {
            data.findings = data.or_note(read_findings(&run.findings()));
        }
        Ok(data)
    }

    /// Adds the histograms of the newest sound checkpoint, where there is one.
    pub fn with_weights(mut self, dir: &Path) -> Self {
        self.histograms = match Histograms::of_run(dir) {
            Err(error) if error.kind == formats::Kind::Missing => None,
            found => self.or_note(found),
        };
        self
    }

    fn or_note<T>(&mut self, read: Result<T, FileError>) -> Option<T> {
        read.map_err(|error| self.notes.push(error.to_string())).ok()
    }

    /// ln V and the unigram entropy, where both are known.
    pub fn marks(&self) -> Option<Marks> {
        let fact = |name: &str| self.facts.get(name)?.as_f64().filter(|value| value.is_finite());
        Some(Marks { ln_vocabulary: fact("ln_vocabulary")?, unigram_entropy: fact("unigram_entropy")? })
    }

    /// All steps of the schedule.
    pub fn total_steps(&self) -> u64 {
        let asked = self.whole_number("steps");
        asked.unwrap_or_else(|| self.steps.last().map_or(0, |step| step.step.saturating_add(1)))
    }

    /// The step after which the run ends, which may be before all steps of the schedule.
    pub fn last_step(&self) -> u64 {
        let total = self.total_steps();
        self.whole_number("stop_after").map_or(total, |last| last.min(total))
    }

    fn whole_number(&self, key: &str) -> Option<u64> {
        let value = self.config.get("train")?.get(key)?.as_integer()?;
        u64::try_from(value).ok()
    }

    /// Whether the configuration says after how many steps the run ends.
    pub fn knows_its_end(&self) -> bool {
        self.whole_number("steps").is_some()
    }

    /// Whether all steps are done, as far as that is known.
    pub fn is_finished(&self) -> bool {
        self.knows_its_end()
            && self.steps.last().is_some_and(|step| step.step.saturating_add(1) >= self.last_step())
    }

    /// The stages of the schedule that have begun, in order.
    pub fn phases(&self) -> Vec<Phase> {
        let mut phases: Vec<Phase> = Vec::new();
        let first = self.steps.iter().find_map(|step| step.record.phase.clone());
        let begun = self.events.iter().filter(|event| event.kind == Kind::Phase);
        let begun = begun.filter_map(|event| Some((event.message.strip_suffix(" begins")?, event.step)));
        for (name, from) in first.as_deref().map(|name| (name, 0)).into_iter().chain(begun) {
            // A run that was taken up again says twice that a phase begins.
            if !phases.iter().any(|phase| phase.name == name) {
                phases.push(Phase { name: name.to_owned(), from });
            }
        }
        phases.sort_by_key(|phase| phase.from);
        phases
    }

    /// The step from which λ is 1, where it was less before.
    pub fn quantised_from(&self) -> Option<u64> {
        let below = self.steps.iter().rposition(|step| step.lambda < 1.0)?;
        self.steps.get(below + 1).map(|step| step.step)
    }
}

/// A run folder's name: its own, or its parent's where its own says nothing (`lab` and `quickstart` call all of theirs `run`).
fn name_of(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mut names = dir.iter().rev().map(|name| name.to_string_lossy().into_owned());
    let own = names.next().unwrap_or_default();
    match names.next() {
        Some(parent) if own == "run" => parent,
        _ => own,
    }
}

fn read_metrics(path: &Path) -> Result<Vec<Step>, FileError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(facts) if facts.len() > METRICS_BYTES_MAX => {
            let what = format!("it is longer than {METRICS_BYTES_MAX} bytes");
            return Err(FileError::damaged(path, what, "keep a part of its lines"));
        }
        _ => {}
    }
    metrics::read(path)
}

/// Reads `{"findings": […]}`.
pub fn read_findings(path: &Path) -> Result<Vec<Finding>, FileError> {
    #[derive(Deserialize)]
    struct File {
        findings: Vec<Finding>,
    }
    let bytes = bounded::read(path, limits::CONFIG_BYTES_MAX)?;
    let file: File = serde_json::from_slice(&bytes).map_err(|error| {
        let what = format!("it does not hold findings: {error}");
        FileError::damaged(path, what, "write it anew with 'trilobit diagnose RUN --json'")
    })?;
    Ok(file.findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(step: u64, kind: Kind, message: &str) -> Event {
        Event { step, kind, message: message.into() }
    }

    #[test]
    fn phases_begin_once_even_where_a_run_was_taken_up_again() {
        let mut steps = vec![Step::default(); 3];
        steps[0].record.phase = Some("warmup".into());
        let events = vec![
            event(0, Kind::Phase, "untrained: validation loss 7.0"),
            event(8, Kind::Phase, "stage-1 begins"),
            event(50, Kind::Phase, "stage-2 begins"),
            event(40, Kind::Resume, "from there"),
            event(50, Kind::Phase, "stage-2 begins"),
        ];
        let phases = RunData { steps, events, ..RunData::default() }.phases();
        let names: Vec<_> = phases.iter().map(|phase| (phase.name.as_str(), phase.from)).collect();
        assert_eq!(names, [("warmup", 0), ("stage-1", 8), ("stage-2", 50)]);
    }

    #[test]
    fn findings_may_leave_fields_out_and_have_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("findings.json");
        std::fs::write(
            &path,
            r#"{"path": "x", "findings": [{"code": "T101", "evidence": {"a": 1}, "more": []}]}"#,
        )
        .unwrap();
        let findings = read_findings(&path).unwrap();
        assert_eq!((findings[0].code.as_str(), findings[0].remedy.as_str()), ("T101", ""));
        std::fs::write(&path, "[]").unwrap();
        assert!(read_findings(&path).unwrap_err().to_string().contains("diagnose"));
    }

    #[test]
    fn of_very_many_samples_the_newest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(dir.path()).unwrap();
        std::fs::write(run.config(), "").unwrap();
        let mut writer = samples::Writer::open_at(&run.samples(), u64::MAX).unwrap();
        for step in 0..600 {
            writer.append(&Sample { step, prompt: "a".into(), text: "b".into() }).unwrap();
        }
        let data = RunData::read(run.dir()).unwrap();
        assert_eq!((data.samples.len(), data.samples[0].step), (SAMPLES_MAX, 100));
        assert_eq!(data.notes, ["the newest 500 of 600 samples are shown"]);
    }

    #[test]
    fn only_a_run_folder_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(RunData::read(dir.path()).is_err());
        let run = Run::create(&dir.path().join("a/run")).unwrap();
        std::fs::write(run.config(), "not = [toml").unwrap();
        std::fs::write(run.findings(), "{").unwrap();
        let data = RunData::read(run.dir()).unwrap();
        assert_eq!((data.name.as_str(), data.total_steps(), data.notes.len()), ("a", 0, 2));
        assert!(data.notes[0].contains("config.toml: it is no TOML"), "{}", data.notes[0]);
        let begun = RunData { steps: vec![Step::default()], ..RunData::default() };
        assert!(!begun.is_finished(), "nobody knows of how many steps");
        assert!(data.with_weights(run.dir()).histograms.is_none());
    }
}
