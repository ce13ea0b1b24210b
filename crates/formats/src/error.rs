//! The one error of everything that reads or writes files: which file, what happened, what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// What kind of trouble a [`FileError`] reports, for callers that react instead of printing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The file or folder is not there.
    Missing,
    /// The target exists and is not replaced.
    Exists,
    /// The content is cut, changed or not of the expected format.
    Damaged,
    /// The disk or the quota is full.
    DiskFull,
    /// Another process holds the folder.
    Locked,
    /// The content is sound but does not fit what was asked of it.
    Unfit,
    /// Any other failure of the operating system.
    Io,
}

/// A sentence: the file, what happened, what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}; {remedy}", path.display())]
pub struct FileError {
    /// The file or folder concerned.
    pub path: PathBuf,
    /// For callers that react.
    pub kind: Kind,
    /// What happened, without a final stop.
    pub what: String,
    /// What to do next, without a final stop.
    pub remedy: String,
}

impl FileError {
    /// An error from its parts.
    pub fn new(path: &Path, kind: Kind, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.to_owned(), kind, what: what.into(), remedy: remedy.into() }
    }

    /// The content of `path` is cut, changed or of another format.
    pub fn damaged(path: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(path, Kind::Damaged, what, remedy)
    }

    /// Names the operating system's failure while doing `action` ("write", "open") to `path`.
    pub fn io(path: &Path, action: &str, error: &io::Error) -> Self {
        use io::ErrorKind as E;
        let (kind, what, remedy) = match error.kind() {
            E::StorageFull => (Kind::DiskFull, "the disk is full", "free some space there and run again"),
            E::QuotaExceeded => {
                (Kind::DiskFull, "the disk quota is used up", "free some space there and run again")
            }
            E::FileTooLarge => (
                Kind::DiskFull,
                "a limit allows no file of that size (ulimit -f, or that of the disk's format)",
                "raise it, or choose another place",
            ),
            E::NotFound => (Kind::Missing, "it does not exist", "check the spelling of the path"),
            E::AlreadyExists => (Kind::Exists, "it exists already", "choose another name or remove it first"),
            E::PermissionDenied => {
                (Kind::Io, "permission is denied", "check who owns it and its access rights")
            }
            E::ReadOnlyFilesystem => (Kind::Io, "the disk is mounted read-only", "choose a writable place"),
            E::IsADirectory => (Kind::Io, "it is a folder, not a file", "name a file"),
            E::NotADirectory => (Kind::Io, "a part of the path is a file, not a folder", "check the path"),
            _ => {
                return Self::new(
                    path,
                    Kind::Io,
                    format!("cannot {action}: {error}"),
                    "check the disk and run again",
                );
            }
        };
        Self::new(path, kind, format!("cannot {action}: {what}"), remedy)
    }
}
