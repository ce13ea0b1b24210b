//! The built-in corpus as a data set: documents, a tokenizer trained on them, token shards.

use anyhow::Result;
use std::path::Path;
use text::TextError;
use text::bpe::{self, TrainOptions};

/// Vocabularies to try, the largest that the text fills first.
const VOCABULARIES: [usize; 5] = [2048, 1024, 512, 320, 257];

/// Trains the largest tokenizer that the text fills; returns its vocabulary.
pub fn train_tokenizer(documents: &[String], path: &Path) -> Result<usize> {
    for vocabulary in VOCABULARIES {
        let options = TrainOptions { vocabulary, ..TrainOptions::default() };
        match bpe::train(documents.iter().cloned(), &options) {
            Ok(json) => {
                formats::atomic::write_bytes(path, &json)?;
                return Ok(vocabulary);
            }
            Err(TextError::TooLittleText { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("the text is too short to train anything on: give at least a few thousand characters")
}

/// Writes documents as a text that `data prepare` takes apart again.
pub fn write(documents: &[String], path: &Path) -> Result<()> {
    Ok(formats::atomic::write_bytes(path, documents.join("\n<|endoftext|>\n").as_bytes())?)
}
