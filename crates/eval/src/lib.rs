//! Measuring a model: perplexity over a text.
#![forbid(unsafe_code)]

mod perplexity;

pub use perplexity::{EvalError, Perplexity, Windows, perplexity};
