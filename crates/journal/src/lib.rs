//! What a run folder contains: layout, metrics.jsonl, events.jsonl.
#![forbid(unsafe_code)]
