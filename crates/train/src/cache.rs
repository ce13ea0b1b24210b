//! A folder of what teachers think likely: for each slice of tokens the K likeliest next tokens with their logits, as one
//! compressed file under the hash of the teacher and the tokens. Runs that read the same windows use it instead of the teacher.
//!
//! ```text
//! zstd of:  "TRILTOPK"  u32 rows  u32 K   (rows, K) of u32 id, little-endian   (rows, K) of f16 logit
//! ```

use crate::TrainError;
use crate::loss::logits::Candidate;
use crate::step::MicroBatch;
use checkpoint::Loaded;
use data::IGNORE;
use formats::{FileError, atomic, bounded};
use half::f16;
use model::Layout;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"TRILTOPK";
const HEADER: usize = 16;
/// Of a candidate: its id and its logit.
const BYTES: usize = 6;
const LEVEL: i32 = 3;

/// The folder.
pub(crate) struct Cache {
    folder: PathBuf,
    k: usize,
    /// what every name begins with
    teacher: Sha256,
    /// V
    vocabulary: usize,
    bytes: Vec<u8>,
}

impl Cache {
    /// Opens the folder, which is made where it is not there, for what `teacher` says.
    pub(crate) fn open(folder: &Path, k: usize, teacher: &Loaded) -> Result<Self, TrainError> {
        std::fs::create_dir_all(folder).map_err(|error| FileError::io(folder, "create", &error))?;
        let vocabulary = teacher.config().vocabulary;
        Ok(Self { folder: folder.to_owned(), k, teacher: mark(teacher)?, vocabulary, bytes: Vec::new() })
    }

    /// Fills `candidates (T, K)` if the slice is there and sound.
    pub(crate) fn find(&mut self, slice: MicroBatch, candidates: &mut [Candidate]) -> bool {
        let path = self.path(slice);
        if !path.is_file() {
            return false;
        }
        // What cannot be read is made again.
        self.load(&path, slice.tokens.len(), candidates).unwrap_or(false)
    }

    fn load(&mut self, path: &Path, rows: usize, candidates: &mut [Candidate]) -> Result<bool, FileError> {
        let length = HEADER + rows * self.k * BYTES;
        let failed = |error: std::io::Error| FileError::io(path, "read", &error);
        let packed = bounded::read(path, 2 * length as u64 + 1024)?;
        let decoder = zstd::Decoder::new(&packed[..]).map_err(failed)?;
        self.bytes.clear();
        decoder.take(length as u64 + 1).read_to_end(&mut self.bytes).map_err(failed)?;
        let header =
            [MAGIC.as_slice(), &(rows as u32).to_le_bytes(), &(self.k as u32).to_le_bytes()].concat();
        if self.bytes.len() != length || self.bytes[..HEADER] != header {
            return Ok(false);
        }
        let (ids, values) = self.bytes[HEADER..].split_at(4 * rows * self.k);
        for ((candidate, id), value) in
            candidates.iter_mut().zip(ids.chunks_exact(4)).zip(values.chunks_exact(2))
        {
            candidate.id = u32::from_le_bytes(id.try_into().expect("four bytes"));
            candidate.value = f16::from_le_bytes(value.try_into().expect("two bytes")).to_f32();
        }
        let sound =
            |candidate: &Candidate| (candidate.id as usize) < self.vocabulary && candidate.value.is_finite();
        Ok(candidates.iter().all(sound))
    }

    /// Keeps the candidates of a slice.
    pub(crate) fn keep(&mut self, slice: MicroBatch, candidates: &[Candidate]) -> Result<(), FileError> {
        self.bytes.clear();
        self.bytes.extend_from_slice(MAGIC);
        self.bytes.extend_from_slice(&(slice.tokens.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&(self.k as u32).to_le_bytes());
        self.bytes.extend(candidates.iter().flat_map(|candidate| candidate.id.to_le_bytes()));
        self.bytes
            .extend(candidates.iter().flat_map(|candidate| f16::from_f32(candidate.value).to_le_bytes()));
        let path = self.path(slice);
        let packed =
            zstd::encode_all(&self.bytes[..], LEVEL).map_err(|error| FileError::io(&path, "pack", &error))?;
        atomic::write_bytes(&path, &packed)
    }

    /// Where the candidates after these tokens are.
    fn path(&self, slice: MicroBatch) -> PathBuf {
        let mut hash = self.teacher.clone();
        for ids in [slice.tokens, slice.starts] {
            hash.update(bytemuck::cast_slice::<u32, u8>(ids));
        }
        // Candidates are chosen where a target is scored.
        let scored: Vec<u8> = slice.targets.iter().map(|target| u8::from(*target != IGNORE)).collect();
        hash.update(scored);
        let name: String = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{name}.top{}.zst", self.k))
    }
}

/// What tells a teacher from others without reading all of it: its network, and the first row of each of its tensors.
fn mark(teacher: &Loaded) -> Result<Sha256, FileError> {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(teacher.config()).expect("plain data becomes JSON"));
    for named in Layout::new(teacher.config()).tensors() {
        let mut row = vec![0.0f32; named.slot.cols];
        teacher.source.read(&named.name, 0..1, &mut row)?;
        hash.update(bytemuck::cast_slice::<f32, u8>(&row));
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_what_was_kept_for_the_same_scored_positions() {
        let folder = testkit::temp_dir();
        let mut cache = Cache {
            folder: folder.path().to_owned(),
            k: 2,
            teacher: Sha256::new(),
            vocabulary: 10,
            bytes: Vec::new(),
        };
        let slice = MicroBatch { tokens: &[1, 2], targets: &[2, IGNORE], starts: &[0, 0] };
        let candidate = |id, value| Candidate { id, value, gradient: 0.0 };
        let mut kept = [candidate(9, 1.5), candidate(0, -2.0), candidate(3, 0.25), candidate(4, 0.0)];
        cache.keep(slice, &kept).unwrap();
        let mut found = [candidate(0, 0.0); 4];
        assert!(cache.find(slice, &mut found));
        assert!(found.iter().zip(&kept).all(|(a, b)| (a.id, a.value) == (b.id, b.value)));
        let others = MicroBatch { targets: &[2, 5], ..slice };
        assert!(!cache.find(others, &mut found), "other positions are scored");
        cache.vocabulary = 9;
        assert!(!cache.find(slice, &mut found), "an id that the network has not");
        cache.vocabulary = 10;
        kept[1].value = f32::NAN;
        cache.keep(slice, &kept).unwrap();
        assert!(!cache.find(slice, &mut found), "a value that is no number");
    }
}
