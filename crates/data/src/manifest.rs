//! `dataset.json` (what a data set is) and `unigrams.json` (its vocabulary's lengths and counts), both small.

use crate::{DataError, Split, Statistics};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of the folder's layout.
pub const VERSION: u32 = 1;
/// The manifest's file name. It is written last: a folder without it is unfinished.
pub const FILE: &str = "dataset.json";
/// File name of [`Unigrams`].
pub const UNIGRAMS_FILE: &str = "unigrams.json";
/// File name of the tokenizer's copy.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// Largest of these files.
const BYTES_MAX: u64 = 256 << 20;

/// What a prepared data set is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Identifies tokens and split: SHA-256 over the tokenizer and the documents' hashes in order. In hex.
    pub fingerprint: String,
    /// What the tokens mean.
    pub tokenizer: TokenizerFacts,
    /// The train split.
    pub train: SplitFacts,
    /// The validation split.
    pub valid: SplitFacts,
    /// The paths given, in their order, with what was kept of each.
    pub sources: Vec<SourceShare>,
    /// Documents dropped because their text was there already.
    pub duplicates: u64,
    /// SHA-256 of `unigrams.json`, in hex.
    pub unigrams_sha256: String,
    /// Measures of the train split.
    pub statistics: Statistics,
    /// Sentences about what a reader should know: an uneven split, a narrow domain.
    pub warnings: Vec<String>,
}

/// The tokenizer of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerFacts {
    /// SHA-256 of `tokenizer.json`, in hex.
    pub fingerprint: String,
    /// Number of ids.
    pub vocabulary: usize,
    /// The id that ends each document.
    pub end_of_text: u32,
}

/// The size of a split.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitFacts {
    /// With the end-of-text tokens.
    pub tokens: u64,
    /// Of text, in UTF-8; end-of-text tokens have none.
    pub bytes: u64,
    /// Each ends with one end-of-text token.
    pub documents: u64,
    /// Number of shard files.
    pub shards: usize,
}

/// What was kept of one path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceShare {
    /// As it was given.
    pub path: String,
    /// Without duplicates.
    pub documents: u64,
    /// Without duplicates.
    pub bytes: u64,
    /// Of all kept bytes.
    pub share: f64,
}

/// Tables by token id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unigrams {
    /// (V) bytes of text in each token; 0 for special ones.
    pub token_bytes: Vec<u16>,
    /// (V) occurrences in the train split.
    pub counts: Vec<u64>,
}

impl Manifest {
    /// Reads `dataset.json` of `folder`.
    ///
    /// # Errors
    /// A folder without one is named as absent or unfinished.
    pub fn read(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join(FILE);
        if !path.exists() {
            let (what, remedy) = match folder.is_dir() {
                true => (
                    "the folder is no finished data set (it has no dataset.json)",
                    "run 'trilobit data prepare', the same command again where it was interrupted",
                ),
                false => (
                    "there is no such folder",
                    "name the data set's folder with --data, also where it has moved; 'trilobit data prepare' makes one",
                ),
            };
            return Err(DataError::content(folder, what, remedy));
        }
        let manifest: Self = parse(&path, &formats::bounded::read(&path, BYTES_MAX)?)?;
        if manifest.version != VERSION {
            let what = format!("it is of version {}, this program reads {VERSION}", manifest.version);
            return Err(DataError::damaged(&path, what));
        }
        Ok(manifest)
    }

    /// The facts of a split.
    pub fn split(&self, split: Split) -> &SplitFacts {
        match split {
            Split::Train => &self.train,
            Split::Valid => &self.valid,
        }
    }

    /// The fingerprint as bytes; `None` where it is none.
    pub(crate) fn plan(&self) -> Option<[u8; 32]> {
        let digits = self.fingerprint.as_bytes();
        let digit = |d: u8| char::from(d).to_digit(16).map(|d| d as u8);
        let bytes: Option<Vec<u8>> =
            digits.chunks(2).map(|d| Some(digit(d[0])? << 4 | digit(*d.get(1)?)?)).collect();
        bytes?.try_into().ok()
    }

    /// Writes `dataset.json` into `folder`.
    pub fn write(&self, folder: &Path) -> Result<(), DataError> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("plain data serialises");
        bytes.push(b'\n');
        Ok(formats::atomic::write_bytes(&folder.join(FILE), &bytes)?)
    }
}

impl Unigrams {
    /// Reads `unigrams.json` of `folder` and compares it with what the manifest says.
    pub fn read(folder: &Path, manifest: &Manifest) -> Result<Self, DataError> {
        let path = folder.join(UNIGRAMS_FILE);
        let bytes = formats::bounded::read(&path, BYTES_MAX)?;
        if sha256_hex(&bytes) != manifest.unigrams_sha256 {
            return Err(DataError::damaged(&path, "it is not what dataset.json says (checksum)"));
        }
        let unigrams: Self = parse(&path, &bytes)?;
        let vocabulary = manifest.tokenizer.vocabulary;
        if unigrams.token_bytes.len() != vocabulary || unigrams.counts.len() != vocabulary {
            return Err(DataError::damaged(&path, format!("it is not for a vocabulary of {vocabulary}")));
        }
        Ok(unigrams)
    }

    /// Writes `unigrams.json` into `folder`; its checksum for the manifest.
    pub fn write(&self, folder: &Path) -> Result<String, DataError> {
        let bytes = serde_json::to_vec(self).expect("plain data serialises");
        formats::atomic::write_bytes(&folder.join(UNIGRAMS_FILE), &bytes)?;
        Ok(sha256_hex(&bytes))
    }
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, DataError> {
    serde_json::from_slice(bytes).map_err(|e| DataError::damaged(path, format!("it cannot be read: {e}")))
}

/// SHA-256 in hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&<sha2::Sha256 as sha2::Digest>::digest(bytes))
}

/// Two lower-case digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
