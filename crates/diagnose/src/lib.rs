//! Why a ternary model fails: rules over what is written about it, probes that run it.
//!
//! [`open`] turns a path into a [`Patient`], [`rules::judge`] asks every rule, [`probes::run`] every probe. A rule sees a
//! [`Subject`], which is plain data; only gathering and probes touch files and engines.
#![forbid(unsafe_code)]

mod altered;
mod finding;
pub mod fix;
mod gather;
mod keys;
pub mod pages;
pub mod probes;
pub mod recipe;
pub mod rules;
pub mod subject;
pub mod tensors;

pub use altered::Change;
pub use finding::{Finding, Severity, Sign};
pub use gather::{Patient, open};
pub use subject::Subject;
