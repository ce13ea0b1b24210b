//! Text to token ids and back: tokenizers, byte-level BPE training, stream decoding.
//!
//! [`Tokenizer`] loads any Hugging Face `tokenizer.json`; [`StreamDecoder`] turns ids into text as they come;
//! [`bpe::train`] makes a new `tokenizer.json` from documents; [`chat`] turns a conversation into text.
#![forbid(unsafe_code)]

pub mod bpe;
pub mod chat;
mod chunk;
mod error;
pub mod limits;
mod quiet;
mod spelling;
mod stream;
mod tokenizer;

pub use error::TextError;
pub use spelling::Spelling;
pub use stream::StreamDecoder;
pub use tokenizer::Tokenizer;
