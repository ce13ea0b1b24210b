//! One JSON object a line, the text under a named key.

use super::halves;
use super::lines::Lines;
use super::{InputFile, SourceKind, SourceOptions, Texts, to_text};
use crate::DataError;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::path::PathBuf;

/// See the module.
pub(super) struct JsonLines;

impl SourceKind for JsonLines {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["jsonl", "ndjson"]
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn open(&self, file: &InputFile, options: &SourceOptions) -> Result<Texts, DataError> {
        Ok(Box::new(Rows { lines: NonBlank::open(file, options)?, column: options.column.clone() }))
    }
}

/// The lines of a file that are not blank, as text.
pub(super) struct NonBlank {
    path: PathBuf,
    lines: Lines,
    lossy: bool,
    /// of the line read last, from 1
    number: u64,
    /// where it began, bytes
    begin: u64,
}

impl NonBlank {
    pub(super) fn open(file: &InputFile, options: &SourceOptions) -> Result<Self, DataError> {
        let (path, lines) = (file.path.clone(), Lines::open(file, options)?);
        Ok(Self { path, lines, lossy: options.lossy, number: 0, begin: 0 })
    }

    /// The next line with its number.
    pub(super) fn next(&mut self) -> Result<Option<(u64, String)>, DataError> {
        loop {
            self.begin = self.lines.offset;
            let mut bytes = Vec::new();
            if !self.lines.append(&mut bytes, "line")? {
                return Ok(None);
            }
            self.number += 1;
            let line = to_text(bytes, &self.path, self.begin, self.lossy)?;
            let line = line.trim_start_matches('\u{feff}');
            if !line.trim().is_empty() {
                return Ok(Some((self.number, line.to_owned())));
            }
        }
    }
}

struct Rows {
    lines: NonBlank,
    column: String,
}

impl Rows {
    fn advance(&mut self) -> Result<Option<String>, DataError> {
        while let Some((_, line)) = self.lines.next()? {
            let found = match self.text(&line) {
                Err(error) => match halves::replaced(&line) {
                    Some(whole) if self.lines.lossy => self.text(&whole),
                    Some(whole) if self.text(&whole).is_ok() => return Err(self.half_character()),
                    _ => Err(error),
                },
                found => found,
            };
            match found {
                Ok(Some(text)) if !text.trim().is_empty() => return Ok(Some(text)),
                Ok(_) => {}
                Err(error) => return Err(self.bad_line(&error)),
            }
        }
        Ok(None)
    }

    /// The text of a row.
    fn text(&self, line: &str) -> serde_json::Result<Option<String>> {
        let mut json = serde_json::Deserializer::from_str(line);
        let text = Column(&self.column).deserialize(&mut json)?;
        json.end().map(|()| text)
    }

    fn half_character(&self) -> DataError {
        let NonBlank { path, number, begin, .. } = &self.lines;
        let what = format!("line {number} (byte {begin}) has {}", halves::WHAT);
        DataError::content(path, what, "repair the line; 'data prepare --lossy' replaces what is no text")
    }

    fn bad_line(&self, error: &serde_json::Error) -> DataError {
        let NonBlank { path, number, begin, .. } = &self.lines;
        let what = format!("line {number} (byte {begin}) is no row: {error}");
        let remedy = "each line has to be a JSON object; name the text's key with --column";
        DataError::content(path, what, remedy)
    }
}

impl Iterator for Rows {
    type Item = Result<String, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

/// Takes one key out of an object and skips the others without building them. `None` where its value is null.
struct Column<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Column<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Column<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "an object with a string under \"{}\"", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        const KEYS_SHOWN_MAX: usize = 12;
        let mut found = None;
        let mut others = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0 {
                found = Some(map.next_value::<Option<String>>()?);
                continue;
            }
            map.next_value::<IgnoredAny>()?;
            if others.len() < KEYS_SHOWN_MAX {
                others.push(key);
            }
        }
        found.ok_or_else(|| {
            A::Error::custom(format!("it has no column '{}', only {}", self.0, others.join(", ")))
        })
    }
}
