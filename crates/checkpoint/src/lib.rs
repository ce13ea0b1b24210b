//! One checkpoint around one hub type: native safetensors folders with a manifest.
#![forbid(unsafe_code)]
