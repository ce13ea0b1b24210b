//! Forward and backward written out op by op; losses, optimisers, schedules and the trainer.
//!
//! Start reading in [`step`]: one training step from top to bottom. [`trainer`] is the loop around it.
#![forbid(unsafe_code)]

pub mod arena;
mod block;
mod cache;
pub mod clock;
pub mod config;
pub mod course;
pub mod engine;
pub mod error;
pub mod forecast;
pub mod frozen;
pub mod guard;
pub mod heal;
pub mod loss;
mod material;
pub mod ops;
pub mod optim;
mod origin;
pub mod pace;
pub mod peers;
pub mod plan;
pub mod probe;
mod records;
pub mod schedule;
pub mod shadow;
pub mod snapshot;
mod start;
pub mod state;
pub mod step;
pub mod teacher;
pub mod trainer;
pub mod validate;

pub use config::RunConfig;
pub use error::TrainError;
pub use trainer::{Limits, Observer, Outcome, Trainer};
