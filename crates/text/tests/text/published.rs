//! Published tokenizers: known texts give the known ids, and the ids give the texts.

use crate::shared;
use proptest::prelude::*;
use serde_json::Value;
use std::path::Path;
use text::{Spelling, StreamDecoder, Tokenizer};

fn cases(folder: &str) -> Option<(Tokenizer, Vec<Value>)> {
    let path = shared(&format!("{folder}/tokenizer.json"), 1)?;
    let cases =
        std::fs::read(path.with_file_name("cases.json")).expect("cases.json lies beside the tokenizer");
    let cases = serde_json::from_slice(&cases).expect("cases.json is a list");
    Some((Tokenizer::load(&path).expect("a published tokenizer loads"), cases))
}

fn check_cases(tokenizer: &Tokenizer, cases: &[Value]) {
    assert!(!cases.is_empty());
    for case in cases {
        let text = case["text"].as_str().expect("a case has a text");
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).expect("a case has ids");
        assert_eq!(tokenizer.encode(text, false), ids, "{text:?}");
        let visible: String =
            ids.iter().any(|id| tokenizer.is_special(*id)).then(String::new).unwrap_or(text.into());
        if !visible.is_empty() {
            assert_eq!(tokenizer.decode(&ids), visible);
        }
    }
}

#[test]
fn gpt2() {
    let Some((tokenizer, cases)) = cases("tokenizers/gpt2") else { return };
    check_cases(&tokenizer, &cases);
    assert_eq!(tokenizer.vocabulary_size(), 50257);
    assert_eq!(tokenizer.end_of_text(), Some(50256));
    assert_eq!(tokenizer.spelling(), &Spelling::ByteLevel);
    assert_eq!(tokenizer.kind(), "byte-level BPE");
    assert_eq!(tokenizer.token_bytes(262).as_deref(), Some(&b" the"[..]));
    assert_eq!(tokenizer.token_bytes(50256), Some(Vec::new()));
    assert_eq!(tokenizer.token_bytes(50257), None);
    assert_eq!(tokenizer.token_to_id("Ġthe"), Some(262));
    assert_eq!(tokenizer.id_to_token(262).as_deref(), Some("Ġthe"));
}

#[test]
fn smollm2() {
    let Some((tokenizer, cases)) = cases("tokenizers/smollm2") else { return };
    check_cases(&tokenizer, &cases);
    assert_eq!(tokenizer.vocabulary_size(), 49152);
    assert_eq!(tokenizer.end_of_text(), Some(0));
    let ids = tokenizer.encode("<|im_start|>user\nHi<|im_end|>\n", false);
    assert_eq!(tokenizer.decode(&ids), "user\nHi\n");
}

/// SentencePiece with byte fallback.
#[test]
fn bitllama2() {
    let Some(path) = shared("models/bitllama2/tokenizer.json", 1) else { return };
    let tokenizer = Tokenizer::load(&path).expect("a published tokenizer loads");
    assert_eq!(tokenizer.spelling(), &Spelling::SentencePiece { space: '▁', added_spaces: 1 });
    assert_eq!(tokenizer.vocabulary_size(), 512);
    assert_eq!(tokenizer.end_of_text(), Some(2));
    for text in ["Once upon a time, 東京 🙂\n\n\ttabs  and   spaces", " leading", "a", ""] {
        let ids = tokenizer.encode(text, false);
        assert_eq!(tokenizer.decode(&ids), text);
        let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id).unwrap()).collect();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            if text.is_empty() { String::new() } else { format!(" {text}") }
        );
    }
    let newline = tokenizer.token_to_id("<0x0A>").unwrap();
    assert_eq!(tokenizer.token_bytes(newline).as_deref(), Some(&b"\n"[..]));
    let ids = tokenizer.encode("time", false);
    let mut answer = StreamDecoder::continuing(&tokenizer);
    assert_eq!(ids.iter().map(|id| answer.push(*id)).collect::<String>(), " time");
}

/// Runs where the variable names the file: its licence forbids to keep it here.
#[test]
fn llama3() {
    let Some(path) = std::env::var_os("TRILOBIT_LLAMA3_TOKENIZER") else {
        println!("skipped: 1 test needs TRILOBIT_LLAMA3_TOKENIZER, the path of Llama-3's tokenizer.json");
        return;
    };
    let tokenizer = Tokenizer::load(Path::new(&path)).expect("Llama-3's tokenizer loads");
    assert_eq!(tokenizer.vocabulary_size(), 128_256);
    assert_eq!(tokenizer.end_of_text(), Some(128_001));
    assert_eq!(tokenizer.encode("Hello world!", false), [9906, 1917, 0]);
    assert_eq!(tokenizer.encode("The year 1984", false), [791, 1060, 220, 3753, 19]);
    assert_eq!(tokenizer.encode("<|eot_id|>", false), [128_009]);
    let text = "naïve café — 東京 🙂\n\n\tTabs  and   spaces\r\n";
    assert_eq!(tokenizer.decode(&tokenizer.encode(text, false)), text);
    let long = format!("{text} and so on it goes.\n").repeat(5000);
    assert_eq!(tokenizer.decode(&tokenizer.encode(&long, false)), long);
}

/// Long texts are encoded in pieces: the ids must be those of the whole.
#[test]
fn long_texts_give_the_ids_of_the_whole() {
    for folder in ["tokenizers/gpt2", "tokenizers/smollm2"] {
        let Some((tokenizer, _)) = cases(folder) else { return };
        let line = "It's 1984 days,  don't they'll say\n\n\t\"naïve\" 東京 🙂 <|endoftext|> x_y z\r\nand ... so on. Он сказал: «да»,\nи ушёл. 東京、京都。\n大阪 वह की है।";
        let long: String =
            (0..4000).map(|i| format!("{line} {i} end{}", [" ", "\n", "\n\n", ""][i % 4])).collect();
        assert!(long.len() > 300_000);
        let Some(path) = shared(&format!("{folder}/tokenizer.json"), 1) else { return };
        let exact = tokenizers::Tokenizer::from_file(path).unwrap();
        let whole = exact.encode_fast(long.as_str(), true).unwrap();
        assert!(tokenizer.encode(&long, true) == whole.get_ids(), "{folder}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_survives(text in "\\PC{0,40}|[a-z \n\t]{0,60}|[🙂👩‍👩‍👧é\u{301}東京 ا]{0,20}") {
        static TOKENIZERS: std::sync::OnceLock<Vec<Tokenizer>> = std::sync::OnceLock::new();
        let load = |file: &str| shared(file, 1).map(|path| Tokenizer::load(&path).unwrap());
        let files = ["tokenizers/gpt2/tokenizer.json", "models/bitllama2/tokenizer.json"];
        for tokenizer in TOKENIZERS.get_or_init(|| files.iter().filter_map(|f| load(f)).collect()) {
            // A text that writes out a special token loses it: those have no text.
            let ids = tokenizer.encode(&text, false);
            if ids.iter().all(|id| !tokenizer.is_special(*id)) {
                prop_assert_eq!(tokenizer.decode(&ids), text.as_str());
            }
        }
    }
}
