//! What a model is compared with: another form of it, or logits that another engine dumped.

use crate::keys;
use checkpoint::{Loaded, OpenOptions};
use formats::{FileError, Kind, bounded, kld, npy};
use serde_json::Value;
use std::path::Path;

/// See the module.
pub enum Reference {
    /// another model, of any dialect
    Model(Box<Loaded>),
    /// dumped logits
    Dumped(Vec<Dump>),
}

/// What another engine says after some ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dump {
    /// what it read
    pub ids: Vec<u32>,
    /// (rows, V): after the last ids; all of them, or only one
    pub logits: Vec<f32>,
    /// V
    pub vocabulary: usize,
    /// (L, H): the stream of the last position after each layer, where it was dumped
    pub hidden: Vec<Vec<f32>>,
    /// whether the logits are llama.cpp's log-probabilities, cut off [`kld::DEPTH`] below a row's best
    pub is_cut: bool,
}

/// Stretches of text that are read of llama.cpp's log-probabilities.
const CHUNKS_MAX: usize = 2;

/// Longest file of lines, bytes.
const LINES_BYTES_MAX: u64 = 1 << 31;

/// Opens what `path` is: `.npy` of shape (V) or (T, V), whose ids are `ids`; `.jsonl` with a line
/// `{"ids": [...], "logits": [[...]] or [...], "hidden": [[...]]}` for each prompt; what llama-perplexity writes with
/// `--kl-divergence-base`; or a model.
///
/// # Errors
/// It is none of these, or its shapes do not belong together.
pub fn open(path: &Path, ids: Option<&[u32]>, options: &OpenOptions) -> Result<Reference, FileError> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("npy") => array(path, ids).map(|dump| Reference::Dumped(vec![dump])),
        Some("jsonl") => lines(path).map(Reference::Dumped),
        _ if kld::is_one(path) => log_probabilities(path).map(Reference::Dumped),
        _ => checkpoint::open_with(path, options).map(|model| Reference::Model(Box::new(model))),
    }
}

fn array(path: &Path, ids: Option<&[u32]>) -> Result<Dump, FileError> {
    let unfit = |what: &str, remedy: &str| Err(FileError::new(path, Kind::Unfit, what, remedy));
    let Some(ids) = ids.filter(|ids| !ids.is_empty()) else {
        return unfit("logits do not say after which ids they were dumped", "give them with --ids 1,2,3");
    };
    let (shape, logits) = npy::read_f32(path)?;
    let vocabulary = shape.last().copied().unwrap_or(0);
    let rows = logits.len().checked_div(vocabulary).unwrap_or(0);
    match vocabulary > 1 && (rows == 1 || rows == ids.len()) {
        true => Ok(Dump { ids: ids.to_vec(), logits, vocabulary, ..Dump::default() }),
        false => unfit(
            "its shape is neither (V) nor (T, V) for these ids",
            "dump the logits again, or check --ids",
        ),
    }
}

fn log_probabilities(path: &Path) -> Result<Vec<Dump>, FileError> {
    let (vocabulary, chunks) = kld::read(path, CHUNKS_MAX)?;
    let dump = |chunk: kld::Chunk| Dump {
        ids: chunk.ids,
        logits: chunk.rows,
        vocabulary,
        is_cut: true,
        ..Dump::default()
    };
    Ok(chunks.into_iter().map(dump).collect())
}

fn lines(path: &Path) -> Result<Vec<Dump>, FileError> {
    let text = bounded::read_text(path, LINES_BYTES_MAX)?;
    let dump = |(number, line): (usize, &str)| {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        parse(&value).ok_or_else(|| {
            let what = format!("line {} has no \"ids\" with \"logits\" that belong to them", number + 1);
            FileError::damaged(path, what, "write {\"ids\": [...], \"logits\": [[...], …]} a line")
        })
    };
    let dumps = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(dump)
        .collect::<Result<Vec<_>, _>>()?;
    match dumps.is_empty() {
        false => Ok(dumps),
        true => Err(FileError::damaged(path, "it has no lines", "dump the logits again")),
    }
}

fn parse(value: &Value) -> Option<Dump> {
    let ids = value.get("ids")?.as_array()?;
    let ids =
        ids.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect::<Option<Vec<_>>>()?;
    let row = |value: &Value| -> Option<Vec<f32>> {
        value.as_array()?.iter().map(|x| keys::number(x).map(|x| x as f32)).collect()
    };
    let table = |value: &Value| -> Option<Vec<Vec<f32>>> { value.as_array()?.iter().map(row).collect() };
    let logits = value.get("logits")?;
    let rows = table(logits).or_else(|| Some(vec![row(logits)?]))?;
    let vocabulary = rows.first()?.len();
    let fits = !ids.is_empty() && vocabulary > 1 && (rows.len() == 1 || rows.len() == ids.len());
    let hidden = value.get("hidden").and_then(table).unwrap_or_default();
    (fits && rows.iter().all(|row| row.len() == vocabulary)).then(|| Dump {
        ids,
        logits: rows.concat(),
        vocabulary,
        hidden,
        is_cut: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_text(text: &str) -> Result<Vec<Dump>, FileError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, text).unwrap();
        lines(&path)
    }

    #[test]
    fn rows_for_all_ids_or_for_the_last_are_read() {
        let dumps = open_text(
            "{\"ids\": [1, 2], \"logits\": [[0.5, 1], [2, 3]]}\n\n{\"ids\": [1, 2], \"logits\": [4, 5, 6]}\n",
        )
        .unwrap();
        assert_eq!((dumps[0].vocabulary, dumps[1].vocabulary), (2, 3));
        assert_eq!(dumps[0].logits, [0.5, 1.0, 2.0, 3.0]);
        for sick in [
            "",
            "{}",
            "{\"ids\": [1], \"logits\": [[1, 2], [3]]}",
            "{\"ids\": [-1], \"logits\": [1, 2]}",
            "x",
        ] {
            assert!(open_text(sick).is_err(), "{sick}");
        }
    }

    #[test]
    fn an_array_needs_its_ids() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        npy::write_f32(&path, &[2, 3], &[0.0; 6]).unwrap();
        assert!(array(&path, None).unwrap_err().to_string().contains("--ids"));
        assert!(array(&path, Some(&[1, 2, 3])).unwrap_err().to_string().contains("neither"));
        assert_eq!(array(&path, Some(&[1, 2])).unwrap().vocabulary, 3);
    }
}
