//! A prepared folder, opened and verified.

use crate::manifest::{self, Manifest, Unigrams};
use crate::shard::Stream;
use crate::{DataError, Split};
use std::path::{Path, PathBuf};
use text::Tokenizer;

/// A prepared data set. Tokens are mapped, not read into memory.
#[derive(Debug)]
pub struct Dataset {
    folder: PathBuf,
    manifest: Manifest,
    unigrams: Unigrams,
    /// By split.
    streams: [Stream; 2],
}

impl Dataset {
    /// Opens `folder` and verifies all of it: manifest, tokenizer, every shard's header, checksum, ids and offsets.
    ///
    /// # Errors
    /// An unfinished folder, or the first file that is not as it was written.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        let manifest = Manifest::read(folder)?;
        let unigrams = Unigrams::read(folder, &manifest)?;
        let tokenizer = folder.join(manifest::TOKENIZER_FILE);
        let json = formats::bounded::read(&tokenizer, text::limits::TOKENIZER_BYTES_MAX)?;
        if manifest::sha256_hex(&json) != manifest.tokenizer.fingerprint {
            return Err(DataError::damaged(&tokenizer, "it is not the one the tokens were made with"));
        }
        let streams =
            [open_split(folder, &manifest, Split::Train)?, open_split(folder, &manifest, Split::Valid)?];
        Ok(Self { folder: folder.to_owned(), manifest, unigrams, streams })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Tokens of a split, with one end-of-text token a document.
    pub fn tokens(&self, split: Split) -> u64 {
        self.manifest.split(split).tokens
    }

    /// Bytes of text in a split.
    pub fn bytes(&self, split: Split) -> u64 {
        self.manifest.split(split).bytes
    }

    /// Documents of a split.
    pub fn documents(&self, split: Split) -> u64 {
        self.manifest.split(split).documents
    }

    /// Entropy of the token frequencies of the train split, nats per token.
    pub fn unigram_entropy(&self) -> f64 {
        self.manifest.statistics.unigram_entropy
    }

    /// Identifies tokens and split, in hex.
    pub fn fingerprint(&self) -> &str {
        &self.manifest.fingerprint
    }

    /// The copy of the tokenizer in the folder.
    pub fn tokenizer_path(&self) -> PathBuf {
        self.folder.join(manifest::TOKENIZER_FILE)
    }

    /// Number of ids; every token is below.
    pub fn vocabulary(&self) -> usize {
        self.manifest.tokenizer.vocabulary
    }

    /// (V) bytes of text in each token; 0 for special ones.
    pub fn token_bytes(&self) -> &[u16] {
        &self.unigrams.token_bytes
    }

    /// (V) how often each id occurs in the train split.
    pub fn token_counts(&self) -> &[u64] {
        &self.unigrams.counts
    }

    /// Refuses a model whose tokenizer, the content of its `tokenizer.json`, gives any id another text; `model` is that content and the
    /// model's place.
    ///
    /// # Errors
    /// The first id that the two spell differently; a tokenizer that does not load.
    pub fn agree(&self, model: (&[u8], &Path), remedy: &str) -> Result<(), DataError> {
        let ours = formats::bounded::read(&self.tokenizer_path(), text::limits::TOKENIZER_BYTES_MAX)?;
        same_ids((&ours, &self.folder), model, remedy)
    }

    pub(crate) fn stream(&self, split: Split) -> &Stream {
        &self.streams[split as usize]
    }
}

/// Refuses two tokenizers, the contents of `tokenizer.json` and whose they are, that give any id two texts.
///
/// # Errors
/// The first id that the two spell differently; a tokenizer that does not load.
pub fn same_ids(ours: (&[u8], &Path), theirs: (&[u8], &Path), remedy: &str) -> Result<(), DataError> {
    let load = |(json, whose): (&[u8], &Path)| {
        Tokenizer::from_bytes(json).map_err(|error| {
            DataError::content(whose, format!("its tokenizer does not load: {error}"), "give it a sound one")
        })
    };
    let tokenizers = [load(ours)?, load(theirs)?];
    let ids = tokenizers.iter().map(|tokenizer| tokenizer.vocabulary_size()).max().unwrap_or(0) as u32;
    let texts = |id: u32| tokenizers.each_ref().map(|tokenizer| tokenizer.id_to_token(id));
    let Some((id, [here, there])) = (0..ids).map(|id| (id, texts(id))).find(|(_, [a, b])| a != b) else {
        return Ok(());
    };
    let [here, there] = [here, there].map(|text| text.unwrap_or("nothing".into()));
    let what = format!(
        "its tokenizer is not that of {}: id {id} is '{here}' here and '{there}' there",
        theirs.1.display()
    );
    Err(DataError::content(ours.1, what, remedy))
}

fn open_split(folder: &Path, manifest: &Manifest, split: Split) -> Result<Stream, DataError> {
    let facts = manifest.split(split);
    let path = folder.join(manifest::FILE);
    let bad = |what: &str| DataError::damaged(&path, format!("its {} split {what}", split.name()));
    let plan = manifest.plan().ok_or_else(|| DataError::damaged(&path, "its fingerprint is no SHA-256"))?;
    let stream = Stream::open(folder, split, facts.shards, &plan)?;
    if stream.tokens() != facts.tokens || stream.documents() != facts.documents {
        return Err(bad("is not what the shards hold"));
    }
    if stream.vocabulary().is_some_and(|v| v != manifest.tokenizer.vocabulary as u64) {
        return Err(bad("has another vocabulary than the tokenizer"));
    }
    Ok(stream)
}
