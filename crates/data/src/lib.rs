//! Sources to cleaned text to token shards to mixtures to batches with an exact cursor.
//!
//! [`source`] reads documents from files, [`prepare()`] turns them into a folder of token shards, [`Dataset`] opens
//! such a folder, [`Loader`] cuts one or several of them into batches, [`chats`] reads conversations for it, and
//! [`generated`] is a corpus that needs no file.
#![forbid(unsafe_code)]

pub mod chats;
pub mod dataset;
pub mod error;
pub mod generated;
pub mod loader;
pub mod manifest;
pub mod prepare;
mod random;
mod scan;
pub mod shard;
pub mod source;
pub mod stats;
mod writer;

pub use chats::{ChatOptions, Chats};
pub use dataset::Dataset;
pub use error::DataError;
pub use loader::{Batch, Cursor, IGNORE, Loader, LoaderOptions, Source};
pub use manifest::Manifest;
pub use prepare::{Phase, PrepareOptions, Progress, Summary, prepare};
pub use stats::Statistics;

use serde::{Deserialize, Serialize};

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What the model learns from.
    Train,
    /// What it is judged on; no document of it is in `Train`.
    Valid,
}

impl Split {
    /// Both, in the order in which they are written.
    pub const ALL: [Self; 2] = [Self::Train, Self::Valid];

    /// As in file names and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
        }
    }
}
