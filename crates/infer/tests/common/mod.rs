//! A small real tokenizer, and a network of random weights for it.

use infer::{Engine, EngineOptions};
use model::{Config, Weights};
use text::Tokenizer;

/// Byte-level BPE of 280 tokens or fewer; the last is `<|endoftext|>`.
pub fn tokenizer() -> Tokenizer {
    let options = text::bpe::TrainOptions {
        vocabulary: 280,
        special_tokens: vec!["<|endoftext|>".into()],
        min_frequency: 1,
    };
    let documents = ["the cat and the dog", "the bird and the fish", "naïve café 東京"];
    let json = text::bpe::train(documents.map(String::from).into_iter(), &options).unwrap();
    Tokenizer::from_bytes(&json).unwrap()
}

/// Ternary, of 2 layers, 64 places, weights large enough that its choices are clear.
pub fn engine(vocabulary: usize) -> Engine {
    engine_of(vocabulary, 1.0, 9)
}

/// As [`engine`], of a share of quantisation and a seed.
pub fn engine_of(vocabulary: usize, lambda: f32, seed: u64) -> Engine {
    scaled(vocabulary, lambda, seed, 1.0)
}

/// As [`engine_of`] at λ = 1, its embeddings enlarged: the more they outweigh the layers, the more it says the same again.
#[allow(dead_code)] // each test binary takes what it needs
pub fn repetitive(vocabulary: usize, seed: u64, embedding: f32) -> Engine {
    scaled(vocabulary, 1.0, seed, embedding)
}

fn scaled(vocabulary: usize, lambda: f32, seed: u64, embedding: f32) -> Engine {
    let text = format!(
        "hidden = 32\nlayers = 2\nheads = 2\nkv_heads = 1\nhead_size = 16\nffn = 48\nvocabulary = {vocabulary}\ncontext = 64"
    );
    let config: Config = toml::from_str(&text).unwrap();
    let mut weights = Weights::random(&config, seed);
    weights.data.iter_mut().for_each(|w| *w *= 8.0);
    let slot = weights.layout.embedding;
    slot.of_mut(&mut weights.data).iter_mut().for_each(|w| *w *= embedding);
    let options = EngineOptions { threads: 1, lambda, ..EngineOptions::default() };
    Engine::new(&weights, options).unwrap()
}
