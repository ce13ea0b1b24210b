//! One checkpoint around one hub type: native safetensors folders with a manifest.
//!
//! [`open`] reads a model of any dialect through [`model::Source`]; [`import`], [`hf::export`] write one tensor at a time.
//! Of the native one, [`native::save`] writes a checkpoint, [`locate`] finds and verifies what the user calls MODEL, [`native::Opened`] reads it,
//! [`retention::prune`] removes old ones.
#![forbid(unsafe_code)]

pub mod adapt;
pub mod arena;
pub mod compare;
mod convert;
pub mod gguf;
pub mod hf;
pub mod inspect;
pub mod llama2c;
mod loaded;
mod locate;
pub mod merged;
pub mod native;
mod progress;
pub mod retention;
mod special;
pub mod table;
mod tensors_out;
pub mod ternary;

pub use convert::{Report, import};
pub use loaded::{Dialect, Loaded, OpenOptions, TokenizerFrom, open, open_with};
pub use locate::{Located, candidates, locate};
pub use progress::{Phase, Progress, Written};
pub use special::SpecialTokens;
