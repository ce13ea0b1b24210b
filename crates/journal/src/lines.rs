//! Files of one JSON object a line: read line by line under a limit, appended with one write a line.

use formats::{FileError, bounded, limits};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Calls `visit` with each record of `path` and its line without the newline.
///
/// What follows the last sound line is taken for the torn end of a killed writer and passed over; a line that is
/// damaged *between* sound ones is an error that names it.
pub fn for_each<T: DeserializeOwned>(
    path: &Path,
    mut visit: impl FnMut(T, &[u8]) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let mut reader = BufReader::new(bounded::open(path)?);
    let mut line = Vec::new();
    let mut number = 0u64;
    let mut torn: Option<(u64, String)> = None;
    loop {
        line.clear();
        let mut limited = (&mut reader).take(limits::RECORD_LINE_BYTES_MAX);
        limited.read_until(b'\n', &mut line).map_err(|e| FileError::io(path, "read", &e))?;
        if line.is_empty() {
            return Ok(());
        }
        number += 1;
        let record = match line.strip_suffix(b"\n") {
            Some(whole) => serde_json::from_slice(whole).map_err(|e| e.to_string()),
            None => Err("it has no end".to_owned()),
        };
        match (record, &torn) {
            (Ok(record), None) => visit(record, &line[..line.len() - 1])?,
            (Ok(_), Some((number, why))) => {
                let what = format!("line {number} is damaged ({why})");
                return Err(FileError::damaged(path, what, "remove that line"));
            }
            (Err(why), None) => torn = Some((number, why)),
            (Err(_), Some(_)) => {}
        }
    }
}

/// Appends records, one line and one write call each, reusing one buffer.
#[derive(Debug)]
pub struct Appender {
    path: PathBuf,
    file: File,
    /// Length of the file up to the last complete line.
    bytes: u64,
    buffer: Vec<u8>,
}

/// Longer than a line of numbers; records may grow the buffer once.
const BUFFER_BYTES: usize = 1024;

impl Appender {
    /// Opens `path` for appending, creating it when absent. The caller has cut what may be torn.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let fail = |e: io::Error| FileError::io(path, "open", &e);
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(fail)?;
        let bytes = file.metadata().map_err(fail)?.len();
        Ok(Self { path: path.to_owned(), file, bytes, buffer: Vec::with_capacity(BUFFER_BYTES) })
    }

    /// Appends `record`. A line that could be written only in part is taken back.
    pub fn append<T: Serialize>(&mut self, record: &T) -> Result<(), FileError> {
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, record).expect("plain data becomes JSON");
        self.buffer.push(b'\n');
        self.file.write_all(&self.buffer).map_err(|error| {
            // Best effort: a torn line that stays is passed over by readers.
            let _ = self.file.set_len(self.bytes);
            FileError::io(&self.path, "append", &error)
        })?;
        self.bytes += self.buffer.len() as u64;
        Ok(())
    }

    /// Brings what was appended to disk.
    pub fn sync(&self) -> Result<(), FileError> {
        self.file.sync_data().map_err(|e| FileError::io(&self.path, "write", &e))
    }
}

/// Rewrites `path`, atomically, with only the records that `keep` accepts; a torn end goes too. An absent file
/// stays absent, and a file of which everything stays is not touched.
pub fn retain<T: DeserializeOwned>(path: &Path, keep: impl Fn(&T) -> bool) -> Result<(), FileError> {
    let mut kept = 0;
    match for_each(path, |record: T, line| {
        kept += if keep(&record) { line.len() as u64 + 1 } else { 0 };
        Ok(())
    }) {
        Err(error) if error.kind == formats::Kind::Missing => return Ok(()),
        other => other?,
    }
    let length = std::fs::metadata(path).map_err(|e| FileError::io(path, "read", &e))?.len();
    if kept == length {
        return Ok(());
    }
    let mut failure = None;
    let written = formats::atomic::write(path, |out| {
        let copied = for_each(path, |record: T, line| {
            if keep(&record) {
                let written = out.write_all(line).and_then(|()| out.write_all(b"\n"));
                written.map_err(|e| FileError::io(path, "write", &e))?;
            }
            Ok(())
        });
        copied.map_err(|error| {
            failure = Some(error);
            io::ErrorKind::Other.into()
        })
    });
    match failure {
        Some(error) => Err(error),
        None => written,
    }
}
