//! What a run folder contains: layout, metrics.jsonl, events.jsonl, run.json, and the lock of its one writer.
#![forbid(unsafe_code)]

pub mod collapse;
pub mod events;
pub mod layout;
mod lines;
pub mod lock;
pub mod metrics;
pub mod samples;
pub mod trend;

pub use layout::Run;
pub use lock::Lock;
