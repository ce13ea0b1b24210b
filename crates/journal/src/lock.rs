//! One writer a run folder: a file lock, released by the kernel when its holder ends in whatever way.

use formats::{FileError, Kind};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

/// The name of the lock file. It stays behind; only the lock on it means something.
pub const NAME: &str = ".lock";

/// The right to write a run folder, as long as this value lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the folder `dir`; that another process holds it is an error of kind [`Kind::Locked`].
    pub fn acquire(dir: &Path) -> Result<Self, FileError> {
        let path = dir.join(NAME);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| FileError::io(&path, "lock", &e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(FileError::new(
                dir,
                Kind::Locked,
                "another process is writing this run",
                "wait until it ends, or stop it",
            )),
            Err(TryLockError::Error(error)) => Err(FileError::io(&path, "lock", &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::acquire(dir.path()).unwrap();
        let second = Lock::acquire(dir.path()).unwrap_err();
        assert_eq!(second.kind, Kind::Locked);
        drop(held);
        Lock::acquire(dir.path()).unwrap();
        assert!(Lock::acquire(&dir.path().join("none")).is_err());
    }
}
