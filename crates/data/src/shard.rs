//! One file of a data set: a header, tokens, and where documents begin. Little-endian.
//!
//! ```text
//!   0  magic "TRILSHRD"          8      56  plan: which data set this is a part of   32
//!   8  version                 u32      88  zeros                                    32
//!  12  bytes per token (2, 4)  u32     120  CRC-32 of all that follows the header   u32
//!  16  vocabulary              u64     124  CRC-32 of the bytes 0..124              u32
//!  24  tokens                  u64     128  tokens            (tokens, bytes per token)
//!  32  documents               u64       .  document offsets  (documents, 4)
//!  40  first token             u64
//!  48  first document          u64
//! ```
//! A split is one stream of tokens, cut into shards wherever one is full; a document may span several. `first token`
//! and `first document` count what stands in the shards before. A document offset is the index within this shard of a
//! document's first token, so a shard that only continues a document has none.

use crate::{DataError, Split};
use formats::mapped::Mapped;
use rayon::prelude::*;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"TRILSHRD";
const VERSION: u32 = 1;
const ZEROS: [u8; 32] = [0; 32];
/// Length of the header.
pub const HEADER_BYTES: usize = 128;
/// Bytes of one document offset.
pub const OFFSET_BYTES: usize = 4;

/// What a shard says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// 2 where every id fits, else 4.
    pub token_bytes: usize,
    /// Every id is below.
    pub vocabulary: u64,
    /// In this shard.
    pub tokens: u64,
    /// That begin in this shard.
    pub documents: u64,
    /// Tokens of the split in the shards before.
    pub first_token: u64,
    /// Documents that begin in the shards before.
    pub first_document: u64,
    /// Identifies the data set.
    pub plan: [u8; 32],
}

impl Header {
    /// The header's bytes for a payload with this checksum.
    pub fn to_bytes(&self, payload_crc: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.token_bytes as u32).to_le_bytes());
        for number in [self.vocabulary, self.tokens, self.documents, self.first_token, self.first_document] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.plan);
        bytes.extend(ZEROS);
        bytes.extend(payload_crc.to_le_bytes());
        let header_crc = crc32fast::hash(&bytes);
        bytes.extend(header_crc.to_le_bytes());
        assert_eq!(bytes.len(), HEADER_BYTES);
        bytes
    }

    /// Reads and checks a header; the checksum of the payload beside it. The error says what is wrong.
    fn parse(bytes: &[u8]) -> Result<(Self, u32), String> {
        if bytes.len() < HEADER_BYTES {
            return Err(format!("it is cut short: {} bytes are less than a header", bytes.len()));
        }
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if &bytes[..8] != MAGIC {
            return Err("it is no token shard".into());
        }
        if u32_at(124) != crc32fast::hash(&bytes[..124]) {
            return Err("its header is damaged (checksum)".into());
        }
        if u32_at(8) != VERSION {
            return Err(format!("it is of version {}, this program reads {VERSION}", u32_at(8)));
        }
        let header = Self {
            token_bytes: u32_at(12) as usize,
            vocabulary: u64_at(16),
            tokens: u64_at(24),
            documents: u64_at(32),
            first_token: u64_at(40),
            first_document: u64_at(48),
            plan: bytes[56..88].try_into().expect("32 bytes"),
        };
        if !matches!(header.token_bytes, 2 | 4) || bytes[88..120] != ZEROS {
            return Err("its header contradicts itself".into());
        }
        Ok((header, u32_at(120)))
    }

    /// Length of the whole file; `None` beyond u64.
    fn file_bytes(&self) -> Option<u64> {
        let tokens = self.tokens.checked_mul(self.token_bytes as u64)?;
        let offsets = self.documents.checked_mul(OFFSET_BYTES as u64)?;
        tokens.checked_add(offsets)?.checked_add(HEADER_BYTES as u64)
    }
}

/// Where shard `index` of a split is.
pub fn path(folder: &Path, split: Split, index: usize) -> PathBuf {
    folder.join(format!("{}-{index:05}.bin", split.name()))
}

/// Whether a file of this name is a shard of some split.
pub(crate) fn is_name(name: &str) -> bool {
    let index = |split: &Split| name.strip_prefix(split.name())?.strip_prefix('-')?.strip_suffix(".bin");
    Split::ALL.iter().filter_map(index).any(|index| index.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A shard, mapped and verified.
#[derive(Debug)]
pub struct Shard {
    /// What it says of itself.
    pub header: Header,
    map: Mapped,
}

impl Shard {
    /// Maps `path` and checks all of it: header, length, checksums, ids, offsets.
    ///
    /// # Errors
    /// A missing file, or the first thing that is wrong with it.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let map = Mapped::open(path)?;
        let header = Self::check(&map).map_err(|what| DataError::damaged(path, what))?;
        Ok(Self { header, map })
    }

    fn check(bytes: &[u8]) -> Result<Header, String> {
        let (header, payload_crc) = Header::parse(bytes)?;
        match header.file_bytes() {
            Some(expected) if expected == bytes.len() as u64 => {}
            Some(expected) if expected > bytes.len() as u64 => {
                return Err(format!("it is cut short: {} of {expected} bytes", bytes.len()));
            }
            _ => return Err(format!("its length, {} bytes, is not what its header says", bytes.len())),
        }
        if crc32fast::hash(&bytes[HEADER_BYTES..]) != payload_crc {
            return Err("its content is damaged (checksum)".into());
        }
        let (tokens, offsets) = bytes[HEADER_BYTES..].split_at(header.tokens as usize * header.token_bytes);
        if let Some(id) = largest_id(tokens, header.token_bytes).filter(|&id| id >= header.vocabulary) {
            return Err(format!("token id {id} is beyond the vocabulary of {}", header.vocabulary));
        }
        let mut before = None;
        for offset in offsets.chunks_exact(OFFSET_BYTES) {
            let offset = u32::from_le_bytes(offset.try_into().expect("four bytes"));
            if before >= Some(offset) || u64::from(offset) >= header.tokens {
                return Err(format!("document offset {offset} is out of order or beyond the tokens"));
            }
            before = Some(offset);
        }
        Ok(header)
    }

    /// Tokens in this shard.
    pub fn len(&self) -> usize {
        self.header.tokens as usize
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the tokens from `at` on into `out`; the range must lie inside.
    pub fn read(&self, at: usize, out: &mut [u32]) {
        let width = self.header.token_bytes;
        let bytes = &self.tokens()[at * width..(at + out.len()) * width];
        match width {
            2 => {
                for (out, id) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *out = u32::from(u16::from_le_bytes([id[0], id[1]]));
                }
            }
            _ => {
                for (out, id) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                    *out = u32::from_le_bytes([id[0], id[1], id[2], id[3]]);
                }
            }
        }
    }

    /// Indices of the first tokens of the documents that begin at `from` or later, ascending.
    pub fn document_starts(&self, from: usize) -> impl Iterator<Item = usize> {
        let (mut low, mut high) = (0, self.header.documents as usize);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.offset(middle) < from {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        (low..self.header.documents as usize).map(|document| self.offset(document))
    }

    fn tokens(&self) -> &[u8] {
        &self.map[HEADER_BYTES..HEADER_BYTES + self.len() * self.header.token_bytes]
    }

    fn offset(&self, document: usize) -> usize {
        let at = HEADER_BYTES + self.len() * self.header.token_bytes + document * OFFSET_BYTES;
        u32::from_le_bytes(self.map[at..at + OFFSET_BYTES].try_into().expect("four bytes")) as usize
    }
}

/// The token stream of one split: its shards one after another.
#[derive(Debug)]
pub struct Stream {
    shards: Vec<Shard>,
}

impl Stream {
    /// Opens and checks `count` shards of the data set that `plan` identifies.
    ///
    /// # Errors
    /// A missing or bad shard, or one that belongs elsewhere.
    pub fn open(folder: &Path, split: Split, count: usize, plan: &[u8; 32]) -> Result<Self, DataError> {
        let open = |index| Shard::open(&path(folder, split, index));
        let shards = (0..count).into_par_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let (mut tokens, mut documents) = (0, 0);
        for (index, Shard { header, .. }) in shards.iter().enumerate() {
            if header.plan != *plan || header.first_token != tokens || header.first_document != documents {
                let what = "it belongs to another data set or another place in this one";
                return Err(DataError::damaged(&path(folder, split, index), what));
            }
            tokens += header.tokens;
            documents += header.documents;
        }
        Ok(Self { shards })
    }

    /// In all shards.
    pub fn tokens(&self) -> u64 {
        self.shards.last().map_or(0, |s| s.header.first_token + s.header.tokens)
    }

    /// In all shards.
    pub fn documents(&self) -> u64 {
        self.shards.last().map_or(0, |s| s.header.first_document + s.header.documents)
    }

    /// Every id is below; `None` where there is no shard.
    pub fn vocabulary(&self) -> Option<u64> {
        self.shards.iter().map(|s| s.header.vocabulary).max()
    }

    /// Copies the tokens from `at` on into `out`; the range must lie inside.
    pub fn read(&self, at: u64, out: &mut [u32]) {
        assert!(at + out.len() as u64 <= self.tokens(), "a read beyond the end of the tokens");
        let mut done = 0;
        for shard in &self.shards[self.shard_of(at)..] {
            if done == out.len() {
                break;
            }
            let from = (at + done as u64 - shard.header.first_token) as usize;
            let len = (shard.len() - from).min(out.len() - done);
            shard.read(from, &mut out[done..done + len]);
            done += len;
        }
    }

    /// Where documents begin in the range `from..to`, ascending.
    pub fn document_starts(&self, from: u64, to: u64) -> impl Iterator<Item = u64> {
        let first = self.shard_of(from).min(self.shards.len());
        let reaches = move |shard: &&Shard| shard.header.first_token < to;
        self.shards[first..].iter().take_while(reaches).flat_map(move |shard| {
            let begin = shard.header.first_token;
            let starts = shard.document_starts(from.saturating_sub(begin) as usize);
            starts.map(move |at| begin + at as u64).take_while(move |&at| at < to)
        })
    }

    /// Index of the shard that holds token `at`.
    fn shard_of(&self, at: u64) -> usize {
        self.shards.partition_point(|s| s.header.first_token + s.header.tokens <= at)
    }
}

fn largest_id(tokens: &[u8], width: usize) -> Option<u64> {
    match width {
        2 => tokens.chunks_exact(2).map(|id| u16::from_le_bytes([id[0], id[1]]).into()).max(),
        _ => tokens.chunks_exact(4).map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]]).into()).max(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes_of(header: &Header, ids: &[u32], offsets: &[u32]) -> Vec<u8> {
        let mut payload = Vec::new();
        for id in ids {
            payload.extend(&id.to_le_bytes()[..header.token_bytes]);
        }
        payload.extend(offsets.iter().flat_map(|o| o.to_le_bytes()));
        let mut bytes = header.to_bytes(crc32fast::hash(&payload));
        bytes.extend(payload);
        bytes
    }

    fn header(token_bytes: usize, tokens: usize, documents: usize) -> Header {
        Header {
            token_bytes,
            vocabulary: 300,
            tokens: tokens as u64,
            documents: documents as u64,
            first_token: 5,
            first_document: 1,
            plan: [7; 32],
        }
    }

    fn sentence(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), Split::Train, 0);
        std::fs::write(&path, bytes).unwrap();
        Shard::open(&path).expect_err("a bad shard").to_string()
    }

    #[test]
    fn reads_back_both_widths() {
        for width in [2, 4] {
            let folder = tempfile::tempdir().unwrap();
            let path = path(folder.path(), Split::Valid, 3);
            assert!(path.ends_with("valid-00003.bin"));
            let ids = [1, 2, 299, 4, 5, 0];
            std::fs::write(&path, bytes_of(&header(width, 6, 2), &ids, &[1, 4])).unwrap();
            let shard = Shard::open(&path).unwrap();
            let mut out = [0; 4];
            shard.read(2, &mut out);
            assert_eq!(out, ids[2..]);
            assert_eq!(shard.document_starts(0).collect::<Vec<_>>(), [1, 4]);
            assert_eq!(shard.document_starts(2).collect::<Vec<_>>(), [4]);
            assert_eq!(shard.document_starts(4).collect::<Vec<_>>(), [4]);
            assert_eq!(shard.document_starts(5).count(), 0);
        }
    }

    #[test]
    fn a_shard_cut_at_any_byte_is_refused() {
        let whole = bytes_of(&header(2, 6, 2), &[1, 2, 3, 4, 5, 0], &[1, 4]);
        for length in 0..whole.len() {
            assert!(sentence(&whole[..length]).contains("cut short"), "{length}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(sentence(&longer).contains("not what its header says"));
    }

    #[test]
    fn a_flipped_bit_is_found_anywhere() {
        let whole = bytes_of(&header(2, 6, 2), &[1, 2, 3, 4, 5, 0], &[1, 4]);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!sentence(&bytes).is_empty());
        }
    }

    #[test]
    fn lies_with_right_checksums_are_found() {
        let bad = |ids: &[u32], offsets: &[u32]| {
            sentence(&bytes_of(&header(2, ids.len(), offsets.len()), ids, offsets))
        };
        assert!(bad(&[1, 300], &[0]).contains("token id 300 is beyond the vocabulary of 300"));
        assert!(bad(&[1, 2], &[1, 1]).contains("out of order"));
        assert!(bad(&[1, 2], &[0, 2]).contains("beyond the tokens"));
        let huge = Header { tokens: u64::MAX / 2 + 1, ..header(4, 0, 0) };
        assert!(sentence(&bytes_of(&huge, &[], &[])).contains("not what its header says"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_with_a_sentence(tail in prop::collection::vec(any::<u8>(), 0..300), honest: bool) {
            let mut bytes = if honest { header(2, 6, 2).to_bytes(0) } else { MAGIC.to_vec() };
            bytes.extend(tail);
            prop_assert!(Shard::check(&bytes).is_err());
        }
    }
}
