//! Token ids in, token ids out: prepared weights, KV cache, sampling and generation.
//!
//! [`Engine`] is a network ready to run, [`Session`] one sequence of tokens in it; both see token ids only.
//! [`Model`] adds the tokenizer of a checkpoint, [`generate()`] the way from ids back to text.
#![forbid(unsafe_code)]

mod attention;
mod cache;
mod engine;
mod error;
mod generate;
mod linear;
mod load;
mod sample;
mod session;
mod stop;

pub use engine::{Engine, EngineOptions};
pub use error::InferError;
pub use generate::{Finish, Generated, Options, generate};
pub use load::Model;
pub use sample::{Sampler, Sampling};
pub use session::Session;
