//! Token ids in, token ids out: prepared weights, KV cache, sampling and generation.
//!
//! [`Engine`] is a network ready to run, [`Batch`] many sequences in it, [`Session`] one; all see token ids only.
//! [`Model`] adds the tokenizer of a checkpoint, [`generate()`] the way from ids back to text.
#![forbid(unsafe_code)]

mod agreement;
mod attention;
mod batch;
mod beside;
mod decode;
mod engine;
mod error;
mod failure;
mod generate;
mod layers;
mod linear;
mod load;
mod pages;
mod room;
mod sample;
mod screen;
mod session;
mod stop;
mod table;

pub use agreement::{Agreement, Answers, prompts};
pub use batch::{Batch, Limits, Piece, Scores, SequenceId, Want};
pub use decode::{Constraint, Grammar, Proposals};
pub use engine::{Engine, EngineOptions};
pub use error::InferError;
pub use generate::{Finish, Generated, Options, generate};
pub use load::{Model, tokenizer};
pub use pages::KvType;
pub use sample::{Mirostat, Sampler, Sampling, TokenLogprob, log_sum_exp};
pub use session::Session;
