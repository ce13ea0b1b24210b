//! The project's chores as a library, so that `cargo test` runs the same tidy checks as `cargo xtask tidy`.
#![forbid(unsafe_code)]

pub mod bench;
pub mod ci;
pub mod golden;
pub mod rust;
pub mod tidy;
pub mod tree;
