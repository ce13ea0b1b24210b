//! Parquet: one row is one document, the text in a named string column.

use super::{InputFile, NoText, SourceKind, SourceOptions, Texts, text_or_reason};
use crate::DataError;
use formats::FileError;
use parquet::basic::Type;
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Rows decoded at a time.
const ROWS: usize = 64;

/// See the module.
pub(super) struct Parquet;

impl SourceKind for Parquet {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["parquet"]
    }

    fn is_stream(&self) -> bool {
        false
    }

    fn open(&self, file: &InputFile, options: &SourceOptions) -> Result<Texts, DataError> {
        let path = file.path.as_path();
        let handle = formats::bounded::open(path)?;
        if handle.metadata().is_ok_and(|facts| facts.len() == 0) {
            return Err(super::empty(path));
        }
        let reader = guarded(path, || SerializedFileReader::new(handle))?;
        let column = find_column(&reader, path, &options.column)?;
        Ok(Box::new(Rows {
            path: path.to_owned(),
            reader,
            column,
            options: options.clone(),
            group: 0,
            values: None,
            buffer: Vec::new().into_iter(),
            row: 0,
        }))
    }
}

/// Runs a step of the parquet crate. Its readers are written for honest files: what a damaged one makes it do, an
/// error or a panic, is the file's fault and is reported as such; but what the crate has no code for is not.
fn guarded<T>(path: &Path, step: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, DataError> {
    let why = match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(ParquetError::NYI(what))) => {
            let what = format!("this parquet file cannot be read here: {what}");
            let remedy = "write it again, compressed with zstd, gzip or snappy";
            return Err(DataError::content(path, what, remedy));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its content contradicts itself".to_owned(),
    };
    Err(FileError::damaged(path, format!("it is no sound parquet file: {why}"), "fetch or write it again")
        .into())
}

/// Index of the leaf column called `name`, which has to hold one string per row.
fn find_column(reader: &SerializedFileReader<File>, path: &Path, name: &str) -> Result<usize, DataError> {
    let schema = reader.metadata().file_metadata().schema_descr();
    let names: Vec<String> = schema.columns().iter().map(|c| c.path().string()).collect();
    let Some(index) = names.iter().position(|n| n == name) else {
        let what = format!("it has no column '{name}', only {}", names.join(", "));
        return Err(DataError::content(path, what, "name the text's column with --column"));
    };
    let column = schema.column(index);
    if column.physical_type() != Type::BYTE_ARRAY || column.max_rep_level() > 0 {
        let what = format!("its column '{name}' does not hold one string per row");
        return Err(DataError::content(path, what, "name the text's column with --column"));
    }
    Ok(index)
}

struct Rows {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    column: usize,
    options: SourceOptions,
    /// Next row group to open.
    group: usize,
    values: Option<ColumnReaderImpl<ByteArrayType>>,
    /// Values (without nulls) decoded and not yet given out.
    buffer: std::vec::IntoIter<ByteArray>,
    /// Texts given out so far.
    row: u64,
}

impl Rows {
    fn advance(&mut self) -> Result<Option<String>, DataError> {
        loop {
            if let Some(value) = self.buffer.next() {
                let text = self.text(value.data())?;
                self.row += 1;
                if !text.trim().is_empty() {
                    return Ok(Some(text));
                }
            } else if !self.refill()? {
                return Ok(None);
            }
        }
    }

    fn text(&self, bytes: &[u8]) -> Result<String, DataError> {
        let max = self.options.document_bytes_max;
        if bytes.len() > max {
            let what = format!("the text in row {} is longer than {max} bytes", self.row);
            return Err(DataError::content(&self.path, what, "cut it into documents, or leave the file out"));
        }
        text_or_reason(bytes.to_vec(), 0, self.options.lossy).map_err(|NoText { what, .. }| {
            let what = format!("the text in row {} (counted without nulls, from 0): {what}", self.row);
            DataError::content(&self.path, what, "repair it, or give --lossy to replace what is no text")
        })
    }

    /// Decodes some more rows into the buffer. False at the end of the file.
    fn refill(&mut self) -> Result<bool, DataError> {
        loop {
            let Some(values) = &mut self.values else {
                if self.group == self.reader.num_row_groups() {
                    return Ok(false);
                }
                let (reader, group, column) = (&self.reader, self.group, self.column);
                self.values = Some(guarded(&self.path, || {
                    Ok(get_typed_column_reader(reader.get_row_group(group)?.get_column_reader(column)?))
                })?);
                self.group += 1;
                continue;
            };
            let (mut levels, mut decoded) = (Vec::new(), Vec::new());
            let (rows, _, _) =
                guarded(&self.path, || values.read_records(ROWS, Some(&mut levels), None, &mut decoded))?;
            if rows == 0 {
                self.values = None;
                continue;
            }
            self.buffer = decoded.into_iter();
            return Ok(true);
        }
    }
}

impl Iterator for Rows {
    type Item = Result<String, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}
