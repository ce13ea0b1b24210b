//! What a tokenizer or its training may ask for, checked before it sizes an allocation.

/// Largest `tokenizer.json`, bytes. Llama-3's has 9 MB, the largest published ones stay below 40 MB.
pub const TOKENIZER_BYTES_MAX: u64 = formats::limits::TOKENIZER_BYTES_MAX;
/// Largest token id plus one. The largest published vocabularies have about 260,000 entries.
pub const VOCABULARY_MAX: usize = 1 << 20;
/// Most bytes of text a tokenizer is trained on: the trainer counts pairs in 31 bits.
pub const TRAINING_BYTES_MAX: u64 = (1 << 31) - 1;
