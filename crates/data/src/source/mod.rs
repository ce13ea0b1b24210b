//! Documents from files: one file per kind of source, one line per kind in [`SOURCES`].

mod compression;
mod files;
pub(crate) mod halves;
mod jsonl;
mod lines;
mod parquet;
mod text;

use crate::DataError;
use compression::Compression;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A file format that holds documents.
pub trait SourceKind: Sync {
    /// The name of its file in `data/src/source`, without `.rs`.
    fn name(&self) -> &'static str;

    /// File name endings, lower case, without the dot.
    fn extensions(&self) -> &'static [&'static str];

    /// Whether `.gz`, `.zst` and `.xz` may follow the extension (a format read from its end cannot be a stream).
    fn is_stream(&self) -> bool;

    /// The documents of one file in their order. Documents of blank text are left out.
    fn open(&self, file: &InputFile, options: &SourceOptions) -> Result<Texts, DataError>;
}

/// The texts of one file's documents.
pub type Texts = Box<dyn Iterator<Item = Result<String, DataError>> + Send>;

/// All kinds, in the order in which an extension is looked up.
pub static SOURCES: &[&dyn SourceKind] = &[&text::Text, &jsonl::JsonLines, &parquet::Parquet];

/// A file that was found under a path the user gave.
#[derive(Clone)]
pub struct InputFile {
    /// Where it is.
    pub path: PathBuf,
    /// Index of the path, among those given, under which it was found.
    pub source: usize,
    kind: &'static dyn SourceKind,
    compression: Compression,
}

/// How to read sources.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceOptions {
    /// The column (`.jsonl`: key; `.parquet`: column, nested ones with dots) that holds the text.
    pub column: String,
    /// A line that is exactly this parts the documents of a text file. Without one a file is one document.
    pub separator: String,
    /// Replace what is not UTF-8, zero bytes, and halves of characters in JSON by U+FFFD instead of refusing the file.
    pub lossy: bool,
    /// Longest document, in bytes after decompression; a longer one is an error. It bounds the memory that a
    /// compressed file can ask for.
    pub document_bytes_max: usize,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            column: "text".into(),
            separator: "<|endoftext|>".into(),
            lossy: false,
            document_bytes_max: 256 << 20,
        }
    }
}

/// One document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its text; never blank.
    pub text: String,
    /// Index of the path, among those given, under which it was found.
    pub source: usize,
}

/// The documents of all files under `paths` (files, folders, globs), in a fixed order: that of the paths; within a
/// folder or glob sorted by name.
///
/// # Errors
/// At once: a path that does not exist, a glob without a match, a folder without a readable file, a file of unknown
/// kind. From the iterator, which then ends: a file that is empty, not text, damaged, gone, or that has a document or a
/// line beyond [`SourceOptions::document_bytes_max`].
pub fn documents(paths: &[PathBuf], options: &SourceOptions) -> Result<Documents, DataError> {
    Ok(Documents { files: files::expand(paths)?.into_iter(), options: options.clone(), current: None })
}

/// All of one UTF-8 file, also a compressed one, without a byte order mark and else as it is.
///
/// # Errors
/// It does not exist, is damaged, no text, or longer than `bytes_max` bytes.
pub fn whole(path: &Path, bytes_max: u64) -> Result<String, DataError> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let compression = Compression::of(&extension);
    let mut bytes = Vec::new();
    let read = compression.open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|e| compression.broken(path, bytes.len() as u64, &e))?;
    if bytes.len() as u64 > bytes_max {
        let what = format!("it is longer than {bytes_max} bytes of text");
        return Err(DataError::content(path, what, "give a shorter one, or its beginning"));
    }
    let mut text = String::from_utf8(bytes).map_err(|e| {
        let what = format!("it is not UTF-8 text: byte {}", e.utf8_error().valid_up_to());
        DataError::content(path, what, "check that this is the file you meant, or convert it to UTF-8")
    })?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

/// The lines of one `.jsonl` file, also compressed.
pub(crate) struct JsonLines(jsonl::NonBlank);

/// Opens a file of JSON lines.
///
/// # Errors
/// It does not exist, or its name is not that of such a file.
pub(crate) fn json_lines(path: &Path) -> Result<JsonLines, DataError> {
    let files = files::expand(&[path.to_owned()])?;
    match &files[..] {
        [file] if file.kind.name() == jsonl::JsonLines.name() => {
            Ok(JsonLines(jsonl::NonBlank::open(file, &SourceOptions::default())?))
        }
        _ => {
            let what = "it is not one file of JSON lines";
            Err(DataError::content(path, what, "name a .jsonl file, also with .gz .zst .xz"))
        }
    }
}

impl JsonLines {
    /// The next line that is not blank, with its number from 1.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, String)>, DataError> {
        self.0.next()
    }
}

/// The iterator that [`documents`] returns.
pub struct Documents {
    files: std::vec::IntoIter<InputFile>,
    options: SourceOptions,
    current: Option<Current>,
}

/// The file being read.
struct Current {
    file: InputFile,
    texts: Texts,
    is_blank: bool,
}

impl Documents {
    /// The file of the document that came last.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.current.as_ref().map(|current| &*current.file.path)
    }

    fn advance(&mut self) -> Result<Option<Document>, DataError> {
        loop {
            let current = match &mut self.current {
                Some(current) => current,
                None => {
                    let Some(file) = self.files.next() else {
                        return Ok(None);
                    };
                    let texts = file.kind.open(&file, &self.options)?;
                    self.current.insert(Current { file, texts, is_blank: true })
                }
            };
            if let Some(text) = current.texts.next() {
                current.is_blank = false;
                let source = current.file.source;
                return Ok(Some(Document { text: text?, source }));
            }
            if current.is_blank {
                return Err(empty(&current.file.path));
            }
            self.current = None;
        }
    }
}

impl Iterator for Documents {
    type Item = Result<Document, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if matches!(next, Some(Err(_))) {
            self.files = Vec::new().into_iter();
            self.current = None;
        }
        next
    }
}

fn empty(path: &Path) -> DataError {
    let what = match std::fs::metadata(path) {
        Ok(facts) if facts.len() == 0 => "it is empty (0 bytes)",
        _ => "it holds no text: blank lines or rows only",
    };
    DataError::content(path, what, "fill it, or leave it out of the inputs")
}

/// What every kind of source does with the bytes of a document: they must be UTF-8 text, or are made so by `lossy`.
/// `offset` is where they begin in the (decompressed) file.
fn to_text(bytes: Vec<u8>, path: &Path, offset: u64, lossy: bool) -> Result<String, DataError> {
    text_or_reason(bytes, offset, lossy)
        .map_err(|NoText { what, remedy }| DataError::content(path, what, remedy))
}

/// Why bytes are no text, and what to do.
struct NoText {
    what: String,
    remedy: &'static str,
}

/// As [`to_text`], for who names the place.
fn text_or_reason(bytes: Vec<u8>, offset: u64, lossy: bool) -> Result<String, NoText> {
    let sound = match bytes.iter().position(|&b| b == 0) {
        None => String::from_utf8(bytes).map_err(|e| (e.utf8_error().valid_up_to(), e.into_bytes())),
        Some(at) => {
            let valid = std::str::from_utf8(&bytes[..at]).map_or_else(|e| e.valid_up_to(), |_| at);
            Err((valid, bytes))
        }
    };
    let (at, bytes) = match sound {
        Ok(text) => return Ok(text),
        Err(bad) => bad,
    };
    if lossy {
        return Ok(String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}"));
    }
    let is_utf16 = offset == 0 && (bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]));
    let what = match bytes[at] {
        _ if is_utf16 => "it is UTF-16 text, not UTF-8 (byte order mark at byte 0)".to_owned(),
        0 => format!("it is binary, not text: a zero byte at byte {}", offset + at as u64),
        byte => format!("it is not UTF-8 text: 0x{byte:02x} at byte {}", offset + at as u64),
    };
    let remedy = match is_utf16 {
        true => "convert it with 'iconv -f UTF-16 -t UTF-8'",
        false => "leave it out, or convert it to UTF-8; 'data prepare --lossy' replaces what is no text",
    };
    Err(NoText { what, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_named_after_its_file_and_extensions_are_unique() {
        let mut seen: Vec<&str> = Vec::new();
        for kind in SOURCES {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/source/{}.rs", kind.name()));
            assert!(file.is_file(), "{}", file.display());
            seen.extend(kind.extensions());
        }
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn a_whole_file_is_read_as_it_is_also_compressed() {
        let dir = tempfile::tempdir().unwrap();
        let text = "One.\n<|endoftext|>\n\n Two, é. \n";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
        let files = [("a.txt", text.as_bytes()), ("a.txt.gz", &gzip), ("a.raw.ZST", &zstd)];
        for (name, bytes) in files {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(whole(&path, text.len() as u64).unwrap(), text, "{name}");
            assert!(whole(&path, 9).unwrap_err().to_string().contains("longer than 9 bytes"), "{name}");
            std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
            assert!(name == "a.txt" || whole(&path, 99).unwrap_err().to_string().contains("cut short"));
        }
        let path = dir.path().join("marked.txt");
        std::fs::write(&path, "\u{feff}a\u{feff}").unwrap();
        assert_eq!(whole(&path, 9).unwrap(), "a\u{feff}");
        let path = dir.path().join("binary");
        std::fs::write(&path, b"ab\xff").unwrap();
        assert!(whole(&path, 9).unwrap_err().to_string().contains("byte 2"));
        assert!(whole(&dir.path().join("none"), 9).is_err());
    }

    #[test]
    fn bytes_that_are_no_text_are_located() {
        let path = Path::new("a.txt");
        let sentence =
            |bytes: &[u8], offset| to_text(bytes.to_vec(), path, offset, false).unwrap_err().to_string();
        assert!(sentence(b"ab\0c", 100).contains("binary, not text: a zero byte at byte 102"));
        assert!(sentence(b"a\xffb\0", 0).contains("0xff at byte 1"));
        assert!(sentence(b"\xff\xfea\0", 0).contains("UTF-16"));
        assert!(sentence("é".as_bytes()[..1].as_ref(), 7).contains("0xc3 at byte 7"));
        assert!(sentence(b"\xff", 1).contains("--lossy"));
        assert_eq!(to_text(b"a\xffb\0".to_vec(), path, 0, true).unwrap(), "a\u{fffd}b\u{fffd}");
    }
}
