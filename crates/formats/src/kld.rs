//! Log-probabilities as llama.cpp keeps them (`llama-perplexity --kl-divergence-base FILE`): read, never written.
//!
//! ```text
//! "_logits_"   context i32   vocabulary i32   chunks i32   ids i32 (chunks, context)
//! then for each chunk, after each id from place context/2 on but the last:
//!     step f32   lowest f32   codes u16 (vocabulary, made even)          ln p = lowest + step·code
//! ```
//!
//! What is more than [`DEPTH`] below a row's best is stored as that far below. In chunks after the first, llama.cpp reads the
//! token that begins a text in place of the first id, where the model has one, and does not write that down.

use crate::error::{FileError, Kind};
use crate::mapped::Mapped;
use std::path::Path;

/// How far below a row's best log-probability the others are told apart, nats.
pub const DEPTH: f32 = 16.0;

const MAGIC: &[u8; 8] = b"_logits_";
/// Bytes before the ids.
const HEADER_BYTES: usize = 20;
/// Longest context, and largest vocabulary, that a header may claim.
const NUMBER_MAX: usize = 1 << 24;
/// Most floats that are read: 1 GiB.
const FLOATS_MAX: usize = 1 << 28;

/// One stretch of text.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// what was read, without the last id, after which nothing is kept
    pub ids: Vec<u32>,
    /// (rows, V): ln p after each of the last ids
    pub rows: Vec<f32>,
}

/// Whether the file begins as these do.
pub fn is_one(path: &Path) -> bool {
    Mapped::open(path).is_ok_and(|bytes| bytes.starts_with(MAGIC))
}

/// V, and the first chunks: at most `chunks`, and no more than fit into 1 GiB.
///
/// # Errors
/// It is cut, or its numbers cannot be.
pub fn read(path: &Path, chunks: usize) -> Result<(usize, Vec<Chunk>), FileError> {
    let bytes = Mapped::open(path)?;
    parse(&bytes, chunks).map_err(|what| {
        let remedy = "write it again with llama-perplexity --kl-divergence-base";
        FileError::new(path, Kind::Damaged, what, remedy)
    })
}

fn parse(bytes: &[u8], wanted: usize) -> Result<(usize, Vec<Chunk>), String> {
    let header = bytes.get(..HEADER_BYTES).filter(|header| header.starts_with(MAGIC));
    let header = header.ok_or("it does not begin as llama.cpp's log-probabilities do")?;
    let numbers = header[MAGIC.len()..].as_chunks::<4>().0;
    let [context, vocabulary, chunks] = [0, 1, 2].map(|at| i32::from_le_bytes(numbers[at]));
    let within =
        |number: i32| usize::try_from(number).ok().filter(|number| (2..=NUMBER_MAX).contains(number));
    let (Some(context), Some(vocabulary), Ok(chunks)) =
        (within(context), within(vocabulary), usize::try_from(chunks))
    else {
        return Err(format!("it claims {chunks} chunks of {context} ids from a vocabulary of {vocabulary}"));
    };
    let rows = context - 1 - context / 2;
    if chunks == 0 || rows == 0 {
        return Err("it holds no log-probabilities".into());
    }
    let row_bytes = 8 + 2 * vocabulary.next_multiple_of(2);
    let ids_bytes = 4 * context * chunks;
    let taken = wanted.min(chunks).min((FLOATS_MAX / (rows * vocabulary)).max(1));
    let needed = HEADER_BYTES + ids_bytes + taken * rows * row_bytes;
    let cut =
        || format!("it is cut: {} bytes, and {taken} of its {chunks} chunks need {needed}", bytes.len());
    let body = bytes.get(HEADER_BYTES..needed).ok_or_else(cut)?;
    let (ids, body) = body.split_at(ids_bytes);
    let chunks = ids.chunks_exact(4 * context).zip(body.chunks_exact(rows * row_bytes));
    let chunk = |(ids, body): (&[u8], &[u8])| -> Result<Chunk, String> {
        let id = |bytes: &[u8; 4]| u32::try_from(i32::from_le_bytes(*bytes)).ok();
        let ids = ids.as_chunks::<4>().0[..context - 1].iter().map(id).collect::<Option<_>>();
        let mut rows = Vec::with_capacity(body.len() / row_bytes * vocabulary);
        body.chunks_exact(row_bytes).for_each(|row| rows.extend(values(row).take(vocabulary)));
        Ok(Chunk { ids: ids.ok_or("an id is negative")?, rows })
    };
    Ok((vocabulary, chunks.take(taken).map(chunk).collect::<Result<_, _>>()?))
}

/// ln p of a row of whole pairs of codes.
fn values(row: &[u8]) -> impl Iterator<Item = f32> {
    let (head, codes) = row.split_at(8);
    let floats = head.as_chunks::<4>().0;
    let [step, lowest] = [0, 1].map(|at| f32::from_le_bytes(floats[at]));
    codes.as_chunks::<2>().0.iter().map(move |code| lowest + step * f32::from(u16::from_le_bytes(*code)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;

    /// Two chunks of five ids, of which two rows each are kept, from three words.
    fn file() -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        [5i32, 3, 2].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        [0i32, 1, 2, 0, 1, 2, 1, 0, 2, 1].iter().for_each(|id| bytes.extend(id.to_le_bytes()));
        for row in 0..4u16 {
            [0.5f32, -20.0].iter().for_each(|value| bytes.extend(value.to_le_bytes()));
            [0, 10 + row, 40, 9].iter().for_each(|code: &u16| bytes.extend(code.to_le_bytes()));
        }
        bytes
    }

    #[test]
    fn ids_and_rows_are_where_llama_cpp_puts_them() {
        let (vocabulary, chunks) = parse(&file(), 9).unwrap();
        assert_eq!((vocabulary, chunks.len()), (3, 2));
        assert_eq!(chunks[0].ids, [0, 1, 2, 0]);
        assert_eq!(chunks[0].rows, [-20.0, -15.0, 0.0, -20.0, -14.5, 0.0]);
        assert_eq!(chunks[1].ids, [2, 1, 0, 2]);
        assert_eq!(chunks[1].rows[4], -13.5);
        assert_eq!(parse(&file(), 1).unwrap().1.len(), 1);
    }

    #[test]
    fn damaged_files_end_in_chunks_or_a_sentence() {
        let whole = file();
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut], 9).is_err(), "cut at {cut}");
        }
        hostile::run("kld", &[whole], |bytes| parse(bytes, 9).is_ok());
    }
}
