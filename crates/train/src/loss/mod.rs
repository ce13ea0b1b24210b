//! What is minimised, one file a loss.

pub mod cross_entropy;
