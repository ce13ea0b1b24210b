//! A tokenizer, files, and prepared folders.

use data::{DataError, PrepareOptions, Summary};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tempfile::TempDir;

/// A byte-level tokenizer of 400 ids, as the bytes of its file.
pub static TOKENIZER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let options = text::bpe::TrainOptions { vocabulary: 400, ..Default::default() };
    text::bpe::train(data::generated::corpus(1, 500), &options).expect("a tokenizer")
});

/// A folder with the tokenizer in it.
pub struct Place {
    pub folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        place.file("tokenizer.json", &*TOKENIZER);
        place
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        std::fs::write(self.at(name), bytes).unwrap();
        self.at(name)
    }

    /// A text file of these documents.
    pub fn documents(&self, name: &str, documents: &[String]) -> PathBuf {
        self.file(name, documents.join("\n<|endoftext|>\n"))
    }

    pub fn options(&self, inputs: &[PathBuf], out: &str) -> PrepareOptions {
        PrepareOptions {
            inputs: inputs.to_vec(),
            tokenizer: self.at("tokenizer.json"),
            out: self.at(out),
            ..PrepareOptions::default()
        }
    }

    /// Prepares these documents into the folder `out`.
    pub fn prepare(&self, out: &str, documents: &[String]) -> Result<Summary, DataError> {
        let input = self.documents(&format!("{out}.txt"), documents);
        let mut options = self.options(&[input], out);
        options.valid_share = 0.2;
        data::prepare(&options, &())
    }
}

/// Name and content of every file in a folder.
pub fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
}

pub fn stories(seed: u64, count: usize) -> Vec<String> {
    data::generated::corpus(seed, count).collect()
}
