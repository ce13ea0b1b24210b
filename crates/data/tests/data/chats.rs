//! Conversations: what is scored of them, how they are packed, and what is refused.

use crate::common::{Place, TOKENIZER};
use data::{Batch, ChatOptions, Chats, DataError, IGNORE, Loader, LoaderOptions, Split};
use std::path::PathBuf;
use std::sync::Arc;
use text::Tokenizer;

const TURNS: &str = "{% for m in messages %}{{ m.role | capitalize + ': ' + m.content + (eos_token if m.role == 'assistant' else '') + '\n' }}\
    {% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}";

fn read(files: &[PathBuf], template: &str, sequence: usize) -> Result<Chats, DataError> {
    let end_ids = data::chats::end_ids(&TOKENIZER)?;
    Chats::read(&ChatOptions {
        files,
        tokenizer: &TOKENIZER,
        template,
        end_ids: &end_ids,
        sequence,
        valid_share: 0.1,
    })
}

fn loader(chats: &Arc<Chats>, split: Split, batch: usize, seed: u64) -> Loader {
    let options = LoaderOptions { batch, sequence: chats.sequence(), seed, document_mask: true };
    Loader::of_chats(chats.clone(), split, options).unwrap()
}

/// Questions and answers of different lengths.
fn exchanges(count: usize) -> String {
    let line = |n: usize| {
        let (question, answer) = (format!("{n} {}?", "why ".repeat(n % 5)), "so ".repeat(1 + n % 7));
        serde_json::json!({ "question": question, "answer": format!("{answer}{n}") }).to_string()
    };
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

/// Texts of the conversations of a batch: tokens in [ ] where they are targets.
fn spoken(batch: &Batch, sequence: usize) -> Vec<String> {
    let tokenizer = Tokenizer::from_bytes(&TOKENIZER).unwrap();
    let text = |id: u32| match tokenizer.is_special(id) {
        true => "<end>".to_owned(),
        false => tokenizer.decode(&[id]),
    };
    let mut texts: Vec<String> = Vec::new();
    for row in 0..batch.tokens.len() {
        let first = row % sequence == batch.starts[row] as usize;
        if first {
            texts.push(text(batch.tokens[row]));
        }
        let (last, target) = (texts.last_mut().unwrap(), batch.targets[row]);
        let goes_on = (row + 1) % sequence != 0 && batch.starts[row + 1] == batch.starts[row];
        match target == IGNORE {
            true if goes_on => last.push_str(&text(batch.tokens[row + 1])),
            true => {}
            false => last.push_str(&format!("[{}]", text(target))),
        }
    }
    texts.iter().map(|text| text.replace("][", "")).collect()
}

#[test]
fn answers_alone_are_scored_with_the_token_that_ends_them() {
    let place = Place::new();
    let turns = r#"{"messages":[{"role":"system","content":"Be."},{"role":"user","content":"A?"},{"role":"assistant","content":"one"},{"role":"user","content":"B?"},{"role":"assistant","content":"two"},{"role":"user","content":"bye"}]}"#;
    let file = place.file("a.jsonl", format!("{turns}\n{}", r#"{"prompt":"C?","completion":"three"}"#));
    let chats = Arc::new(read(&[file], TURNS, 200).unwrap());
    let mut texts = Vec::new();
    for split in Split::ALL {
        let mut batch = Batch::default();
        loader(&chats, split, 1, 0).next(&mut batch);
        texts.extend(spoken(&batch, 200).into_iter().filter(|text| text.contains('[')));
    }
    texts.sort();
    assert_eq!(
        texts,
        [
            "System: Be.\nUser: A?\nAssistant:[ one<end>]\nUser: B?\nAssistant:[ two<end>]",
            "User: C?\nAssistant:[ three<end>]"
        ]
    );
    assert_eq!(chats.counts().open, 0);
}

/// The prompt of BitNet's template ends with a blank, which in running text is part of the next word's token.
#[test]
fn an_answer_is_learned_after_the_ids_that_it_is_asked_with() {
    let place = Place::new();
    let lines = r#"{"prompt":"A?","completion":"and the"}"#.to_owned()
        + "\n"
        + r#"{"prompt":"B?","completion":"of the"}"#;
    let template = "{% for m in messages %}{{ m.role | capitalize + ': ' + m.content + eos_token }}{% endfor %}\
        {% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";
    let chats = Arc::new(read(&[place.file("a.jsonl", lines)], template, 40).unwrap());
    let tokenizer = Tokenizer::from_bytes(&TOKENIZER).unwrap();
    for split in Split::ALL {
        let mut batch = Batch::default();
        loader(&chats, split, 1, 0).next(&mut batch);
        let question = if spoken(&batch, 40)[0].contains("A?") { "A?" } else { "B?" };
        let prompt = tokenizer.encode(&format!("User: {question}<|endoftext|>Assistant: "), false);
        assert_eq!(batch.tokens[..prompt.len()], prompt);
        let first = batch.targets.iter().position(|target| *target != IGNORE);
        assert_eq!(first, Some(prompt.len() - 1));
    }
}

#[test]
fn windows_hold_whole_conversations_each_once_a_pass() {
    let place = Place::new();
    let chats = Arc::new(read(&[place.file("a.jsonl", exchanges(60))], TURNS, 64).unwrap());
    let counts = chats.counts();
    assert_eq!((counts.conversations, counts.cut, counts.duplicates), (60, 0, 0));
    let mut train = loader(&chats, Split::Train, chats.windows(Split::Train) as usize, 3);
    let (mut batch, mut texts) = (Batch::default(), Vec::new());
    train.next(&mut batch);
    let scored = batch.targets.iter().filter(|target| **target != IGNORE).count();
    texts.extend(spoken(&batch, 64));
    assert!(loader(&chats, Split::Valid, 1, 3).next(&mut batch));
    let mut valid = loader(&chats, Split::Valid, chats.windows(Split::Valid) as usize, 3);
    valid.next(&mut batch);
    texts.extend(spoken(&batch, 64));
    let held = batch.targets.iter().filter(|target| **target != IGNORE).count();
    assert!(!valid.next(&mut batch));
    assert_eq!((scored + held) as u64, counts.scored);
    texts.retain(|text| text.contains('['));
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 60);
    assert!(texts.iter().all(|text| text.starts_with("User: ") && text.ends_with("<end>]")), "{texts:?}");
}

#[test]
fn the_order_is_the_seeds_and_a_cursor_comes_back_to_it() {
    let place = Place::new();
    let file = [place.file("a.jsonl", exchanges(80))];
    let chats = Arc::new(read(&file, TURNS, 64).unwrap());
    let take = |loader: &mut Loader, count: usize| -> Vec<Batch> {
        let mut next = || {
            let mut batch = Batch::default();
            loader.next(&mut batch);
            batch
        };
        (0..count).map(|_| next()).collect()
    };
    let mut whole = loader(&chats, Split::Train, 2, 5);
    let all = take(&mut whole, 12);
    assert_ne!(all, take(&mut loader(&chats, Split::Train, 2, 6), 12));
    let mut half = loader(&chats, Split::Train, 2, 5);
    take(&mut half, 5);
    // read anew, as a resumed run does
    let again = Arc::new(read(&file, TURNS, 64).unwrap());
    let mut resumed = loader(&again, Split::Train, 2, 5);
    resumed.seek(&half.cursor()).unwrap();
    assert_eq!(take(&mut resumed, 7), all[5..]);
    place.file("a.jsonl", exchanges(81));
    let other = Arc::new(read(&file, TURNS, 64).unwrap());
    assert!(loader(&other, Split::Train, 2, 5).seek(&half.cursor()).is_err());
}

#[test]
fn an_answer_of_no_text_is_context_and_not_learned() {
    let place = Place::new();
    let turns = r#"{"messages":[{"role":"user","content":"A?"},{"role":"assistant","content":""},{"role":"user","content":"B?"},{"role":"assistant","content":"two"}]}"#;
    let file = place.file("a.jsonl", format!("{turns}\n{turns}").replacen("two", "one", 1));
    let chats = Arc::new(read(&[file], TURNS, 200).unwrap());
    for split in Split::ALL {
        let mut batch = Batch::default();
        loader(&chats, split, 1, 0).next(&mut batch);
        let text = spoken(&batch, 200).swap_remove(0);
        let answer = text.strip_prefix("User: A?\nAssistant: <end>\nUser: B?\nAssistant:");
        assert!(matches!(answer, Some("[ one<end>]" | "[ two<end>]")), "{text}");
    }
}

#[test]
fn what_is_too_long_twice_there_or_without_an_answer_is_counted() {
    let place = Place::new();
    let long = serde_json::json!({ "prompt": "Q?", "completion": "word ".repeat(100) });
    let late = serde_json::json!({ "prompt": "why ".repeat(100), "completion": "late" });
    let lines = [
        long.to_string(),
        late.to_string(),
        r#"{"prompt":"silent","completion":" "}"#.into(),
        r#"{"messages":[{"role":"user","content":"silent"},{"role":"assistant","content":""}]}"#.into(),
        r#"{"prompt":"a","completion":"b"}"#.into(),
        r#"{"prompt":"a","completion":"b"}"#.into(),
    ];
    let chats = read(&[place.file("a.jsonl", lines.join("\n"))], TURNS, 40).unwrap();
    let counts = chats.counts();
    assert_eq!((counts.conversations, counts.cut, counts.unanswered, counts.duplicates), (2, 1, 3, 1));
    let notes = chats.notes().join("\n");
    assert!(notes.contains("longer than 41 tokens, cut: 1"), "{notes}");
    let endless = TURNS.replace("eos_token", "'.'");
    assert_eq!(read(&[place.at("a.jsonl")], &endless, 40).unwrap().counts().open, 2);
}

#[test]
fn hostile_files_are_errors_with_file_and_line() {
    let place = Place::new();
    let sound = r#"{"prompt":"a","completion":"b"}"#;
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("half.jsonl", r#"{"prompt":"\ud83d","completion":"b"}"#.into(), "line 1: it has half a character"),
        ("json.jsonl", format!("{sound}\n\n{{\"prompt\":\n").into(), "line 3: it is no JSON"),
        (
            "role.jsonl",
            r#"{"messages":[{"role":"tool","content":"x"}]}"#.into(),
            "line 1: message 1: its role",
        ),
        ("deep.jsonl", "[".repeat(100_000).into(), "line 1: it is no JSON"),
        ("keys.jsonl", format!("{sound}\n{{\"text\":\"t\"}}").into(), "line 2: it is no conversation"),
        ("one.jsonl", sound.into(), "at least two"),
        ("blank.jsonl", "\n \n".into(), "no conversation"),
        ("binary.jsonl", b"{\"a\":\0}".to_vec(), "zero byte"),
        ("cut.jsonl.gz", vec![0x1f, 0x8b, 8, 0, 0], "compressed file"),
    ];
    for (name, bytes, expected) in cases {
        let file = place.file(name, bytes);
        let error = read(&[file], TURNS, 40).expect_err(name).to_string();
        assert!(error.contains(name) && error.contains(expected), "{name}: {error}");
        assert!(!error.contains('\n') && error.len() < 600, "{name}: {error}");
    }
    let sound = place.file("sound.jsonl", exchanges(3));
    let refuses = "{{ raise_exception('no users here') }}";
    let forgets = "{% for m in messages %}{{ m.content if loop.last else '' }}{% endfor %}";
    let turns = r#"{"messages":[{"role":"assistant","content":"a"},{"role":"user","content":"b"}]}"#;
    let talk = place.file("talk.jsonl", turns);
    let prompts = "{% if add_generation_prompt and messages|length > 2 %}ab{% else %}ac{% endif %}\
        {% for m in messages %}{{ m.content }}{% endfor %}";
    let said = ["user", "assistant", "user", "assistant"].into_iter().zip(["he", "llo", "x", "y"]);
    let said: Vec<_> =
        said.map(|(role, content)| serde_json::json!({ "role": role, "content": content })).collect();
    let long = place.file("long.jsonl", serde_json::json!({ "messages": said }).to_string());
    for (file, template, expected) in [
        (&sound, refuses, "no users here"),
        (&talk, forgets, "an answer differently"),
        (&long, prompts, "was said before differently"),
    ] {
        let error = read(std::slice::from_ref(file), template, 40).unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains(expected), "{error}");
    }
    for (name, expected) in [("gone.jsonl", "gone.jsonl"), ("text.txt", "JSON lines")] {
        place.file("text.txt", "text");
        let error = read(&[place.at(name)], TURNS, 40).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
