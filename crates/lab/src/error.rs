//! What can go wrong in an experiment, each as a sentence that says what to do.

use crate::expr::SyntaxError;
use std::path::PathBuf;

/// An operating error of an experiment.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LabError {
    #[error(transparent)]
    File(#[from] formats::FileError),
    #[error("{place}: {reason}")]
    Experiment { place: String, reason: String },
    #[error("{place}: '{text}' is no expression: {error}")]
    Syntax { place: String, text: String, error: SyntaxError },
    #[error("there is no experiment '{name}'; name a TOML file or one of {known}")]
    Unknown { name: String, known: String },
    #[error("{}: {what}; {remedy}", dir.display())]
    Folder { dir: PathBuf, what: String, remedy: &'static str },
    #[error("cannot start {}: {source}; check that it is there and may be run", program.display())]
    Start { program: PathBuf, source: std::io::Error },
}
