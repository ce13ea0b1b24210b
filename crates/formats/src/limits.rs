//! What a file may ask for, checked before it sizes an allocation.

/// Longest safetensors header, bytes (the reference implementation's limit).
pub const SAFETENSORS_HEADER_BYTES_MAX: usize = 100_000_000;
/// Most tensors in one file. The largest published mixture-of-experts models stay below.
pub const TENSORS_MAX: usize = 200_000;
/// Most dimensions of a tensor.
pub const RANK_MAX: usize = 8;
/// Longest tensor name, bytes.
pub const TENSOR_NAME_BYTES_MAX: usize = 1024;
/// Most entries in a safetensors `__metadata__` table.
pub const METADATA_ENTRIES_MAX: usize = 10_000;
/// Largest `manifest.json`, bytes.
pub const MANIFEST_BYTES_MAX: u64 = 16 << 20;
/// Most files a manifest may list.
pub const MANIFEST_FILES_MAX: usize = 100_000;
/// Largest configuration, state or facts file, bytes.
pub const CONFIG_BYTES_MAX: u64 = 16 << 20;
/// Largest `tokenizer.json`, bytes: twice the largest published ones.
pub const TOKENIZER_BYTES_MAX: u64 = 64 << 20;
/// Longest line of a `.jsonl` run record, bytes.
pub const RECORD_LINE_BYTES_MAX: u64 = 1 << 20;
/// Longest GGUF header (metadata and tensor table), bytes. Vocabularies make a few megabytes.
pub const GGUF_HEADER_BYTES_MAX: usize = 1 << 30;
/// Longest key of GGUF metadata, bytes (the format's own limit).
pub const GGUF_KEY_BYTES_MAX: usize = 65_535;
/// Longest token of a SentencePiece vocabulary in a GGUF file, bytes: every cut of it into two is looked up. The longest
/// that its trainer makes by itself have 16 characters.
pub const SENTENCE_PIECE_BYTES_MAX: usize = 1024;
/// Deepest nesting of arrays in GGUF metadata; nobody has been seen to nest any.
pub const GGUF_ARRAY_DEPTH_MAX: usize = 4;
/// Largest alignment of GGUF tensors, bytes; 32 is usual.
pub const GGUF_ALIGNMENT_MAX: u32 = 1 << 20;
/// Largest dimension, layer count or head count a llama2.c header may claim.
pub const LLAMA2C_NUMBER_MAX: i32 = 1 << 24;
