//! What a run writes into its folder besides checkpoints; only rank 0 of a job has it.

use crate::TrainError;
use crate::config::RunConfig;
use crate::heal::Speech;
use journal::events::Event;
use journal::metrics::Step;
use journal::{Lock, Run, events, metrics};

/// The run folder, held by this process alone.
pub(crate) struct Records {
    pub(crate) run: Run,
    pub(crate) config_text: String,
    pub(crate) tokenizer: Vec<u8>,
    pub(crate) speech: Speech,
    /// the model that the run begins with, as it was named; empty where it begins with none
    pub(crate) base: String,
    metrics: metrics::Writer,
    events: events::Writer,
    _lock: Lock,
}

impl Records {
    /// Begins the files of a new run. The configuration comes first: with it alone a run that was killed here can be resumed,
    /// and without it the folder can be begun in again.
    pub(crate) fn begin(
        run: Run,
        lock: Lock,
        config: &RunConfig,
        voice: (Vec<u8>, Speech),
    ) -> Result<Self, TrainError> {
        formats::atomic::write_bytes(&run.config(), config.to_toml()?.as_bytes())?;
        formats::atomic::write_bytes(&run.tokenizer(), &voice.0)?;
        Self::open(run, lock, config, voice, 0)
    }

    /// Opens the files of a run that has begun and says so with this tokenizer; `steps` lines of the metrics stay.
    pub(crate) fn open(
        run: Run,
        lock: Lock,
        config: &RunConfig,
        (tokenizer, speech): (Vec<u8>, Speech),
        steps: u64,
    ) -> Result<Self, TrainError> {
        Ok(Self {
            metrics: metrics::Writer::open_at(&run.metrics(), steps)?,
            events: events::Writer::open_at(&run.events(), steps)?,
            config_text: config.to_toml()?,
            base: config.origin().map(|path| path.display().to_string()).unwrap_or_default(),
            tokenizer,
            speech,
            run,
            _lock: lock,
        })
    }

    /// Adds a line to the metrics.
    pub(crate) fn step(&mut self, line: &Step) -> Result<(), TrainError> {
        Ok(self.metrics.append(line)?)
    }

    /// Adds a line to the events.
    pub(crate) fn event(&mut self, event: &Event) -> Result<(), TrainError> {
        Ok(self.events.append(event)?)
    }

    /// Brings the metrics to disk.
    pub(crate) fn sync(&mut self) -> Result<(), TrainError> {
        Ok(self.metrics.sync()?)
    }
}

/// Memory of this process that is in RAM, bytes; `None` where the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(kilobytes.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}
