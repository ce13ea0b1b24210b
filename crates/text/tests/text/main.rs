//! Tests of the `text` crate from outside, one file per subject.

mod chat;
mod hostile;
mod published;
mod streaming;
mod training;

use std::path::{Path, PathBuf};
use text::Tokenizer;

/// A file of the shared test data, or `None` after a line that says how many tests are skipped for want of it.
fn shared(file: &str, tests: usize) -> Option<PathBuf> {
    let folder = std::env::var_os("TRILOBIT_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = folder.join(file);
    if path.is_file() {
        return Some(path);
    }
    println!("skipped: {tests} tests need shared/data ({file})");
    None
}

/// A small tokenizer of our own, trained on a few made-up sentences.
fn trained() -> Tokenizer {
    let options = text::bpe::TrainOptions { vocabulary: 300, ..Default::default() };
    let json = text::bpe::train(documents(), &options).expect("these documents suffice for 300 tokens");
    Tokenizer::from_bytes(&json).expect("what was trained loads")
}

/// Made-up documents, the same each time.
fn documents() -> impl Iterator<Item = String> {
    let animals = ["crab", "trilobite", "sea snail", "starfish", "nautilus"];
    let places = ["under the warm sand", "between the old stones", "in the deep water", "near the shore"];
    (0..60).map(move |i| {
        let (animal, place) = (animals[i % animals.len()], places[i % places.len()]);
        format!("The {animal} number {i} slept {place}. It dreamed of {} waves — naïve 東京 🙂.\n", i * 7)
    })
}
