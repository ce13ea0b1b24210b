//! Token ids in, token ids out: KV cache, sampling and decoding.
#![forbid(unsafe_code)]
