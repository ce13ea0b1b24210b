//! One JSON object a line, the text under a named key.

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
        Ok(Box::new(Rows {
            path: file.path.clone(),
            lines: Lines::open(file, options)?,
            column: options.column.clone(),
            lossy: options.lossy,
            number: 0,
        }))
    }
}

struct Rows {
    path: PathBuf,
    lines: Lines,
    column: String,
    lossy: bool,
    /// Of the line read last, from 1.
    number: u64,
}

impl Rows {
    fn advance(&mut self) -> Result<Option<String>, DataError> {
        loop {
            let begin = self.lines.offset;
            let mut bytes = Vec::new();
            if !self.lines.append(&mut bytes, "line")? {
                return Ok(None);
            }
            self.number += 1;
            let line = to_text(bytes, &self.path, begin, self.lossy)?;
            if line.trim().is_empty() {
                continue;
            }
            let mut json = serde_json::Deserializer::from_str(line.trim_start_matches('\u{feff}'));
            let found = Column(&self.column).deserialize(&mut json);
            let found = found.and_then(|text| json.end().map(|()| text));
            match found {
                Ok(Some(text)) if !text.trim().is_empty() => return Ok(Some(text)),
                Ok(_) => {}
                Err(error) => return Err(self.bad_line(begin, &error)),
            }
        }
    }

    fn bad_line(&self, begin: u64, error: &serde_json::Error) -> DataError {
        let what = format!("line {} (byte {begin}) is no row: {error}", self.number);
        let remedy = "each line has to be a JSON object; name the text's key with --column";
        DataError::content(&self.path, what, remedy)
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
