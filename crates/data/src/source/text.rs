//! Plain text and Markdown: documents parted by separator lines, else one file is one document.

use super::lines::Lines;
use super::{InputFile, SourceKind, SourceOptions, Texts, to_text};
use crate::DataError;
use std::path::PathBuf;

/// See the module.
pub(super) struct Text;

impl SourceKind for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["txt", "text", "md"]
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn open(&self, file: &InputFile, options: &SourceOptions) -> Result<Texts, DataError> {
        Ok(Box::new(TextDocuments {
            path: file.path.clone(),
            lines: Lines::open(file, options)?,
            separator: options.separator.clone().into_bytes(),
            lossy: options.lossy,
            is_done: false,
        }))
    }
}

struct TextDocuments {
    path: PathBuf,
    lines: Lines,
    separator: Vec<u8>,
    lossy: bool,
    is_done: bool,
}

impl TextDocuments {
    /// The lines up to the next separator or the end, without the line break before it; `None` at the end.
    fn advance(&mut self) -> Result<Option<String>, DataError> {
        while !self.is_done {
            let mut bytes = Vec::new();
            let mut begin = self.lines.offset;
            loop {
                let line = bytes.len();
                if !self.lines.append(&mut bytes, "document")? {
                    self.is_done = true;
                    break;
                }
                if !self.separator.is_empty() && without_break(&bytes[line..]) == self.separator {
                    bytes.truncate(line);
                    break;
                }
            }
            const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
            if begin == 0 && bytes.starts_with(BYTE_ORDER_MARK) {
                bytes.drain(..BYTE_ORDER_MARK.len());
                begin = BYTE_ORDER_MARK.len() as u64;
            }
            bytes.truncate(without_break(&bytes).len());
            let text = to_text(bytes, &self.path, begin, self.lossy)?;
            if !text.trim().is_empty() {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }
}

impl Iterator for TextDocuments {
    type Item = Result<String, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

fn without_break(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
