//! Sequences that go through the network together: each gets the bits it would get alone.

use infer::{Batch, Engine, EngineOptions, InferError, Limits, Piece, SequenceId, Want};
use model::{Config, Weights};

/// Large enough a head to be screened, so that the best logits are products of single rows.
fn engine() -> Engine {
    let config: Config = toml::from_str(
        "hidden = 48\nlayers = 2\nheads = 4\nkv_heads = 2\nhead_size = 12\nffn = 80\nvocabulary = 90000\ncontext = 160",
    )
    .unwrap();
    let options = EngineOptions { threads: 2, ..EngineOptions::default() };
    Engine::new(&Weights::random(&config, 11), options).unwrap()
}

/// Twelve pages of 32 tokens: three sequences of up to 128.
const LIMITS: Limits = Limits { sequences: 3, context: 160, tokens: 384, rows: 16 };
const WANT: Want = Want::Best(5);

fn tokens(count: usize, seed: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 90_000) as u32).collect()
}

/// The best of a sequence read alone.
fn alone(engine: &Engine, ids: &[u32]) -> Vec<(u32, f32)> {
    engine.session(ids.len()).unwrap().forward_best(ids, 5).unwrap().to_vec()
}

/// Reads `ids[seen..seen + count]` of each sequence together, and holds each against itself alone.
fn step(engine: &Engine, batch: &mut Batch, steps: &[(SequenceId, &[u32], usize)]) {
    let pieces: Vec<Piece> = steps
        .iter()
        .map(|&(sequence, ids, count)| {
            let seen = batch.seen(sequence);
            Piece { sequence, ids: &ids[seen..seen + count], want: WANT }
        })
        .collect();
    batch.forward(&pieces).unwrap();
    for (index, (sequence, ids, _)) in steps.iter().enumerate() {
        let seen = batch.seen(*sequence);
        assert_eq!(batch.best(index), alone(engine, &ids[..seen]), "piece {index} after {seen} tokens");
    }
}

#[test]
fn company_changes_no_bit() {
    let engine = engine();
    let mut batch = engine.batch(LIMITS).unwrap();
    let [a, b, c] = [1, 2, 3].map(|seed| tokens(120, seed));
    let [first, second, third] = [100, 100, 100].map(|tokens| batch.open(tokens).unwrap());
    step(&engine, &mut batch, &[(first, &a, 1), (second, &b, 40), (third, &c, 33)]);
    step(&engine, &mut batch, &[(first, &a, 1), (second, &b, 1), (third, &c, 1)]);
    step(&engine, &mut batch, &[(third, &c, 20), (first, &a, 50)]);
    // Another sequence in the place and the pages of one that has gone.
    batch.close(second);
    let fourth = batch.open(100).unwrap();
    step(&engine, &mut batch, &[(fourth, &c, 70), (first, &a, 1)]);
    batch.rewind(fourth, 35).unwrap();
    step(&engine, &mut batch, &[(fourth, &c, 2), (third, &c, 1)]);
}

#[test]
fn a_fork_reads_what_is_shared_and_outlives_its_origin() {
    let engine = engine();
    let mut batch = engine.batch(LIMITS).unwrap();
    let (origin, mut other) = (tokens(90, 1), tokens(90, 1));
    other[70..].copy_from_slice(&tokens(20, 5));
    let first = batch.open(90).unwrap();
    step(&engine, &mut batch, &[(first, &origin, 80)]);
    let fork = batch.fork(first, 70, 90).unwrap();
    assert_eq!(batch.seen(fork), 64, "whole pages of 32");
    step(&engine, &mut batch, &[(fork, &other, 10), (first, &origin, 5)]);
    batch.close(first);
    let stranger = batch.open(90).unwrap();
    let ids = tokens(90, 9);
    step(&engine, &mut batch, &[(stranger, &ids, 90), (fork, &other, 16)]);
}

#[test]
fn a_rewound_origin_leaves_its_fork_alone() {
    let engine = engine();
    let mut batch = engine.batch(LIMITS).unwrap();
    let (ids, mut other) = (tokens(90, 1), tokens(90, 1));
    other[40..].copy_from_slice(&tokens(50, 6));
    let first = batch.open(90).unwrap();
    step(&engine, &mut batch, &[(first, &ids, 80)]);
    let fork = batch.fork(first, 70, 90).unwrap();
    // The second of the two pages that both read holds tokens 32 to 63.
    batch.rewind(first, 40).unwrap();
    step(&engine, &mut batch, &[(first, &other, 30), (fork, &ids, 10)]);
    batch.rewind(fork, 0).unwrap();
    step(&engine, &mut batch, &[(fork, &other, 70), (first, &other, 10)]);
}

#[test]
fn a_rewind_that_needs_pages_where_none_is_free_is_refused() {
    let engine = engine();
    let mut batch = engine.batch(Limits { tokens: 128, ..LIMITS }).unwrap();
    let ids = tokens(96, 1);
    let first = batch.open(90).unwrap();
    step(&engine, &mut batch, &[(first, &ids, 80)]);
    let fork = batch.fork(first, 70, 90).unwrap();
    let error = batch.rewind(first, 10).unwrap_err();
    assert!(matches!(error, InferError::SharedPages { needed: 2, free: 0 }), "{error}");
    batch.rewind(first, 64).unwrap();
    step(&engine, &mut batch, &[(fork, &ids, 9), (first, &ids, 9)]);
}

#[test]
fn admission_counts_places_and_pages() {
    let engine = engine();
    let mut batch = engine.batch(Limits { tokens: 320, ..LIMITS }).unwrap();
    let [first, second] = [160, 130].map(|tokens| batch.open(tokens).unwrap());
    assert_eq!(batch.open(33), None, "320 tokens are ten pages, and these take five each");
    batch.close(first);
    let third = batch.open(33).unwrap();
    assert_eq!(batch.remaining(third), 64);
    assert!(batch.open(64).is_some());
    assert_eq!(batch.open(1), None, "three sequences at a time");
    let ids = tokens(65, 1);
    let error = batch.forward(&[Piece { sequence: third, ids: &ids, want: WANT }]).unwrap_err();
    assert!(matches!(error, InferError::ContextFull { added: 65, context: 64, .. }), "{error}");
    assert_eq!((batch.seen(third), batch.seen(second)), (0, 0));
}
