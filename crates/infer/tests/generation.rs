//! Generation with a real tokenizer and random weights: what comes out, and why it ends.

mod common;

use common::{engine, tokenizer};
use infer::{Engine, EngineOptions, Finish, Generated, InferError, Options, Sampling, generate};
use model::{Config, Weights};
use std::ops::ControlFlow;

/// A continuation of "the cat", and the pieces it came in.
fn run(options: &Options, context: usize) -> (Generated, Vec<String>) {
    let tokenizer = tokenizer();
    let engine = engine(tokenizer.vocabulary_size());
    let mut session = engine.session(context).unwrap();
    let prompt = tokenizer.encode("the cat", true);
    let mut pieces = Vec::new();
    let generated = generate(&mut session, &tokenizer, &prompt, options, &mut |piece| {
        pieces.push(piece.to_string());
        ControlFlow::Continue(())
    });
    (generated.unwrap(), pieces)
}

fn options() -> Options {
    Options {
        max_tokens: 40,
        sampling: Sampling { temperature: 1.0, seed: 4, ..Sampling::default() },
        ..Options::default()
    }
}

#[test]
fn pieces_are_the_text_and_the_text_is_the_tokens() {
    let (generated, pieces) = run(&options(), 64);
    assert_eq!(generated.finish, Finish::MaxTokens);
    assert_eq!(generated.tokens.len(), 40);
    assert_eq!(generated.text, pieces.concat());
    assert_eq!(generated.text, tokenizer().decode(&generated.tokens));
    assert_eq!(run(&options(), 64).0.tokens, generated.tokens);
}

#[test]
fn greedy_follows_the_greatest_logit() {
    let greedy = Options { max_tokens: 5, ..Options::default() };
    let (generated, _) = run(&greedy, 64);
    let tokenizer = tokenizer();
    let engine = engine(tokenizer.vocabulary_size());
    let mut ids = tokenizer.encode("the cat", true);
    for token in generated.tokens {
        let mut session = engine.session(64).unwrap();
        let logits = session.forward(&ids).unwrap();
        assert!(logits.iter().all(|logit| *logit <= logits[token as usize]));
        ids.push(token);
    }
}

#[test]
fn a_stop_string_ends_the_text_and_is_not_shown() {
    let (whole, _) = run(&options(), 64);
    let middle: Vec<char> = whole.text.chars().skip(6).take(3).collect();
    let stop: String = middle.into_iter().collect();
    let stopping = Options { stop: vec!["never in there".into(), stop.clone()], ..options() };
    let (generated, pieces) = run(&stopping, 64);
    assert_eq!(generated.finish, Finish::Stop);
    assert_eq!(generated.text, pieces.concat());
    let before = whole.text.split(&stop).next().unwrap();
    assert_eq!(generated.text, before);
}

#[test]
fn an_end_token_the_context_and_the_caller_end_it_too() {
    let (whole, _) = run(&options(), 64);
    let ending = Options { end_of_text: vec![whole.tokens[7]], ..options() };
    let (generated, _) = run(&ending, 64);
    assert_eq!(generated.finish, Finish::EndOfText);
    let first = whole.tokens.iter().position(|id| *id == whole.tokens[7]).unwrap();
    assert_eq!(generated.tokens, whole.tokens[..first]);

    let prompt = tokenizer().encode("the cat", true).len();
    let (generated, _) = run(&options(), prompt + 3);
    assert_eq!(generated.finish, Finish::ContextFull);
    // the last token needs no place: nothing is read after it
    assert_eq!(generated.tokens, whole.tokens[..4]);

    let tokenizer = tokenizer();
    let engine = engine(tokenizer.vocabulary_size());
    let mut session = engine.session(64).unwrap();
    let mut cancel = |_: &str| ControlFlow::Break(());
    let generated = generate(&mut session, &tokenizer, &[5], &options(), &mut cancel).unwrap();
    assert_eq!(generated.finish, Finish::Cancelled);
}

#[test]
fn what_cannot_be_continued_is_an_error() {
    let tokenizer = tokenizer();
    let engine = engine(tokenizer.vocabulary_size());
    let mut session = engine.session(4).unwrap();
    let mut ignore = |_: &str| ControlFlow::Continue(());
    let mut attempt = |prompt: &[u32], options: &Options| {
        generate(&mut session, &tokenizer, prompt, options, &mut ignore).unwrap_err()
    };
    assert!(matches!(attempt(&[], &options()), InferError::EmptyPrompt));
    assert!(matches!(attempt(&[1, 2, 3, 4, 5], &options()), InferError::ContextFull { context: 4, .. }));
    let empty_stop = Options { stop: vec![String::new()], ..options() };
    assert!(matches!(attempt(&[1], &empty_stop), InferError::EmptyStop));
    let mut cold = options();
    cold.sampling.temperature = -1.0;
    assert!(matches!(attempt(&[1], &cold), InferError::Sampling { .. }));
}

/// In a head that is multiplied whole and in one that is screened, far behind the first rows.
#[test]
fn a_row_of_the_head_that_is_not_finite_is_named() {
    let tokenizer = tokenizer();
    for vocabulary in [300, 140_000] {
        let text =
            "hidden = 32\nlayers = 1\nheads = 1\nkv_heads = 1\nhead_size = 32\nffn = 32\ncontext = 8\n";
        let config: Config = toml::from_str(&format!("{text}vocabulary = {vocabulary}")).unwrap();
        let mut weights = Weights::random(&config, 1);
        for damage in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let head = weights.layout.head;
            head.of_mut(&mut weights.data)[32 * 270 + 5] = damage;
            let engine = Engine::new(&weights, EngineOptions::default()).unwrap();
            let mut session = engine.session(8).unwrap();
            for sampling in
                [Sampling::default(), Sampling { temperature: 1.0, top_k: 3, ..Sampling::default() }]
            {
                let options = Options { max_tokens: 3, sampling, ..Options::default() };
                let error =
                    generate(&mut session, &tokenizer, &[1, 2], &options, &mut |_| ControlFlow::Continue(()));
                assert!(
                    matches!(error, Err(InferError::NotFinite { position: 2 })),
                    "{vocabulary}, {damage}"
                );
            }
        }
    }
}

#[test]
fn damaged_weights_are_named() {
    let tokenizer = tokenizer();
    let text = format!(
        "hidden = 8\nlayers = 1\nheads = 1\nkv_heads = 1\nhead_size = 8\nffn = 8\nvocabulary = {}\ncontext = 8",
        tokenizer.vocabulary_size()
    );
    let config: Config = toml::from_str(&text).unwrap();
    let mut weights = Weights::random(&config, 1);
    let gain = weights.layout.final_norm;
    gain.of_mut(&mut weights.data)[3] = f32::NAN;
    let engine = Engine::new(&weights, EngineOptions::default()).unwrap();
    let mut session = engine.session(8).unwrap();
    let mut ignore = |_: &str| ControlFlow::Continue(());
    let error = generate(&mut session, &tokenizer, &[1, 2], &options(), &mut ignore).unwrap_err();
    assert!(matches!(error, InferError::NotFinite { position: 2 }));
}
