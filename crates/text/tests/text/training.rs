//! Training: exact sizes, whole alphabet, same input same bytes.

use crate::{documents, trained};
use proptest::prelude::*;
use text::bpe::{TrainOptions, train};
use text::{TextError, Tokenizer};

fn options(vocabulary: usize) -> TrainOptions {
    TrainOptions { vocabulary, ..Default::default() }
}

#[test]
fn ids_are_specials_then_bytes_then_merges() {
    let special_tokens = vec!["<|endoftext|>".to_owned(), "<|user|>".to_owned()];
    let json = train(documents(), &TrainOptions { special_tokens, ..options(320) }).unwrap();
    let tokenizer = Tokenizer::from_bytes(&json).unwrap();
    assert_eq!(tokenizer.vocabulary_size(), 320);
    assert_eq!(tokenizer.end_of_text(), Some(0));
    assert_eq!(tokenizer.token_to_id("<|user|>"), Some(1));
    assert!((0..320).all(|id| tokenizer.is_special(id) == (id < 2)));
    let mut bytes: Vec<u8> = (2..258).flat_map(|id| tokenizer.token_bytes(id).unwrap()).collect();
    bytes.sort_unstable();
    assert_eq!(bytes, (0..=u8::MAX).collect::<Vec<_>>());
    assert!((258..320).all(|id| tokenizer.token_bytes(id).unwrap().len() > 1));
    assert_eq!(tokenizer.encode("<|user|>", false), [1]);
}

#[test]
fn digits_stand_alone() {
    let tokenizer = trained();
    assert_eq!(tokenizer.encode("1984", false).len(), 4);
    assert!(tokenizer.encode(" dreamed of", false).len() < 6);
}

#[test]
fn same_documents_same_bytes() {
    let once = train(documents(), &options(300)).unwrap();
    let reversed: Vec<String> = documents().collect();
    let again = train(reversed.into_iter().rev(), &options(300)).unwrap();
    assert!(once == again);
    assert!(once == train(documents(), &options(300)).unwrap());
}

#[test]
fn too_little_text_names_the_size_it_reached() {
    let error = train(documents(), &options(100_000)).unwrap_err();
    let TextError::TooLittleText { wanted: 100_000, reached, text_bytes } = error else { panic!("{error}") };
    assert_eq!(text_bytes, documents().map(|d| d.len() as u64).sum::<u64>());
    assert!(error.to_string().contains(&format!("at most {reached}")), "{error}");
    assert!(train(documents(), &options(reached)).is_ok());
    assert!(train(documents(), &options(reached + 1)).is_err());
    let nothing = train(std::iter::empty(), &options(300)).unwrap_err();
    assert!(matches!(nothing, TextError::TooLittleText { reached: 257, text_bytes: 0, .. }), "{nothing}");
    assert!(train(std::iter::empty(), &options(257)).is_ok());
}

#[test]
fn special_tokens_in_the_text_are_not_learned() {
    let with = documents().map(|d| format!("<|endoftext|>\n{d}<|endoftext|>"));
    let without = documents().map(|d| format!("\n{d}"));
    assert!(train(with, &options(300)).unwrap() == train(without, &options(300)).unwrap());
}

#[test]
fn contradictions_are_named() {
    let special = |names: &[&str]| TrainOptions {
        special_tokens: names.iter().map(|n| n.to_string()).collect(),
        ..options(300)
    };
    let cases = [
        (options(256), "ask for at least 257"),
        (options(usize::MAX), "ask for at most"),
        (special(&["<|a|>", "<|a|>"]), "twice"),
        (special(&["the"]), "ordinary text"),
        (special(&[""]), "ordinary text"),
        (special(&["a"]), "ordinary text"),
    ];
    for (options, part) in cases {
        let error = train(documents(), &options).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_document_without_blanks_is_trained_on() {
    let long = "東京".repeat(200_000);
    let tokenizer = Tokenizer::from_bytes(&train(std::iter::once(long), &options(270)).unwrap()).unwrap();
    assert!(tokenizer.encode("東京東京東京東京", false).len() < 12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_text_trains_and_survives(texts in proptest::collection::vec("\\PC{0,40}", 0..8), more in 0_usize..40) {
        let TrainOptions { special_tokens, .. } = options(0);
        let options = TrainOptions { vocabulary: 257 + more, special_tokens, min_frequency: 1 };
        match train(texts.clone().into_iter(), &options) {
            Ok(json) => {
                let tokenizer = Tokenizer::from_bytes(&json).unwrap();
                prop_assert_eq!(tokenizer.vocabulary_size(), options.vocabulary);
                for text in &texts {
                    prop_assert_eq!(&tokenizer.decode(&tokenizer.encode(text, false)), text);
                }
            }
            Err(error) => prop_assert!(matches!(error, TextError::TooLittleText { .. }), "{}", error),
        }
    }
}

#[test]
fn what_ends_an_answer_is_known_by_its_name() {
    let names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>"];
    let special_tokens = names.map(String::from).to_vec();
    let options = TrainOptions { vocabulary: 270, special_tokens, min_frequency: 1 };
    let json = train(["</s> and <eos> are text here".to_string()].into_iter(), &options).unwrap();
    let tokenizer = Tokenizer::from_bytes(&json).unwrap();
    let ends = ["<|endoftext|>", "<|eot_id|>", "<|im_end|>"].map(|name| tokenizer.token_to_id(name).unwrap());
    assert_eq!(tokenizer.end_ids(), ends);
}
