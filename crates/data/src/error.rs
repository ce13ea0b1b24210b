//! What can go wrong with data: each error is a sentence that says what happened, where, and what to do next.

use formats::FileError;
use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file is missing, damaged or not what it should be.
    #[error(transparent)]
    File(#[from] FileError),
    /// The tokenizer cannot be read or used.
    #[error(transparent)]
    Text(#[from] text::TextError),
    /// A document that the tokenizer cannot encode.
    #[error("{}: {error}", file.display())]
    Document {
        /// The file that it is in.
        file: PathBuf,
        /// What the tokenizer says.
        error: text::TextError,
    },
    /// What was asked for cannot be done with this data.
    #[error("{what}; {remedy}")]
    Unfit {
        /// What stands in the way.
        what: String,
        /// What to do next.
        remedy: String,
    },
}

impl DataError {
    pub(crate) fn unfit(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unfit { what: what.into(), remedy: remedy.into() }
    }

    /// The content of `path` is not usable as it is.
    pub(crate) fn content(path: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        FileError::new(path, formats::Kind::Unfit, what, remedy).into()
    }

    /// A file of a prepared data set is not as it was written.
    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        let remedy = "remove the data set's folder and run 'trilobit data prepare' again";
        FileError::damaged(path, what, remedy).into()
    }
}
