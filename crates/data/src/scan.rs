//! The first pass over the sources: which documents are there, which are duplicates, which are held out.

use crate::manifest::SourceShare;
use crate::prepare::{Phase, PrepareOptions, Progress};
use crate::{DataError, Split, source};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::path::PathBuf;

/// The first 128 bits of the SHA-256 of a document's text.
pub(crate) type Key = [u8; 16];

/// What becomes of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Keep(Split),
    /// Its text was there already.
    Drop,
    /// The only document there is: from this byte on it is validation text.
    Cut(usize),
}

/// One document as the first pass saw it. About 40 bytes each, with as many again while duplicates are looked up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) bytes: u64,
    pub(crate) fate: Fate,
}

/// What the second pass has to do.
#[derive(Debug)]
pub(crate) struct Plan {
    /// One per document, in the order of reading.
    pub(crate) entries: Vec<Entry>,
    pub(crate) sources: Vec<SourceShare>,
    pub(crate) duplicates: u64,
    pub(crate) warnings: Vec<String>,
}

/// The key of a document's text.
pub(crate) fn key(text: &str) -> Key {
    Sha256::digest(text)[..16].try_into().expect("SHA-256 has 32 bytes")
}

/// All paths to read: explicit validation sources first, so that a text that is in both is held out.
pub(crate) fn paths(options: &PrepareOptions) -> Vec<PathBuf> {
    options.valid.iter().chain(&options.inputs).cloned().collect()
}

impl Plan {
    /// Reads everything once.
    pub(crate) fn scan(options: &PrepareOptions, progress: &dyn Progress) -> Result<Self, DataError> {
        progress.begin(Phase::Scan, None);
        let paths = paths(options);
        let share = |path: &PathBuf| SourceShare {
            path: path.display().to_string(),
            documents: 0,
            bytes: 0,
            share: 0.0,
        };
        let mut plan = Self {
            entries: Vec::new(),
            sources: paths.iter().map(share).collect(),
            duplicates: 0,
            warnings: Vec::new(),
        };
        let mut seen = HashSet::new();
        // Kept in case there is no second one and it has to be cut.
        let mut first = None;
        for document in source::documents(&paths, &options.source)? {
            let document = document?;
            let (key, bytes) = (key(&document.text), document.text.len() as u64);
            let split = match document.source < options.valid.len() {
                true => Split::Valid,
                false => Split::Train,
            };
            let fate = match seen.insert(key) {
                true => Fate::Keep(split),
                false => Fate::Drop,
            };
            plan.entries.push(Entry { key, bytes, fate });
            progress.advance(1, bytes);
            if fate == Fate::Drop {
                plan.duplicates += 1;
                continue;
            }
            let source = &mut plan.sources[document.source];
            source.documents += 1;
            source.bytes += bytes;
            first = (seen.len() == 1).then_some(document.text);
        }
        plan.finish(options, first)?;
        Ok(plan)
    }

    fn finish(&mut self, options: &PrepareOptions, only: Option<String>) -> Result<(), DataError> {
        let total: u64 = self.sources.iter().map(|s| s.bytes).sum();
        for source in &mut self.sources {
            source.share = source.bytes as f64 / total as f64;
        }
        if options.valid.is_empty() && options.valid_share > 0.0 {
            match only {
                Some(text) => self.cut_only(&text, options)?,
                None => self.hold_out(options.valid_share, total),
            }
        }
        if self.bytes(Split::Train) == 0 {
            return Err(DataError::unfit(
                "no document is left for training: every input is in the validation sources too",
                "name different --input and --valid",
            ));
        }
        Ok(())
    }

    /// Holds out whole documents in the order of their hashes, which is as good as drawn by lot and does not change
    /// when the files are renamed or reordered, until they have `share` of the bytes. The first that does not fit ends
    /// it: to pass over it would hold out what is small rather than what is drawn.
    fn hold_out(&mut self, share: f64, total: u64) {
        let target = share * total as f64;
        let mut order: Vec<usize> =
            (0..self.entries.len()).filter(|&i| self.entries[i].fate != Fate::Drop).collect();
        order.sort_unstable_by_key(|&i| self.entries[i].key);
        let mut held = 0.0;
        for &index in &order {
            let bytes = self.entries[index].bytes as f64;
            // Farther from the target with it than without.
            if held + bytes / 2.0 > target {
                break;
            }
            self.entries[index].fate = Fate::Keep(Split::Valid);
            held += bytes;
        }
        if held == 0.0 {
            let smallest =
                order.iter().copied().min_by_key(|&i| (self.entries[i].bytes, self.entries[i].key));
            let smallest = smallest.expect("at least two documents");
            self.entries[smallest].fate = Fate::Keep(Split::Valid);
            held = self.entries[smallest].bytes as f64;
        }
        let got = held / total as f64;
        if got > 2.0 * share || got < share / 2.0 {
            self.warnings.push(format!(
                "validation holds {:.1} % of the bytes instead of {:.1} %, because whole documents are held out and \
                 there are only {}",
                got * 100.0,
                share * 100.0,
                order.len()
            ));
        }
    }

    /// A corpus of one document gives its end to validation, from a paragraph, line or word on.
    fn cut_only(&mut self, text: &str, options: &PrepareOptions) -> Result<(), DataError> {
        let wish = text.floor_char_boundary((text.len() as f64 * (1.0 - options.valid_share)) as usize);
        let after = |mark: &str| text[..wish].rfind(mark).map(|at| at + mark.len());
        // A paragraph, line or word that begins far before the wished place would give validation too much.
        let near = |at: &usize| *at > 0 && wish - at <= (text.len() - wish) / 2 + 1;
        let cut = after("\n\n")
            .filter(near)
            .or_else(|| after("\n").filter(near))
            .or_else(|| after(" ").filter(near))
            .unwrap_or(wish);
        if text[..cut].trim().is_empty() || text[cut..].trim().is_empty() {
            return Err(DataError::unfit(
                format!("the only document has {} bytes, too few to hold some out", text.len()),
                "add text, or give --valid-share 0",
            ));
        }
        let only = self.entries.iter_mut().find(|e| e.fate != Fate::Drop).expect("one document");
        only.fate = Fate::Cut(cut);
        self.warnings.push(format!(
            "there is only one document: its last {} bytes are the validation text; part it by {} if it is several",
            text.len() - cut,
            match options.source.separator.as_str() {
                "" => "lines of a --separator".to_owned(),
                separator => format!("'{separator}' lines"),
            }
        ));
        Ok(())
    }

    /// Bytes of text in a split.
    pub(crate) fn bytes(&self, split: Split) -> u64 {
        self.entries.iter().map(|e| e.part(split).unwrap_or(0)).sum()
    }

    /// Documents in a split.
    pub(crate) fn documents(&self, split: Split) -> u64 {
        self.entries.iter().filter(|e| e.part(split).is_some()).count() as u64
    }

    /// Identifies the tokens that come of this plan: SHA-256 over `context` and all kept documents with their split.
    pub(crate) fn fingerprint(&self, context: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update((context.len() as u64).to_le_bytes());
        hash.update(context);
        for entry in &self.entries {
            let code = match entry.fate {
                Fate::Keep(Split::Train) => 0,
                Fate::Keep(Split::Valid) => 1,
                Fate::Drop => continue,
                Fate::Cut(at) => at as u64 + 2,
            };
            hash.update(entry.key);
            hash.update(code.to_le_bytes());
        }
        hash.finalize().into()
    }
}

impl Entry {
    /// How many of its bytes a split gets; `None` where it gets no document.
    fn part(&self, split: Split) -> Option<u64> {
        match (self.fate, split) {
            (Fate::Keep(own), _) if own == split => Some(self.bytes),
            (Fate::Cut(at), Split::Train) => Some(at as u64),
            (Fate::Cut(at), Split::Valid) => Some(self.bytes - at as u64),
            _ => None,
        }
    }
}
