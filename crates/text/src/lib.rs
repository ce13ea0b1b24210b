//! Text to token ids and back: tokenizers, byte-level BPE training, stream decoding.
#![forbid(unsafe_code)]
