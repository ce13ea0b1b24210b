//! The network as data: config, presets, tensor names, the b1.58 definition, weights, slow reference forward.
#![forbid(unsafe_code)]
