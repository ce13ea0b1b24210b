//! Whole small files, read under a limit.

use crate::error::FileError;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Opens `path` for reading when it is a regular file; a folder, a pipe or a device is an error (a pipe would block).
pub fn open(path: &Path) -> Result<File, FileError> {
    let facts = std::fs::metadata(path).map_err(|e| FileError::io(path, "open", &e))?;
    if facts.is_dir() {
        let error = std::io::ErrorKind::IsADirectory.into();
        return Err(FileError::io(path, "read", &error));
    }
    if !facts.is_file() {
        return Err(FileError::new(
            path,
            crate::Kind::Unfit,
            "it is a device or a pipe, not a file",
            "copy its content into a file first",
        ));
    }
    File::open(path).map_err(|e| FileError::io(path, "open", &e))
}

/// The bytes of `path`, at most `bytes_max` of them; a longer file is an error.
pub fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    open(path)?
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| FileError::io(path, "read", &e))?;
    if bytes.len() as u64 > bytes_max {
        return Err(FileError::damaged(
            path,
            format!("it is longer than the {bytes_max} bytes such a file may have"),
            "check that this is the file you meant",
        ));
    }
    Ok(bytes)
}

/// The UTF-8 text of `path`, at most `bytes_max` bytes.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<String, FileError> {
    String::from_utf8(read(path, bytes_max)?).map_err(|e| {
        FileError::damaged(
            path,
            format!("byte {} is not UTF-8 text", e.utf8_error().valid_up_to()),
            "check that this is the file you meant",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn reads_up_to_the_limit_and_not_beyond() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(read(&path, 4).unwrap_err().to_string().contains("longer than the 4 bytes"));
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        std::fs::write(&path, b"ab\xff").unwrap();
        assert!(read_text(&path, 5).unwrap_err().to_string().contains("byte 2"));
    }

    #[test]
    fn what_is_no_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(&folder.path().join("none"), 5).unwrap_err().kind, Kind::Missing);
        assert!(read(folder.path(), 5).unwrap_err().to_string().contains("is a folder"));
        assert!(read(Path::new("/dev/null"), 5).unwrap_err().to_string().contains("device"));
    }
}
