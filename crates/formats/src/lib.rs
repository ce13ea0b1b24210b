//! Bytes on disk, hostile until proven good: safetensors, memory maps, atomic files.
#![deny(unsafe_code)]
