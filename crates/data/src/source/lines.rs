//! Lines of a (decompressed) file under a limit, with the byte offset at which each begins.

use super::{InputFile, SourceOptions};
use crate::DataError;
use std::io::{BufRead, Read};

pub(super) struct Lines {
    file: InputFile,
    reader: Box<dyn BufRead + Send>,
    bytes_max: usize,
    /// Bytes read so far.
    pub(super) offset: u64,
}

impl Lines {
    pub(super) fn open(file: &InputFile, options: &SourceOptions) -> Result<Self, DataError> {
        Ok(Self {
            file: file.clone(),
            reader: file.compression.open(&file.path)?,
            bytes_max: options.document_bytes_max,
            offset: 0,
        })
    }

    /// Appends the next line with its line break to `buffer`, which must not outgrow the limit. False at the end.
    pub(super) fn append(&mut self, buffer: &mut Vec<u8>, what: &str) -> Result<bool, DataError> {
        let room = (self.bytes_max + 1).saturating_sub(buffer.len());
        let read = (&mut *self.reader).take(room as u64).read_until(b'\n', buffer);
        let read = read.map_err(|e| self.file.compression.broken(&self.file.path, self.offset, &e))?;
        self.offset += read as u64;
        if buffer.len() > self.bytes_max {
            let begin = self.offset - buffer.len() as u64;
            return Err(DataError::content(
                &self.file.path,
                format!("the {what} that begins at byte {begin} is longer than {} bytes", self.bytes_max),
                "cut it into documents, or leave the file out",
            ));
        }
        Ok(read > 0)
    }
}
