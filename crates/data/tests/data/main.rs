//! Files in, batches out.

mod common;
mod loading;
mod preparing;
mod reading;
