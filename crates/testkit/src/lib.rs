//! For tests only: the golden-file loader, tolerances, shared data, a tiny data set, temporary folders. Everything here panics on
//! failure, with a sentence, because a failed test is what is wanted then.
#![forbid(unsafe_code)]

use data::PrepareOptions;
use formats::safetensors::File;
use std::path::{Path, PathBuf};
use text::bpe::{self, TrainOptions};

/// The golden file `name` (a path inside `tests/golden` at the root of the workspace, with its extension).
///
/// # Panics
/// When it cannot be read.
pub fn golden(name: &str) -> File {
    let path = root().join("tests/golden").join(name);
    File::open(&path).unwrap_or_else(|error| panic!("{error} (golden files are written by tools/golden)"))
}

/// The root of the workspace.
fn root() -> &'static Path {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.and_then(Path::parent).expect("this crate lies two folders below the root")
}

/// Asserts `|actual − expected| ≤ absolute + relative·|expected|` for every element; equal infinities and a pair of
/// NaNs agree.
///
/// # Panics
/// When the lengths differ, or with the element that is furthest beyond its tolerance.
#[track_caller]
pub fn assert_close(actual: &[f32], expected: &[f32], relative: f64, absolute: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: number of elements");
    let excess = |(&a, &e): (&f32, &f32)| {
        if a == e || (a.is_nan() && e.is_nan()) {
            return f64::NEG_INFINITY;
        }
        let (a, e) = (f64::from(a), f64::from(e));
        let excess = (a - e).abs() - (absolute + relative * e.abs());
        if excess.is_nan() { f64::INFINITY } else { excess }
    };
    let beyond = actual.iter().zip(expected).map(excess).enumerate();
    let Some((index, worst)) = beyond.max_by(|a, b| a.1.total_cmp(&b.1)) else {
        return;
    };
    let (a, e, n) = (actual[index], expected[index], actual.len());
    assert!(
        worst <= 0.0,
        "{what}: worst at {index} of {n}: {a:e} where {e:e} is expected (tolerance {relative:e} relative + {absolute:e})"
    );
}

/// The folder of shared test data (`TRILOBIT_DATA`, or `shared/data` beside the workspace), if it is there.
pub fn shared_data() -> Option<PathBuf> {
    let named = std::env::var_os("TRILOBIT_DATA").map(PathBuf::from);
    let path = named.unwrap_or_else(|| root().join("../shared/data"));
    path.is_dir().then_some(path)
}

/// Prepares `documents` documents of the built-in corpus, with a tokenizer of `vocabulary` tokens of its own, in
/// `dir/data`; leaves `dir/corpus.txt` and `dir/tokenizer.json` beside it.
///
/// # Panics
/// When any of it fails.
pub fn dataset(dir: &Path, documents: usize, vocabulary: usize) -> PathBuf {
    let [corpus, tokenizer, out] = ["corpus.txt", "tokenizer.json", "data"].map(|name| dir.join(name));
    let documents: Vec<String> = data::generated::corpus(3, documents).collect();
    std::fs::write(&corpus, documents.join("\n<|endoftext|>\n")).expect("the corpus is written");
    let options = TrainOptions { vocabulary, ..TrainOptions::default() };
    let json = bpe::train(documents.into_iter(), &options).expect("the tokenizer is trained");
    std::fs::write(&tokenizer, json).expect("the tokenizer is written");
    let options = PrepareOptions {
        inputs: vec![corpus],
        valid_share: 0.05,
        tokenizer,
        out: out.clone(),
        ..PrepareOptions::default()
    };
    data::prepare(&options, &()).expect("the data set is prepared");
    out
}

/// Says that a test did not run and why, for example `1 test needs shared/data`.
pub fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

/// A fresh folder, removed when the value is dropped.
///
/// # Panics
/// When the system has no room for temporary files.
pub fn temp_dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFINITY: f32 = f32::INFINITY;

    #[test]
    fn what_is_within_tolerance_passes() {
        assert_close(&[], &[], 0.0, 0.0, "nothing");
        assert_close(&[1.0, -0.0, INFINITY, f32::NAN], &[1.0, 0.0, INFINITY, f32::NAN], 0.0, 0.0, "equal");
        assert_close(&[100.1, 0.001], &[100.0, 0.0], 0.0015, 0.0011, "near");
    }

    #[test]
    #[should_panic(expected = "w: worst at 1 of 3: 3e0 where 2e0")]
    fn the_worst_element_is_named() {
        assert_close(&[1.5, 3.0, 3.9], &[1.0, 2.0, 3.0], 0.1, 0.0, "w");
    }

    #[test]
    #[should_panic(expected = "worst at 1 of 2")]
    fn a_stray_nan_is_the_worst() {
        assert_close(&[100.0, f32::NAN], &[0.0, 0.0], 0.0, 0.0, "w");
    }

    #[test]
    #[should_panic(expected = "worst at 0 of 1")]
    fn opposite_infinities_differ() {
        assert_close(&[INFINITY], &[-INFINITY], 1.0, 1.0, "w");
    }

    #[test]
    #[should_panic(expected = "number of elements")]
    fn lengths_must_agree() {
        assert_close(&[1.0], &[], 1.0, 1.0, "w");
    }

    #[test]
    #[should_panic(expected = "tools/golden")]
    fn an_absent_golden_file_is_named() {
        golden("no-such-file.safetensors");
    }
}
