//! A file seen as a slice of bytes without reading it whole: a read-only memory map.
#![allow(unsafe_code)]

use crate::bounded;
use crate::error::FileError;
use std::ops::Deref;
use std::path::Path;

/// A read-only map of a whole file; dereferences to its bytes. Pages are read when touched.
#[derive(Debug)]
pub struct Mapped(memmap2::Mmap);

impl Mapped {
    /// Maps `path`. An empty file gives an empty slice; a folder, a pipe or a device is an error.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let file = bounded::open(path)?;
        // SAFETY: the map is private to this value and read-only. Files of this project are replaced by
        // renaming, never changed in place, so the mapped bytes stay as they are while the map lives;
        // someone who cuts the file from outside while it is open ends the process by SIGBUS, as with any map.
        let map = unsafe { memmap2::Mmap::map(&file) };
        map.map(Self).map_err(|e| FileError::io(path, "map", &e))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_content_and_emptiness() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"abc").unwrap();
        assert_eq!(&*Mapped::open(&path).unwrap(), b"abc");
        std::fs::write(&path, b"").unwrap();
        assert_eq!(&*Mapped::open(&path).unwrap(), b"");
        assert!(Mapped::open(folder.path()).is_err());
    }
}
