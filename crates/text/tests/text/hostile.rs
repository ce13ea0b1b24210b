//! Files that are no tokenizers: a sentence, never a panic, never a large allocation.

use crate::{documents, trained};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use text::Tokenizer;
use text::bpe::{TrainOptions, train};

fn small() -> Vec<u8> {
    train(documents(), &TrainOptions { vocabulary: 260, ..Default::default() }).unwrap()
}

fn refusal(json: &[u8]) -> String {
    match Tokenizer::from_bytes(json) {
        Ok(_) => panic!("accepted: {}", String::from_utf8_lossy(&json[..json.len().min(200)])),
        Err(error) => error.to_string(),
    }
}

/// The small tokenizer with `change` made to its JSON.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut json: Value = serde_json::from_slice(&small()).unwrap();
    change(&mut json);
    serde_json::to_vec(&json).unwrap()
}

#[test]
fn files_that_are_no_tokenizers() {
    let cases: [(&[u8], &str); 8] = [
        (b"", "empty"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "not a tokenizer.json"),
        (b"{\"version\": \"1.0\", \"model\": {\"vo", "not a tokenizer.json"),
        (b"{\"hidden_size\": 256}", "no \"model\""),
        (b"{\"model\": {\"type\": \"BPE\"}}", "no \"model\" with a \"vocab\""),
        (b"{\"model\": null}", "no \"model\""),
        (b"[1, 2, 3]", "not a tokenizer.json"),
        (b"{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}}", "vocabulary is empty"),
    ];
    for (json, part) in cases {
        let error = refusal(json);
        assert!(error.contains(part) && error.contains("trilobit tokenizer train"), "{error}");
    }
    let deep = format!("{{\"decoder\": {}", "[".repeat(100_000));
    assert!(refusal(deep.as_bytes()).contains("recursion limit"));
}

#[test]
fn a_hole_before_the_added_tokens_is_named() {
    let hole = changed(|json| {
        json["added_tokens"].as_array_mut().unwrap().push(json!({
            "id": 300, "content": "<|late|>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        }));
    });
    let error = refusal(&hole);
    assert!(error.contains("stated as id 300, but its place gives it id 260"), "{error}");
}

#[test]
fn ids_without_a_token_are_empty_rows() {
    let hole = changed(|json| json["model"]["vocab"]["zz"] = json!(263));
    let tokenizer = Tokenizer::from_bytes(&hole).unwrap();
    assert_eq!(tokenizer.vocabulary_size(), 264);
    assert_eq!(tokenizer.token_bytes(262), None);
    assert_eq!(tokenizer.token_bytes(263).as_deref(), Some(&b"zz"[..]));
    assert_eq!(tokenizer.decode(&[262, 263, u32::MAX]), "zz");
}

#[test]
fn contradictory_vocabularies() {
    let twice = changed(|json| json["model"]["vocab"]["zz"] = json!(200));
    assert!(refusal(&twice).contains("have the id 200"));
    let huge = changed(|json| json["model"]["vocab"]["zz"] = json!(u32::MAX));
    assert!(refusal(&huge).contains("largest token id is 4294967295"));
    let prefix =
        changed(|json| json["model"]["continuing_subword_prefix"] = json!("a prefix longer than tokens"));
    assert!(refusal(&prefix).contains("not a usable tokenizer"));
    let word_end = changed(|json| json["decoder"] = json!({"type": "BPEDecoder", "suffix": "</w>"}));
    assert!(refusal(&word_end).contains("\"BPEDecoder\" is not supported"));
}

/// The vocabulary is what is encoded at loading, and nothing else.
#[test]
fn words_without_a_token_for_the_unknown_are_refused() {
    let probe = "aZ 09\t\n\u{0}\u{7f} é\u{301}東🙂\u{fffd}\u{10ffff} <unk>\r\n  .";
    for kind in ["WordLevel", "WordPiece"] {
        let model = json!({
            "type": kind, "vocab": {probe: 0}, "unk_token": "[UNK]",
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100
        });
        let error = refusal(&serde_json::to_vec(&json!({"version": "1.0", "model": model})).unwrap());
        assert!(error.contains("no \"[UNK]\" for the words that are not in it"), "{kind}: {error}");
    }
}

#[test]
fn a_text_that_takes_too_many_steps_is_an_error() {
    let doubled = changed(|json| {
        json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "(?:a|aa)+b"}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
        ]});
    });
    let tokenizer = Tokenizer::from_bytes(&doubled).unwrap();
    assert_eq!(tokenizer.decode(&tokenizer.try_encode("aab cab", false).unwrap()), "aab cab");
    let error = tokenizer.try_encode(&format!("{}cb", "a".repeat(60)), false).unwrap_err().to_string();
    assert!(error.contains("begins \"aaaa") && error.contains("retry-limit"), "{error}");
    assert!(tokenizer.try_encode("a sound text", true).is_ok(), "an error leaves it usable");
}

/// What would make encoding lose text or depend on chance is turned off.
#[test]
fn truncation_padding_and_dropout_are_ignored() {
    let lossy = changed(|json| {
        json["truncation"] =
            json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
        json["padding"] = json!({
            "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "<|endoftext|>"
        });
        json["model"]["dropout"] = json!(0.5);
    });
    let exact = Tokenizer::from_bytes(&small()).unwrap();
    let tokenizer = Tokenizer::from_bytes(&lossy).unwrap();
    for text in documents() {
        assert_eq!(tokenizer.encode(&text, true), exact.encode(&text, true));
    }
}

/// A template such as Llama-3's goes around a text on request, once even for a text that is encoded in pieces.
#[test]
fn a_template_goes_around_the_text_once() {
    let special = json!({"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}});
    let own = json!({"Sequence": {"id": "A", "type_id": 0}});
    let text = "the crab slept ".repeat(10_000);
    for (single, before, after, begin) in [
        (json!([special, own]), &[0][..], &[][..], Some(0)),
        (json!([own, special]), &[], &[0], None),
        (json!([special, own, special, special]), &[0], &[0, 0], Some(0)),
        (json!([own]), &[], &[], None),
    ] {
        let json = changed(|json| {
            json["post_processor"] = json!({
                "type": "TemplateProcessing",
                "single": single,
                "pair": [own, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}}
            });
        });
        let tokenizer = Tokenizer::from_bytes(&json).unwrap();
        let exact = tokenizers::Tokenizer::from_bytes(&json).unwrap();
        for text in [&text[..], "the crab", ""] {
            let plain = tokenizer.encode(text, false);
            assert!(plain.iter().all(|id| *id != 0));
            let whole = tokenizer.encode(text, true);
            assert!(whole == [before, &plain, after].concat(), "{single}");
            assert!(whole == exact.encode_fast(text, true).unwrap().get_ids(), "{single}");
        }
        assert_eq!(tokenizer.begin_of_text(), begin, "{single}");
    }
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.json");
    std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    let message = |path: &Path| Tokenizer::load(path).err().expect("this is no tokenizer").to_string();
    let error = message(&path);
    assert!(error.contains("sparse.json") && error.contains("1073741824 bytes"), "{error}");
    assert!(message(&folder.path().join("none.json")).contains("does not exist"));
    assert!(message(folder.path()).contains("is a folder"));
}

#[test]
fn a_file_loads_as_its_bytes_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, small()).unwrap();
    let (a, b) = (Tokenizer::load(&path).unwrap(), Tokenizer::from_bytes(&small()).unwrap());
    assert_eq!(a.fingerprint(), b.fingerprint());
    assert_eq!(a.fingerprint().len(), 64);
    assert_ne!(a.fingerprint(), trained().fingerprint());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn cut_or_changed_bytes_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        static SMALL: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut json = SMALL.get_or_init(small).clone();
        let at = at.index(json.len());
        match cut {
            true => json.truncate(at),
            false => json[at] = byte,
        }
        if let Ok(tokenizer) = Tokenizer::from_bytes(&json)
            && let Ok(ids) = tokenizer.try_encode("The crab slept. 東京", true)
        {
            let _ = tokenizer.decode(&ids);
        }
    }
}
