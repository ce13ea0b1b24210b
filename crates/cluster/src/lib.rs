//! The ranks of one job and what they say to each other. A [`Group`] is one rank's end: a thread of its own moves buckets of
//! floats between the ranks while the caller computes, and every sum has the order of the ranks, whatever arrives first.
//!
//! How bytes travel is a [`Transport`]: [`local`] between the threads of one process, `mpi` (a cargo feature) between
//! processes and machines.
#![forbid(unsafe_code)]

mod collective;
pub mod group;
pub mod launch;
pub mod local;
#[cfg(feature = "mpi")]
pub mod mpi;
#[cfg(feature = "mpi")]
mod peer;
pub mod transport;

pub use collective::{Op, piece};
pub use group::Group;
pub use transport::{Lost, Transport};
