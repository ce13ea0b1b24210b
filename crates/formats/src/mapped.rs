//! A file seen as a slice of bytes without reading it whole: a read-only memory map.
#![allow(unsafe_code)]

use crate::bounded;
use crate::error::FileError;
use std::ops::{Deref, Range};
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

impl Mapped {
    /// Gives back the memory of a part that will not be read again soon; read all the same, it comes from the disk again.
    pub fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if range.end <= self.0.len() && !range.is_empty() {
            // SAFETY: the map is read-only and of a file, so pages that are dropped come back with the same bytes.
            // The system may refuse: memory then stays as it was.
            let _ = unsafe {
                self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            };
        }
        #[cfg(not(unix))]
        let _ = range;
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
        let map = Mapped::open(&path).unwrap();
        for range in [0..3, 1..2, 0..0, 2..9] {
            map.release(range);
            assert_eq!(&*map, b"abc");
        }
        std::fs::write(&path, b"").unwrap();
        assert_eq!(&*Mapped::open(&path).unwrap(), b"");
        assert!(Mapped::open(folder.path()).is_err());
    }
}
