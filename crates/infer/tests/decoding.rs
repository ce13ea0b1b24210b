//! Proposals, grammars, log-probabilities and sessions that go on: what they add, and what they must not change.

mod common;

use common::{engine, engine_of, repetitive, tokenizer};
use infer::{
    Constraint, Engine, Finish, Generated, Grammar, InferError, Mirostat, Options, Sampling, Session,
    generate,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use text::Tokenizer;

fn go_on(session: &mut Session, tokenizer: &Tokenizer, prompt: &[u32], options: &Options) -> Generated {
    generate(session, tokenizer, prompt, options, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn run(engine: &Engine, tokenizer: &Tokenizer, prompt: &[u32], options: &Options) -> Generated {
    let mut session = engine.session(64).unwrap();
    go_on(&mut session, tokenizer, prompt, options)
}

fn samplings() -> Vec<Sampling> {
    let warm = |seed| Sampling { temperature: 0.3, seed, ..Sampling::default() };
    vec![
        Sampling::default(),
        Sampling { repetition_penalty: 1.02, ..Sampling::default() },
        Sampling { frequency_penalty: 0.2, presence_penalty: 0.1, ..Sampling::default() },
        Sampling { logit_bias: vec![(3, 2.0)], ..Sampling::default() },
        Sampling { top_k: 4, top_p: 0.9, ..warm(1) },
        Sampling { min_p: 0.05, typical_p: 0.9, ..warm(2) },
        Sampling { mirostat: Some(Mirostat { tau: 1.0, eta: 0.1 }), ..warm(3) },
    ]
}

#[test]
fn a_lookup_changes_no_token() {
    let tokenizer = tokenizer();
    let mut accepted = 0;
    for seed in 0..6 {
        let vocabulary = tokenizer.vocabulary_size();
        let engine = repetitive(vocabulary, seed, 4f32.powi(seed as i32));
        let prompt = tokenizer.encode("the cat and the dog and the cat and the dog and the", true);
        for sampling in samplings() {
            let plain = Options { max_tokens: 64, sampling, ..Options::default() };
            let without = run(&engine, &tokenizer, &prompt, &plain);
            assert_eq!(without.proposals.proposed, 0);
            let (_, end) = without.tokens.split_at(without.tokens.len() / 2);
            let stop: String = without.text.chars().skip(20).take(3).collect();
            let stop = if stop.is_empty() { "no such text".to_owned() } else { stop };
            for lookup in [1, 3, 10, 100] {
                let proposing = Options { lookup, ..plain.clone() };
                let with = run(&engine, &tokenizer, &prompt, &proposing);
                assert_eq!((&with.tokens, with.finish), (&without.tokens, without.finish), "{plain:?}");
                accepted += with.proposals.accepted;
                // other ends: in the middle of what was proposed
                for ending in [
                    Options { max_tokens: 7, ..plain.clone() },
                    Options { end_of_text: vec![end[0]], ..plain.clone() },
                    Options { stop: vec![stop.clone()], ..plain.clone() },
                ] {
                    let without = run(&engine, &tokenizer, &prompt, &ending);
                    let with = run(&engine, &tokenizer, &prompt, &Options { lookup, ..ending });
                    assert_eq!(with.tokens, without.tokens);
                    assert_eq!((with.text, with.finish), (without.text, without.finish));
                }
            }
        }
    }
    assert!(accepted > 500, "the test is about proposals that are accepted too: {accepted}");
}

/// A head so large that its best rows are found through the screen.
#[test]
fn a_lookup_changes_no_token_of_a_screened_head() {
    let tokenizer = tokenizer();
    let start = tokenizer.encode("the cat and", true);
    let mut accepted = 0;
    for seed in 0..3 {
        let engine = repetitive(140_000, seed, 4f32.powi(5 + seed as i32));
        for sampling in [Sampling::default(), Sampling { temperature: 0.5, top_k: 3, ..Sampling::default() }]
        {
            let plain = Options { max_tokens: 16, sampling, ..Options::default() };
            // What it said once, it may say again.
            let once = run(&engine, &tokenizer, &start, &plain).tokens;
            let prompt = [&start[..], &once, &start].concat();
            let without = run(&engine, &tokenizer, &prompt, &plain);
            let with = run(&engine, &tokenizer, &prompt, &Options { lookup: 6, ..plain });
            assert_eq!(with.tokens, without.tokens);
            accepted += with.proposals.accepted;
        }
    }
    assert!(accepted > 20, "{accepted}");
}

#[test]
fn a_lookup_where_sums_are_not_exact_is_refused() {
    let tokenizer = tokenizer();
    let engine = engine_of(tokenizer.vocabulary_size(), 0.5, 1);
    let mut session = engine.session(64).unwrap();
    let options = Options { lookup: 4, ..Options::default() };
    let error = generate(&mut session, &tokenizer, &[1], &options, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(error, Err(InferError::InexactLookup)));
}

#[test]
fn a_session_goes_on_with_what_it_has_read() {
    let tokenizer = tokenizer();
    let engine = engine(tokenizer.vocabulary_size());
    for lookup in [0, 5] {
        let options = Options { max_tokens: 6, lookup, ..Options::default() };
        let mut session = engine.session(64).unwrap();
        let mut text = tokenizer.encode("the cat and the dog", true);
        for turn in 0..4 {
            let fresh = run(&engine, &tokenizer, &text, &options);
            let known = session.position();
            let next = go_on(&mut session, &tokenizer, &text, &options);
            assert_eq!(next.tokens, fresh.tokens, "turn {turn}");
            assert_eq!(next.reused, known, "all that was read begins the next text");
            text.extend(&next.tokens);
            assert!(text.starts_with(session.ids()));
            text.extend(tokenizer.encode(" the bird", false));
        }
        // an edited beginning: only what is still the same is kept
        text[2] += 1;
        let fresh = run(&engine, &tokenizer, &text, &options);
        let next = go_on(&mut session, &tokenizer, &text, &options);
        assert_eq!((next.tokens, next.reused), (fresh.tokens, 2));
    }
}

#[test]
fn logprobs_are_of_the_tokens_and_change_none() {
    let tokenizer = tokenizer();
    let engine = engine(tokenizer.vocabulary_size());
    let prompt = tokenizer.encode("the cat", true);
    for sampling in samplings() {
        let plain = Options { max_tokens: 12, sampling, ..Options::default() };
        let without = run(&engine, &tokenizer, &prompt, &plain);
        for lookup in [0, 4] {
            let asking = Options { logprobs: Some(3), lookup, ..plain.clone() };
            let with = run(&engine, &tokenizer, &prompt, &asking);
            assert_eq!(with.tokens, without.tokens);
            let ids: Vec<u32> = with.logprobs.iter().map(|step| step.id).collect();
            assert_eq!(ids, with.tokens);
            for step in &with.logprobs {
                assert!(step.top.len() == 3 && step.top[0].1 >= step.logprob && step.logprob <= 0.0);
                assert!(step.top.iter().all(|(id, p)| *id != step.id || *p == step.logprob));
            }
        }
        assert!(without.logprobs.is_empty());
    }
}

fn constrained(grammar: &Grammar, temperature: f32, seed: u64, lookup: usize) -> Generated {
    let tokenizer = tokenizer();
    let engine = engine_of(tokenizer.vocabulary_size(), 1.0, seed);
    let ends = tokenizer.end_ids();
    let constraint = Constraint::new(grammar, &tokenizer, &ends).unwrap();
    let options = Options {
        max_tokens: 62,
        sampling: Sampling { temperature, seed, ..Sampling::default() },
        end_of_text: ends,
        constraint: Some(constraint),
        lookup,
        ..Options::default()
    };
    run(&engine, &tokenizer, &[5], &options)
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "a": {"type": "integer", "minimum": -20, "maximum": 300},
            "b": {"enum": ["x", "yes", null, true]},
            "c": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
            "d": {"type": "string", "maxLength": 3},
        },
        "required": ["a", "b", "d"],
        "additionalProperties": false,
    })
}

/// Whether a value is one of [`schema`].
fn is_valid(value: &Value) -> bool {
    let object = value.as_object().unwrap();
    let known = object.keys().all(|key| ["a", "b", "c", "d"].contains(&key.as_str()));
    let c = object.get("c").is_none_or(|c| {
        let items = c.as_array().unwrap();
        items.len() <= 2 && items.iter().all(Value::is_boolean)
    });
    let b = [json!("x"), json!("yes"), json!(null), json!(true)].contains(&object["b"]);
    // −0 is an integer too, but no i64
    let a = object["a"].as_f64().is_some_and(|a| (-20.0..=300.0).contains(&a) && a.fract() == 0.0);
    known && a && b && c && object["d"].as_str().unwrap().chars().count() <= 3
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_random_network_writes_what_its_schema_says(
        seed in 0u64..10_000,
        temperature in prop_oneof![Just(0.0f32), 0.5f32..3.0],
        lookup in prop_oneof![Just(0usize), Just(6)],
    ) {
        let generated = constrained(&Grammar::JsonSchema(schema()), temperature, seed, lookup);
        prop_assert!(matches!(generated.finish, Finish::Complete | Finish::EndOfText), "{}", generated.text);
        let value: Value = serde_json::from_str(&generated.text).unwrap();
        prop_assert!(is_valid(&value), "{value}");
        prop_assert_eq!(generated.tokens, constrained(&Grammar::JsonSchema(schema()), temperature, seed, 0).tokens);
    }
}

#[test]
fn regular_expressions_and_grammars_hold_too() {
    for seed in 0..20 {
        let text = constrained(&Grammar::Regex("(the|a) (cat|dog){1,2}[0-9]{2}!".into()), 1.5, seed, 0).text;
        let rest = text.strip_prefix("the ").or(text.strip_prefix("a ")).unwrap();
        let rest = rest.trim_start_matches("cat").trim_start_matches("dog").trim_start_matches("cat");
        assert!(rest.len() == 3 && rest.ends_with('!') && rest[..2].parse::<u8>().is_ok(), "{text}");
        let grammar = "start: \"(\" sum \")\"\nsum: NUMBER \"+\" NUMBER\nNUMBER: /[1-9][0-9]/";
        let text = constrained(&Grammar::Lark(grammar.into()), 1.5, seed, 0).text;
        let (a, b) = text.trim_matches(['(', ')']).split_once('+').unwrap();
        assert!(text.starts_with('(') && text.ends_with(')'), "{text}");
        assert!([a, b].iter().all(|number| (10..100).contains(&number.parse::<u8>().unwrap())), "{text}");
    }
}

#[test]
fn what_is_no_grammar_is_an_error_of_one_sentence() {
    let tokenizer = tokenizer();
    for grammar in [
        Grammar::Regex("(unclosed".into()),
        Grammar::Lark("start: nowhere".into()),
        Grammar::Lark("\u{0} ¿".into()),
        Grammar::JsonSchema(json!({"type": "nonsense"})),
        Grammar::JsonSchema(json!(17)),
        Grammar::JsonSchema(json!({"type": "string", "not": {"const": "x"}})),
        Grammar::JsonSchema(json!({"$ref": "https://example.com/schema"})),
    ] {
        let error = Constraint::new(&grammar, &tokenizer, &[]).unwrap_err();
        let sentence = error.to_string();
        assert!(!sentence.contains('\n') && sentence.len() > 40, "{sentence}");
        assert!(matches!(error, InferError::Grammar { .. }));
    }
}
