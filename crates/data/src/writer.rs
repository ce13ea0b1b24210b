//! Writes the token stream of one split as shards, and goes on after the last good one.

use crate::shard::{self, HEADER_BYTES, Header, OFFSET_BYTES, Shard};
use crate::{DataError, Split};
use std::path::{Path, PathBuf};

/// What all shards of a data set share.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) folder: PathBuf,
    /// Number of ids.
    pub(crate) vocabulary: usize,
    /// Identifies the data set.
    pub(crate) plan: [u8; 32],
    /// Largest shard file.
    pub(crate) shard_bytes: usize,
}

impl Layout {
    fn token_bytes(&self) -> usize {
        match self.vocabulary <= 1 << 16 {
            true => 2,
            false => 4,
        }
    }
}

/// The stream of one split. Memory: one shard.
pub(crate) struct Writer<'a> {
    layout: &'a Layout,
    split: Split,
    /// Of the shard under way.
    index: usize,
    first_token: u64,
    first_document: u64,
    tokens: Vec<u8>,
    offsets: Vec<u32>,
    /// The next token begins a document.
    begins: bool,
    /// Tokens still to come that finished shards hold already.
    skip: u64,
    /// The first document that is not wholly in finished shards; those before need not come again.
    resume_document: u64,
}

impl<'a> Writer<'a> {
    /// Looks for finished shards of this plan and goes on behind them.
    ///
    /// # Errors
    /// A shard of another data set in the folder. (A damaged one is written again.)
    pub(crate) fn open(layout: &'a Layout, split: Split) -> Result<Self, DataError> {
        let mut writer = Self {
            layout,
            split,
            index: 0,
            first_token: 0,
            first_document: 0,
            tokens: Vec::new(),
            offsets: Vec::new(),
            begins: false,
            skip: 0,
            resume_document: 0,
        };
        // Where in the split the last document begins that begins in a finished shard.
        let mut last_begin = 0;
        loop {
            let path = shard::path(&layout.folder, split, writer.index);
            if !path.exists() {
                break;
            }
            let Ok(found) = Shard::open(&path) else {
                break;
            };
            writer.check(&found.header, &path)?;
            if let Some(offset) = found.document_starts(0).last() {
                last_begin = writer.first_token + offset as u64;
            }
            writer.first_token += found.header.tokens;
            writer.first_document += found.header.documents;
            writer.index += 1;
        }
        // The last document may go on in the next shard, so it comes again, without its part that is there.
        writer.resume_document = writer.first_document.saturating_sub(1);
        writer.skip = writer.first_token - last_begin;
        Ok(writer)
    }

    fn check(&self, found: &Header, path: &Path) -> Result<(), DataError> {
        if found.plan != self.layout.plan {
            return Err(DataError::content(
                path,
                "it belongs to another data set (other sources, options or tokenizer), begun in the same folder",
                "choose another --out, or remove the folder",
            ));
        }
        if found.first_token != self.first_token || found.first_document != self.first_document {
            return Err(DataError::damaged(path, "it does not continue the shard before it"));
        }
        Ok(())
    }

    /// Shards finished so far.
    pub(crate) fn shards(&self) -> usize {
        self.index
    }

    /// Documents of the split that need not be pushed.
    pub(crate) fn resume_document(&self) -> u64 {
        self.resume_document
    }

    /// Appends one document and its end-of-text token; writes each shard that becomes full.
    pub(crate) fn push(&mut self, ids: &[u32], end_of_text: u32) -> Result<(), DataError> {
        self.begins = true;
        for &id in ids.iter().chain([&end_of_text]) {
            if self.skip > 0 {
                self.skip -= 1;
                self.begins = false;
                continue;
            }
            self.push_token(id)?;
        }
        Ok(())
    }

    fn push_token(&mut self, id: u32) -> Result<(), DataError> {
        let width = self.layout.token_bytes();
        let offsets = self.offsets.len() + usize::from(self.begins);
        if HEADER_BYTES + self.tokens.len() + width + offsets * OFFSET_BYTES > self.layout.shard_bytes {
            self.write_shard()?;
        }
        if id as usize >= self.layout.vocabulary {
            return Err(DataError::unfit(
                format!(
                    "the tokenizer gives token id {id}, beyond its vocabulary of {}",
                    self.layout.vocabulary
                ),
                "repair tokenizer.json",
            ));
        }
        if std::mem::take(&mut self.begins) {
            self.offsets.push((self.tokens.len() / width) as u32);
        }
        self.tokens.extend(&id.to_le_bytes()[..width]);
        Ok(())
    }

    /// Writes what is left; the number of shards.
    pub(crate) fn finish(&mut self) -> Result<usize, DataError> {
        if !self.tokens.is_empty() {
            self.write_shard()?;
        }
        Ok(self.index)
    }

    fn write_shard(&mut self) -> Result<(), DataError> {
        let header = Header {
            token_bytes: self.layout.token_bytes(),
            vocabulary: self.layout.vocabulary as u64,
            tokens: (self.tokens.len() / self.layout.token_bytes()) as u64,
            documents: self.offsets.len() as u64,
            first_token: self.first_token,
            first_document: self.first_document,
            plan: self.layout.plan,
        };
        assert!(header.tokens > 0, "a shard has room for one token and one offset");
        let offsets: Vec<u8> = self.offsets.iter().flat_map(|o| o.to_le_bytes()).collect();
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.tokens);
        crc.update(&offsets);
        let head = header.to_bytes(crc.finalize());
        let path = shard::path(&self.layout.folder, self.split, self.index);
        formats::atomic::write(&path, |out| {
            out.write_all(&head)?;
            out.write_all(&self.tokens)?;
            out.write_all(&offsets)
        })?;
        self.first_token += header.tokens;
        self.first_document += header.documents;
        self.index += 1;
        self.tokens.clear();
        self.offsets.clear();
        Ok(())
    }
}
