//! Experiments as TOML: a base configuration, axes, seeds, measures, tables, plots, and claims that are judged by evidence.
//!
//! [`experiment`] reads the file, [`points`] makes a run of every combination, [`runner`] runs them as child processes,
//! [`measure`] reads what they left, [`claim`] judges, [`results`] writes. Claims and columns are in the language of [`expr`].
#![forbid(unsafe_code)]

pub mod claim;
pub mod error;
pub mod experiment;
pub mod expr;
pub mod folder;
pub mod measure;
pub mod plot;
pub mod points;
pub mod results;
pub mod runner;
pub mod scope;
pub mod shipped;
pub mod slurm;

pub use error::LabError;
pub use experiment::Experiment;
pub use folder::Folder;
