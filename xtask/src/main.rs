//! The project's chores: `cargo xtask ci|tidy|golden|bench`.
#![forbid(unsafe_code)]

fn main() {}
