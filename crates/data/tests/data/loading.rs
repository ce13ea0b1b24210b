//! The loader: windows, document mask, order, mixture, cursor.

use crate::common::{Place, stories};
use data::{Batch, Cursor, IGNORE, Loader, LoaderOptions, Source, Split};
use proptest::prelude::*;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::LazyLock;

/// Two prepared folders, `a` and `b`, of different length, in shards shorter than a window of 300.
static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let place = Place::new();
    for (name, seed, count) in [("a", 11, 60), ("b", 12, 25)] {
        let input = place.documents(&format!("{name}.txt"), &stories(seed, count));
        let options =
            data::PrepareOptions { valid_share: 0.2, shard_bytes: 700, ..place.options(&[input], name) };
        data::prepare(&options, &()).unwrap();
    }
    place
});

fn source(name: &str, weight: f64) -> Source {
    Source { path: PLACE.at(name), weight }
}

fn options(batch: usize, sequence: usize, seed: u64) -> LoaderOptions {
    LoaderOptions { batch, sequence, seed, document_mask: true }
}

fn open(sources: &[Source], split: Split, options: LoaderOptions) -> Loader {
    Loader::open(sources, split, options).unwrap()
}

fn take(loader: &mut Loader, count: usize) -> Vec<Batch> {
    let mut batch = Batch::default();
    (0..count)
        .map(|_| {
            assert!(loader.next(&mut batch));
            batch.clone()
        })
        .collect()
}

#[test]
fn without_the_document_mask_a_token_sees_all_of_its_window() {
    for split in [Split::Train, Split::Valid] {
        let open = |document_mask| {
            open(&[source("a", 1.0)], split, LoaderOptions { document_mask, ..options(2, 32, 7) })
        };
        let (masked, whole) = (take(&mut open(true), 12), take(&mut open(false), 12));
        for (masked, whole) in masked.iter().zip(&whole) {
            assert_eq!((&masked.tokens, &masked.targets), (&whole.tokens, &whole.targets));
            assert!(whole.starts.iter().all(|start| *start == 0));
        }
        assert!(masked.iter().any(|batch| batch.starts.iter().any(|start| *start > 0)));
    }
}

/// All tokens of a split and whether each begins a document, by way of validation order.
fn stream(name: &str, split: Split) -> (Vec<u32>, Vec<bool>) {
    let dataset = data::Dataset::open(&PLACE.at(name)).unwrap();
    let hex = dataset.fingerprint();
    let plan = std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap());
    let shards = dataset.manifest().split(split).shards;
    let stream = data::shard::Stream::open(dataset.folder(), split, shards, &plan).unwrap();
    let mut tokens = vec![0; stream.tokens() as usize];
    stream.read(0, &mut tokens);
    let mut begins = vec![false; tokens.len()];
    stream.document_starts(0, stream.tokens()).for_each(|at| begins[at as usize] = true);
    (tokens, begins)
}

/// What a window that begins at `at` has to be, written out the slow way.
fn window(tokens: &[u32], begins: &[bool], at: usize, sequence: usize) -> [Vec<u32>; 3] {
    let mut start = 0;
    let mut expected = [vec![], vec![], vec![]];
    for i in 0..sequence {
        if i > 0 && begins[at + i] {
            start = i as u32;
        }
        expected[0].push(tokens[at + i]);
        expected[1].push(if begins[at + i + 1] { IGNORE } else { tokens[at + i + 1] });
        expected[2].push(start);
    }
    expected
}

fn rows(batch: &Batch, sequence: usize) -> impl Iterator<Item = [Vec<u32>; 3]> {
    let cut = move |buffer: &[u32], row: usize| buffer[row * sequence..(row + 1) * sequence].to_vec();
    (0..batch.tokens.len() / sequence)
        .map(move |row| [cut(&batch.tokens, row), cut(&batch.targets, row), cut(&batch.starts, row)])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn validation_gives_every_window_in_order(batch in 1usize..9, sequence in 1usize..330) {
        let (tokens, begins) = stream("a", Split::Valid);
        let count = (tokens.len() - 1) / sequence;
        let mut loader = open(&[source("a", 1.0)], Split::Valid, options(batch, sequence, 1));
        prop_assert_eq!(loader.windows(), count as u64);
        for _ in 0..2 {
            let mut batches = Vec::new();
            let mut filled = Batch::default();
            while loader.next(&mut filled) {
                batches.push(filled.clone());
            }
            let found: Vec<_> = batches.iter().flat_map(|b| rows(b, sequence)).collect();
            prop_assert_eq!(found.len(), count.div_ceil(batch) * batch);
            for (index, row) in found.iter().enumerate() {
                match index < count {
                    true => prop_assert_eq!(row, &window(&tokens, &begins, index * sequence, sequence)),
                    false => prop_assert!(row[1].iter().all(|&t| t == IGNORE)),
                }
            }
            loader.rewind();
        }
    }

    #[test]
    fn a_pass_of_training_gives_every_window_once(sequence in 1usize..330, seed: u64) {
        let (tokens, begins) = stream("b", Split::Train);
        let mut loader = open(&[source("b", 0.3)], Split::Train, options(1, sequence, seed));
        let count = loader.windows() as usize;
        let mut left: HashMap<_, i32> = HashMap::new();
        (0..count).for_each(|i| *left.entry(window(&tokens, &begins, i * sequence, sequence)).or_default() += 1);
        for batch in take(&mut loader, count) {
            let row = rows(&batch, sequence).next().unwrap();
            *left.get_mut(&row).expect("a window of the stream") -= 1;
        }
        prop_assert!(left.values().all(|&n| n == 0));
    }

    #[test]
    fn a_cursor_returns_to_the_exact_window(before in 0usize..40, batch in 1usize..6, seed: u64, weight in 0.1f64..9.0) {
        let sources = [source("a", 1.0), source("b", weight)];
        let mut whole = open(&sources, Split::Train, options(batch, 32, seed));
        take(&mut whole, before);
        let json = serde_json::to_string(&whole.cursor()).unwrap();
        prop_assert!(json.len() < 300);
        let cursor: Cursor = serde_json::from_str(&json).unwrap();
        let expected = take(&mut whole, 30);
        let mut resumed = open(&sources, Split::Train, options(batch, 32, seed));
        resumed.seek(&cursor).unwrap();
        prop_assert_eq!(&resumed.cursor(), &cursor);
        prop_assert!(take(&mut resumed, 30) == expected);
        prop_assert_eq!(resumed.cursor(), whole.cursor());
        // Another batch size goes on with the same windows.
        let mut single = open(&sources, Split::Train, options(1, 32, seed));
        single.seek(&cursor).unwrap();
        let flat: Vec<_> = expected.iter().flat_map(|b| rows(b, 32)).collect();
        let found: Vec<_> = take(&mut single, 30 * batch).iter().flat_map(|b| rows(b, 32).collect::<Vec<_>>()).collect();
        prop_assert!(found == flat);
    }
}

#[test]
fn passes_and_seeds_have_orders_of_their_own() {
    let mut loader = open(&[source("a", 1.0)], Split::Train, options(1, 16, 5));
    let count = loader.windows() as usize;
    let (first, second) = (take(&mut loader, count), take(&mut loader, count));
    assert!(first != second);
    loader.rewind();
    assert!(take(&mut loader, count) == first);
    let mut other = open(&[source("a", 1.0)], Split::Train, options(1, 16, 6));
    assert!(take(&mut other, count) != first);
}

#[test]
fn a_mixture_keeps_its_weights() {
    let draws = 4000;
    let mut loader = open(&[source("a", 1.0), source("b", 3.0)], Split::Train, options(1, 8, 3));
    take(&mut loader, draws);
    let drawn = loader.cursor().drawn;
    // Binomial: a standard deviation is √(4000·¼·¾) = 27.
    assert!(drawn[0].abs_diff(1000) < 110, "{drawn:?}");
    assert_eq!(drawn.iter().sum::<u64>(), draws as u64);
    assert_eq!(loader.datasets().count(), 2);
}

#[test]
fn what_cannot_be_loaded_is_said() {
    let sentence =
        |sources: &[Source], split, options| Loader::open(sources, split, options).unwrap_err().to_string();
    let a = || vec![source("a", 1.0)];
    assert!(sentence(&[], Split::Train, options(1, 8, 0)).contains("no data set"));
    assert!(sentence(&a(), Split::Train, options(0, 8, 0)).contains("batch of 0"));
    assert!(sentence(&a(), Split::Train, options(1, 0, 0)).contains("sequence of 0"));
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(sentence(&[source("a", weight)], Split::Train, options(1, 8, 0)).contains("weight"));
    }
    let short = sentence(&a(), Split::Valid, options(1, 1 << 20, 0));
    assert!(short.contains("valid split has") && short.contains("needs 1048577"), "{short}");
    let missing = Source { path: PathBuf::from("nowhere"), weight: 1.0 };
    assert!(sentence(&[missing], Split::Train, options(1, 8, 0)).contains("nowhere"));

    let place = Place::new();
    let input = place.documents("in.txt", &stories(1, 20));
    let none = data::PrepareOptions { valid_share: 0.0, ..place.options(&[input], "out") };
    data::prepare(&none, &()).unwrap();
    let out = || Source { path: place.at("out"), weight: 1.0 };
    assert!(sentence(&[out()], Split::Valid, options(1, 8, 0)).contains("no valid split"));
    let json = String::from_utf8(crate::common::TOKENIZER.clone()).unwrap();
    place.file("tokenizer.json", format!("{json} "));
    let other = data::PrepareOptions { out: place.at("other"), ..none };
    data::prepare(&other, &()).unwrap();
    let mixed = [out(), Source { path: place.at("other"), weight: 1.0 }];
    assert!(sentence(&mixed, Split::Train, options(1, 8, 0)).contains("tokenizer is not that of"));
}

#[test]
fn a_foreign_or_broken_cursor_is_refused() {
    let mut loader = open(&[source("a", 1.0)], Split::Train, options(2, 16, 5));
    take(&mut loader, 3);
    let cursor = loader.cursor();
    for (sources, split, options) in [
        (vec![source("b", 1.0)], Split::Train, options(2, 16, 5)),
        (vec![source("a", 1.0), source("b", 1.0)], Split::Train, options(2, 16, 5)),
        (vec![source("a", 1.0)], Split::Valid, options(2, 16, 5)),
        (vec![source("a", 1.0)], Split::Train, options(2, 15, 5)),
        (vec![source("a", 1.0)], Split::Train, options(2, 16, 6)),
    ] {
        assert!(
            open(&sources, split, options)
                .seek(&cursor)
                .unwrap_err()
                .to_string()
                .contains("recorded with other")
        );
    }
    for drawn in [vec![], vec![6, 0], vec![7], vec![u64::MAX, 7]] {
        let broken = Cursor { drawn, ..cursor.clone() };
        assert!(loader.seek(&broken).unwrap_err().to_string().contains("contradicts itself"));
    }
    assert_eq!(loader.cursor(), cursor);
}

#[test]
fn ranks_that_keep_different_rows_read_together_what_one_reads_alone() {
    let sources = [source("a", 2.0), source("b", 1.0)];
    for split in [Split::Train, Split::Valid] {
        let mut whole = open(&sources, split, options(6, 16, 5));
        let mut parts = [0..2, 2..3, 3..6].map(|rows| {
            let mut loader = open(&sources, split, options(6, 16, 5));
            loader.keep_rows(rows);
            loader
        });
        let (mut batch, mut part) = (Batch::default(), Batch::default());
        for _ in 0..40 {
            let is_more = whole.next(&mut batch);
            let mut joined = Batch::default();
            for loader in &mut parts {
                assert_eq!(loader.next(&mut part), is_more);
                joined.tokens.extend(&part.tokens);
                joined.targets.extend(&part.targets);
                joined.starts.extend(&part.starts);
                assert_eq!(loader.cursor(), whole.cursor());
            }
            if !is_more {
                break;
            }
            assert_eq!(joined, batch);
        }
    }
}
