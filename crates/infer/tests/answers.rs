//! What tells a network from one that is a little different.

use infer::{Answers, prompts};
use model::{Activation, Config, Weights};

#[allow(dead_code)] // it takes the tokenizer only
mod common;

fn weights(config: &Config) -> Weights {
    let mut weights = Weights::random(config, 7);
    weights.data.iter_mut().for_each(|w| *w *= 6.0);
    weights
}

fn config(more: &str) -> Config {
    let text =
        "hidden = 32\nlayers = 2\nheads = 2\nkv_heads = 1\nhead_size = 16\nffn = 48\nvocabulary = 280\n";
    toml::from_str(&format!("{text}{more}")).unwrap()
}

#[test]
fn a_network_agrees_with_itself_to_the_bit_and_not_with_another() {
    let config = config("context = 64");
    let source = weights(&config);
    let prompts = prompts(config.vocabulary, Some(&common::tokenizer()));
    let answers = Answers::of(&source, &prompts, None).unwrap();
    let same = answers.agreement(&Answers::of(&source, &prompts, Some(&answers)).unwrap());
    assert_eq!((same.prompts, same.tokens, same.equal, same.largest), (4, 64, 64, 0.0));

    let mut gate = weights(&Config { activation: Activation::Silu, ..config.clone() });
    let other = answers.agreement(&Answers::of(&gate, &prompts, Some(&answers)).unwrap());
    assert!(other.largest > 0.2 && other.equal < 64, "{other:?}");
    gate = weights(&Config { rope_theta: 100.0, ..config });
    let other = answers.agreement(&Answers::of(&gate, &prompts, Some(&answers)).unwrap());
    assert!(other.largest > 0.05, "{other:?}");
}

#[test]
fn a_short_context_shortens_prompts_and_answers() {
    for context in [1_usize, 2, 3, 9] {
        let source = weights(&config(&format!("context = {context}")));
        let answers = Answers::of(&source, &prompts(280, None), None).unwrap();
        let agreement =
            answers.agreement(&Answers::of(&source, &prompts(280, None), Some(&answers)).unwrap());
        assert_eq!(agreement.tokens, 4 * (context + 1 - context.div_ceil(2)), "{context}");
    }
}

#[test]
fn answers_that_are_no_numbers_are_an_error() {
    let mut source = weights(&config("context = 32"));
    let slot = source.layout.final_norm;
    slot.of_mut(&mut source.data).fill(f32::INFINITY);
    let error = Answers::of(&source, &prompts(280, None), None).err().unwrap().to_string();
    assert!(error.contains("not finite"), "{error}");
}
