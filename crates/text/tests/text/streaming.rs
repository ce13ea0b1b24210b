//! The stream of ids gives the same text as all ids at once.

use crate::{shared, trained};
use proptest::prelude::*;
use std::sync::OnceLock;
use text::{StreamDecoder, Tokenizer};

/// One tokenizer of our own; with the shared data also GPT-2's and one with byte fallback.
fn tokenizers() -> &'static [Tokenizer] {
    static TOKENIZERS: OnceLock<Vec<Tokenizer>> = OnceLock::new();
    TOKENIZERS.get_or_init(|| {
        let files = ["tokenizers/gpt2/tokenizer.json", "models/bitllama2/tokenizer.json"];
        let published = files.iter().filter_map(|file| shared(file, 1));
        let load = |path: std::path::PathBuf| Tokenizer::load(&path).expect("a published tokenizer loads");
        std::iter::once(trained()).chain(published.map(load)).collect()
    })
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = StreamDecoder::new(tokenizer);
    let mut text: String = ids.iter().map(|id| stream.push(*id)).collect();
    text.push_str(&stream.finish());
    text
}

/// The definition of decoding: bytes of the tokens one after another.
fn from_bytes(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().filter_map(|id| tokenizer.token_bytes(*id)).flatten().collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

proptest! {
    #[test]
    fn texts(text in "\\PC{0,30}|[🙂👩‍👧é\u{301}\u{308}東京한국 a]{0,30}") {
        for tokenizer in tokenizers() {
            let ids = tokenizer.encode(&text, false);
            prop_assert_eq!(streamed(tokenizer, &ids), tokenizer.decode(&ids));
        }
    }

    #[test]
    fn random_ids(seeds in proptest::collection::vec(any::<u32>(), 0..60)) {
        for tokenizer in tokenizers() {
            // One id in sixteen is outside of the vocabulary.
            let size = tokenizer.vocabulary_size() as u32;
            let ids: Vec<u32> = seeds.iter().map(|s| s % (size + size / 16)).collect();
            prop_assert_eq!(streamed(tokenizer, &ids), tokenizer.decode(&ids));
        }
        // Ids of single bytes: mostly not UTF-8.
        let ids: Vec<u32> = seeds.iter().map(|s| 1 + s % 256).collect();
        prop_assert_eq!(streamed(&tokenizers()[0], &ids), from_bytes(&tokenizers()[0], &ids));
        prop_assert_eq!(tokenizers()[0].decode(&ids), from_bytes(&tokenizers()[0], &ids));
    }
}

#[test]
fn a_split_character_comes_with_its_last_byte() {
    let tokenizer = trained();
    let ids: Vec<u32> = "é".bytes().map(|b| byte_id(&tokenizer, b)).collect();
    let mut stream = StreamDecoder::new(&tokenizer);
    assert_eq!(stream.push(ids[0]), "");
    assert_eq!(stream.push(ids[1]), "é");
    assert_eq!(stream.push(ids[0]), "");
    assert_eq!(stream.push(byte_id(&tokenizer, b'a')), "\u{fffd}a");
    assert_eq!(stream.push(ids[0]), "");
    assert_eq!(stream.finish(), "\u{fffd}");
}

fn byte_id(tokenizer: &Tokenizer, byte: u8) -> u32 {
    let size = tokenizer.vocabulary_size() as u32;
    (0..size).find(|id| tokenizer.token_bytes(*id).as_deref() == Some(&[byte])).expect("each byte is a token")
}
