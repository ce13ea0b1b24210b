//! One checkpoint around one hub type: native safetensors folders with a manifest.
//!
//! [`native::save`] writes one, [`locate`] finds and verifies what the user calls MODEL, [`native::Opened`] reads it,
//! [`retention::prune`] removes old ones.
#![forbid(unsafe_code)]

pub mod arena;
pub mod hf;
pub mod inspect;
mod loaded;
mod locate;
pub mod native;
pub mod retention;
pub mod table;

pub use loaded::{Dialect, Loaded, TokenizerFrom, open};
pub use locate::{Located, candidates, locate};
