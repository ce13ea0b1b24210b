//! `prepare`: what is kept, how it is split, and that a killed run ends like an uninterrupted one.

use crate::common::{Place, content, stories};
use data::{Dataset, Phase, PrepareOptions, Progress, Split, prepare};
use sha2::{Digest, Sha256};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use text::Tokenizer;

fn sentence(options: &PrepareOptions) -> String {
    prepare(options, &()).expect_err("an error").to_string()
}

/// The documents of a split, decoded. Each ends with end-of-text, and the document starts say the same.
fn told(place: &Place, out: &str, split: Split) -> Vec<String> {
    let dataset = Dataset::open(&place.at(out)).unwrap();
    let tokenizer = Tokenizer::load(&dataset.tokenizer_path()).unwrap();
    let facts = dataset.manifest().split(split);
    let plan: [u8; 32] = {
        let hex = dataset.fingerprint();
        std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
    };
    let stream = data::shard::Stream::open(&place.at(out), split, facts.shards, &plan).unwrap();
    let mut ids = vec![0; stream.tokens() as usize];
    stream.read(0, &mut ids);
    let end = tokenizer.end_of_text().unwrap();
    let documents: Vec<_> = ids.split_inclusive(|&id| id == end).collect();
    let starts: Vec<_> = stream.document_starts(0, stream.tokens()).collect();
    let mut begin = 0;
    for (document, start) in documents.iter().zip(&starts) {
        assert_eq!(begin, *start);
        assert_eq!(document.last(), Some(&end));
        begin += document.len() as u64;
    }
    assert_eq!(starts.len(), documents.len());
    documents.iter().map(|d| tokenizer.decode(d)).collect()
}

#[test]
fn keeps_every_document_once_and_whole() {
    let place = Place::new();
    let documents = stories(2, 300);
    let summary = place.prepare("out", &documents).unwrap();
    let (train, valid) = (told(&place, "out", Split::Train), told(&place, "out", Split::Valid));
    let mut all: Vec<_> = train.iter().chain(&valid).cloned().collect();
    let mut expected = documents.clone();
    let before = expected.len();
    all.sort();
    expected.sort();
    expected.dedup();
    assert_eq!(all, expected);
    let manifest = summary.manifest;
    assert_eq!(manifest.duplicates, (before - expected.len()) as u64);
    assert_eq!(manifest.train.bytes, train.iter().map(|d| d.len() as u64).sum::<u64>());
    assert_eq!(manifest.valid.bytes, valid.iter().map(|d| d.len() as u64).sum::<u64>());
    let share = manifest.valid.bytes as f64 / (manifest.train.bytes + manifest.valid.bytes) as f64;
    assert!((share - 0.2).abs() < 0.01, "{share}");
    let dataset = Dataset::open(&place.at("out")).unwrap();
    assert_eq!(*dataset.manifest(), manifest);
    assert_eq!(dataset.vocabulary(), 400);
    let spelled: u64 =
        dataset.token_counts().iter().zip(dataset.token_bytes()).map(|(&c, &b)| c * u64::from(b)).sum();
    assert_eq!(spelled, dataset.bytes(Split::Train));
    assert!((3.0..400f64.ln()).contains(&dataset.unigram_entropy()));
}

#[test]
fn duplicates_go_and_held_out_texts_are_not_trained_on() {
    let place = Place::new();
    let text = |n: usize| format!("This is document {n}.");
    let train = place.documents("train.txt", &[1, 2, 1, 3, 4].map(text));
    let again = place.file("again.jsonl", "{\"text\": \"This is document 2.\"}\n{\"text\": \"new\"}\n");
    let mut options = place.options(&[train, again], "out");
    options.valid = vec![place.documents("valid.txt", &[3, 5, 5].map(text))];
    let manifest = prepare(&options, &()).unwrap().manifest;
    assert_eq!(told(&place, "out", Split::Train), [text(1), text(2), text(4), "new".into()]);
    assert_eq!(told(&place, "out", Split::Valid), [text(3), text(5)]);
    assert_eq!(manifest.duplicates, 4);
    assert_eq!(manifest.sources.iter().map(|s| s.documents).collect::<Vec<_>>(), [2, 3, 1]);
    assert!((manifest.sources.iter().map(|s| s.share).sum::<f64>() - 1.0).abs() < 1e-12);
    options.inputs = options.valid.clone();
    options.out = place.at("none");
    assert!(sentence(&options).contains("no document is left for training"));
}

#[test]
fn the_split_does_not_depend_on_order_or_names() {
    let place = Place::new();
    let mut documents = stories(3, 200);
    place.prepare("one", &documents).unwrap();
    documents.reverse();
    place.prepare("two", &documents).unwrap();
    let mut reversed = told(&place, "two", Split::Valid);
    reversed.reverse();
    assert_eq!(told(&place, "one", Split::Valid), reversed);
}

#[test]
fn few_large_documents_are_split_by_bytes() {
    let place = Place::new();
    let book = |n: usize| stories(n as u64, 20 + 10 * n).join("\n\n");
    let books: Vec<String> = (0..12).map(book).collect();
    let manifest = place.prepare("books", &books).unwrap().manifest;
    let share = |m: &data::Manifest| m.valid.bytes as f64 / (m.train.bytes + m.valid.bytes) as f64;
    assert!((share(&manifest) - 0.2).abs() < 0.05, "{}", share(&manifest));
    // Two documents cannot be split evenly: the smaller one is held out, and that is said.
    let manifest = place.prepare("two", &books[..2]).unwrap().manifest;
    assert_eq!((manifest.train.documents, manifest.valid.documents), (1, 1));
    let input = place.documents("three.txt", &books[..3]);
    let manifest = prepare(&place.options(std::slice::from_ref(&input), "three"), &()).unwrap().manifest;
    assert_eq!((manifest.train.documents, manifest.valid.documents), (2, 1));
    assert!(manifest.warnings.iter().any(|w| w.contains("whole documents")), "{:?}", manifest.warnings);
    let options = PrepareOptions { valid_share: 0.0, ..place.options(&[input], "all") };
    assert_eq!(prepare(&options, &()).unwrap().manifest.valid, Default::default());
}

/// To pass over a document that does not fit would hold out the short ones after it.
#[test]
fn what_is_held_out_is_the_beginning_of_the_drawn_order() {
    let place = Place::new();
    let document =
        |n: usize| format!("{n}{}", " and so on".repeat(if n.is_multiple_of(10) { 100 } else { 1 }));
    let mut documents: Vec<String> = (0..60).map(document).collect();
    place.prepare("out", &documents).unwrap();
    let mut valid = told(&place, "out", Split::Valid);
    documents.sort_by_key(|text| Sha256::digest(text));
    documents.truncate(valid.len());
    documents.sort();
    valid.sort();
    assert_eq!(valid, documents);
}

#[test]
fn a_single_document_gives_its_end() {
    let place = Place::new();
    let text = stories(4, 50).join("\n\n");
    let manifest = place.prepare("one", std::slice::from_ref(&text)).unwrap().manifest;
    let (train, valid) = (told(&place, "one", Split::Train), told(&place, "one", Split::Valid));
    assert_eq!((train.len(), valid.len()), (1, 1));
    assert_eq!(format!("{}{}", train[0], valid[0]), text);
    assert!(train[0].ends_with("\n\n"));
    assert!((0.1..0.35).contains(&(valid[0].len() as f64 / text.len() as f64)));
    assert!(manifest.warnings.iter().any(|w| w.contains("only one document")));
    // its only blank is far before the place to cut at
    let text = format!("A {}", "東京".repeat(500));
    place.prepare("unbroken", std::slice::from_ref(&text)).unwrap();
    let valid = told(&place, "unbroken", Split::Valid).concat();
    assert!((0.19..0.21).contains(&(valid.len() as f64 / text.len() as f64)), "{}", valid.len());
    let tiny = place.file("tiny.txt", "x");
    assert!(sentence(&place.options(&[tiny], "tiny")).contains("too few to hold some out"));
}

/// A run that dies after so many documents.
struct Dies(AtomicI64);

impl Progress for Dies {
    fn begin(&self, _: Phase, _: Option<u64>) {}

    fn advance(&self, documents: u64, _: u64) {
        let left = self.0.fetch_sub(documents as i64, Ordering::Relaxed);
        assert!(left > 0, "killed on purpose");
    }
}

/// Options that give many small shards, and documents longer than one.
fn many_shards(place: &Place, out: &str) -> PrepareOptions {
    let mut documents = stories(5, 60);
    documents.insert(10, stories(6, 20).join("\n"));
    let input: PathBuf = place.documents("in.txt", &documents);
    PrepareOptions { valid_share: 0.2, shard_bytes: 1000, ..place.options(&[input], out) }
}

#[test]
fn a_killed_run_ends_like_an_uninterrupted_one() {
    let place = Place::new();
    let whole = many_shards(&place, "whole");
    let summary = prepare(&whole, &()).unwrap();
    assert!(summary.manifest.train.shards > 8 && summary.manifest.valid.shards > 2, "{summary:?}");
    let expected = content(&whole.out);
    let options = many_shards(&place, "killed");
    let mut kept = 0;
    // The first pass takes 61 documents, the second as many again.
    for documents in [30, 62, 75, 90, 100, 115, 121] {
        let dies = Dies(AtomicI64::new(documents));
        assert!(catch_unwind(AssertUnwindSafe(|| prepare(&options, &dies))).is_err());
        assert!(!options.out.join("dataset.json").exists());
        if options.out.exists() {
            let shards = content(&options.out).len();
            assert!(shards >= kept);
            kept = shards;
        }
    }
    assert!(kept > 5);
    let summary = prepare(&options, &()).unwrap();
    assert_eq!(summary.shards_kept, kept);
    assert!(content(&options.out) == expected);
}

#[test]
fn any_prefix_of_shards_is_continued_and_a_damaged_one_rewritten() {
    let place = Place::new();
    let options = many_shards(&place, "out");
    let shards = prepare(&options, &()).unwrap().manifest.train.shards;
    let expected = content(&options.out);
    for keep in 0..=shards {
        std::fs::remove_file(options.out.join("dataset.json")).unwrap();
        for gone in keep..shards {
            std::fs::remove_file(data::shard::path(&options.out, Split::Train, gone)).unwrap();
        }
        // What a killed write leaves behind, and a shard that a failing disk has cut.
        std::fs::write(options.out.join(format!(".train-{keep:05}.bin.tmp-1-0")), "half").unwrap();
        let last = data::shard::path(&options.out, Split::Valid, 0);
        let bytes = std::fs::read(&last).unwrap();
        std::fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
        prepare(&options, &()).unwrap();
        let mut found = content(&options.out);
        found.retain(|name, _| !name.starts_with('.'));
        assert!(found == expected, "{keep} shards kept");
    }
}

#[test]
fn a_finished_folder_is_recognised_and_a_foreign_one_refused() {
    let place = Place::new();
    let options = many_shards(&place, "out");
    let first = prepare(&options, &()).unwrap();
    let again = prepare(&options, &()).unwrap();
    assert_eq!(first.manifest, again.manifest);
    assert_eq!(again.shards_kept, first.manifest.train.shards + first.manifest.valid.shards);
    let other = PrepareOptions { valid_share: 0.1, ..options.clone() };
    assert!(sentence(&other).contains("holds another data set"));
    std::fs::remove_file(options.out.join("dataset.json")).unwrap();
    assert!(sentence(&other).contains("begun in the same folder"));
}

/// A run's folder, for one: its tokenizer would be replaced.
#[test]
fn a_folder_of_other_things_is_left_alone() {
    let place = Place::new();
    let options = place.options(&[place.documents("a.txt", &stories(1, 50))], "out");
    std::fs::create_dir(&options.out).unwrap();
    for name in ["tokenizer.json", "config.toml"] {
        std::fs::write(options.out.join(name), "mine").unwrap();
        assert!(sentence(&options).contains(&format!("holds '{name}'")), "{name}");
        assert_eq!(std::fs::read(options.out.join(name)).unwrap(), b"mine");
        std::fs::remove_file(options.out.join(name)).unwrap();
    }
    prepare(&options, &()).unwrap();
}

#[test]
fn options_that_cannot_be_are_refused() {
    let place = Place::new();
    let input = place.documents("a.txt", &stories(1, 5));
    let options = place.options(&[input], "out");
    for share in [-0.1, 0.6, f64::NAN] {
        assert!(
            sentence(&PrepareOptions { valid_share: share, ..options.clone() }).contains("validation share")
        );
    }
    assert!(sentence(&PrepareOptions { shard_bytes: 10, ..options.clone() }).contains("shards of 10 bytes"));
    assert!(sentence(&PrepareOptions { inputs: vec![], ..options.clone() }).contains("no input"));
    let tokenizer = place.at("none.json");
    assert!(sentence(&PrepareOptions { tokenizer, ..options.clone() }).contains("none.json"));
    let json =
        String::from_utf8(crate::common::TOKENIZER.clone()).unwrap().replace("<|endoftext|>", "<|other|>");
    let tokenizer = place.file("other.json", json);
    assert!(sentence(&PrepareOptions { tokenizer, ..options }).contains("no end-of-text token"));
}

/// An expression for words that takes exponentially many steps on a few texts.
#[test]
fn a_document_that_cannot_be_encoded_is_named_by_its_file() {
    let place = Place::new();
    let mut json: serde_json::Value = serde_json::from_slice(&crate::common::TOKENIZER).unwrap();
    json["pre_tokenizer"] = serde_json::json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "(?:a|aa)+b"}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
    ]});
    let tokenizer = place.file("slow.json", serde_json::to_vec(&json).unwrap());
    place.documents("texts/1.txt", &stories(1, 40));
    place.documents("texts/2.txt", &[stories(2, 1).concat(), format!("{}cb", "a".repeat(60))]);
    place.documents("texts/3.txt", &stories(3, 40));
    let options = PrepareOptions { tokenizer, ..place.options(&[place.at("texts")], "out") };
    let error = sentence(&options);
    assert!(error.contains("2.txt") && error.contains("begins \"aaaa"), "{error}");
    assert!(!place.at("out/dataset.json").exists());
    std::fs::remove_file(place.at("texts/2.txt")).unwrap();
    prepare(&options, &()).unwrap();
}

#[test]
fn inputs_that_change_between_the_passes_are_found() {
    struct Changes(PathBuf, &'static str);
    impl Progress for Changes {
        fn begin(&self, phase: Phase, _: Option<u64>) {
            match phase {
                Phase::Tokenise if self.1.is_empty() => std::fs::remove_file(&self.0).unwrap(),
                Phase::Tokenise => std::fs::write(&self.0, self.1).unwrap(),
                _ => {}
            }
        }
        fn advance(&self, _: u64, _: u64) {}
    }
    let place = Place::new();
    let (one, two) = ("a\n<|endoftext|>\nb", "a\n<|endoftext|>\nc");
    for (later, what) in [
        (two, "not what was read a moment ago"),
        ("a", "not what was read a moment ago"),
        ("a\n<|endoftext|>\nb\n<|endoftext|>\nc", "not what was read a moment ago"),
        ("", "does not exist"),
    ] {
        let input = place.file("in.txt", one);
        let error = prepare(&place.options(std::slice::from_ref(&input), "out"), &Changes(input, later));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("in.txt") && error.contains(what), "{error}");
    }
}

#[test]
fn a_damaged_data_set_is_refused_with_the_file_named() {
    let place = Place::new();
    place.prepare("out", &stories(7, 40)).unwrap();
    for (name, bytes) in content(&place.at("out")) {
        let path = place.at("out").join(&name);
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let error = Dataset::open(&place.at("out")).expect_err(&name).to_string();
            assert!(error.contains(&name) && error.contains("again"), "{name}: {error}");
        };
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 2] {
            refused(&bytes[..cut]);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Dataset::open(&place.at("out")).unwrap_err().to_string().contains(&name));
        std::fs::write(&path, &bytes).unwrap();
        Dataset::open(&place.at("out")).unwrap();
    }
    let error = Dataset::open(&place.at("nowhere")).unwrap_err().to_string();
    assert!(error.contains("no such folder") && error.contains("data prepare"), "{error}");
    // A sound shard in the wrong place.
    place.prepare("other", &stories(8, 40)).unwrap();
    std::fs::copy(place.at("other/train-00000.bin"), place.at("out/train-00000.bin")).unwrap();
    assert!(Dataset::open(&place.at("out")).unwrap_err().to_string().contains("another data set"));
}

#[test]
fn the_generated_corpus_is_called_narrow_and_statistics_are_plausible() {
    let place = Place::new();
    let manifest = place.prepare("out", &stories(9, 2000)).unwrap().manifest;
    assert!(manifest.warnings.iter().any(|w| w.contains("narrow domain")), "{:?}", manifest.statistics);
    let s = &manifest.statistics;
    assert!(s.distinct.is_sorted() && (1.5..5.0).contains(&s.bytes_per_token), "{s:?}");
    assert!((s.unigram_bits_per_byte - s.unigram_entropy / 2f64.ln() / s.bytes_per_token).abs() < 1e-9);
}
