//! Forward and backward written out op by op; losses, optimisers, schedules and the trainer.
#![forbid(unsafe_code)]
