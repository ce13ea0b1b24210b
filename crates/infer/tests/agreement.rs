//! The engine against `model::reference`, on tiny random models of every choice of the configuration.

use infer::{Engine, EngineOptions, InferError, KvType};
use model::{
    Activation, Config, LinearKind, NormPlacement, Projection, RopeStyle, Weights, quantize, reference,
};

fn base() -> Config {
    toml::from_str(
        "hidden = 48\nlayers = 2\nheads = 4\nkv_heads = 2\nhead_size = 12\nffn = 80\nvocabulary = 67\ncontext = 160",
    )
    .unwrap()
}

/// Every choice turned once, and the share of quantisation.
fn cases() -> Vec<(&'static str, Config, f32)> {
    let turned = |turn: fn(&mut Config)| {
        let mut config = base();
        turn(&mut config);
        config
    };
    vec![
        ("base", base(), 1.0),
        ("silu", turned(|c| c.activation = Activation::Silu), 1.0),
        ("no sub-norms", turned(|c| c.sub_norms = false), 1.0),
        ("norms inside", turned(|c| c.norm_placement = NormPlacement::Inside), 1.0),
        (
            "norms inside, no sub-norms",
            turned(|c| {
                c.norm_placement = NormPlacement::Inside;
                c.sub_norms = false;
            }),
            1.0,
        ),
        ("one kv head", turned(|c| c.kv_heads = 1), 1.0),
        ("all kv heads", turned(|c| c.kv_heads = 4), 1.0),
        ("tied", turned(|c| c.tied = true), 1.0),
        ("interleaved", turned(|c| c.rope_style = RopeStyle::Interleaved), 1.0),
        ("dense", turned(|c| c.linear = LinearKind::Dense), 1.0),
        ("lambda 0", base(), 0.0),
        ("lambda 0.5", base(), 0.5),
        (
            "odd sizes",
            turned(|c| {
                (c.hidden, c.heads, c.kv_heads, c.head_size) = (37, 3, 3, 6);
                (c.ffn, c.vocabulary) = (41, 13);
            }),
            1.0,
        ),
    ]
}

/// Weights large enough that attention and gate are far from linear.
fn weights(config: &Config, seed: u64) -> Weights {
    let mut weights = Weights::random(config, seed);
    for (index, w) in weights.data.iter_mut().enumerate() {
        *w *= 4.0 + (index % 7) as f32 * 0.1;
    }
    weights
}

fn engine(weights: &Weights, lambda: f32) -> Engine {
    Engine::new(
        weights,
        EngineOptions { threads: 2, lambda, kv: Some(KvType::F32), ..EngineOptions::default() },
    )
    .unwrap()
}

fn tokens(config: &Config, count: usize) -> Vec<u32> {
    let vocabulary = config.vocabulary as u32;
    (0..count as u32).map(|i| (i * i * 7 + i * 3 + 1) % vocabulary).collect()
}

/// Greatest difference, relative to the greatest magnitude.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    worst.fold(0.0, f32::max) / largest
}

#[test]
fn logits_agree_with_the_reference() {
    for (name, config, lambda) in cases() {
        let weights = weights(&config, 11);
        let ids = tokens(&config, 20);
        let expected = reference::logits(&weights, &ids, &[0; 20], lambda);
        let engine = engine(&weights, lambda);
        let mut session = engine.session(config.context).unwrap();
        let measured = session.forward_all(&ids).unwrap();
        let difference = difference(&measured, &expected);
        assert!(difference < 1e-4, "{name}: {difference}");
    }
}

/// One block is the whole token: as trained. Blocks of one element lose nothing: what is left is a dense network of γ·T.
#[test]
fn activations_are_rounded_in_blocks_where_that_is_asked_for() {
    let config = base();
    let weights = weights(&config, 11);
    let ids = tokens(&config, 20);
    let run = |activation_block| {
        let options = EngineOptions { threads: 2, activation_block, ..EngineOptions::default() };
        let engine = Engine::new(&weights, options)?;
        engine.session(config.context)?.forward_all(&ids)
    };
    let by_token = reference::logits(&weights, &ids, &[0; 20], 1.0);
    assert!(difference(&run(Some(config.ffn)).unwrap(), &by_token) < 1e-4);
    let mut ternary = weights.clone();
    for block in &ternary.layout.blocks {
        for projection in Projection::ALL {
            let latent = block.projection(projection).of_mut(&mut ternary.data);
            let gamma = quantize::weight_scale(latent);
            let mut codes = vec![0; latent.len()];
            quantize::ternarise(latent, gamma, &mut codes);
            latent.iter_mut().zip(codes).for_each(|(w, code)| *w = gamma * f32::from(code));
        }
    }
    let unrounded = reference::logits(&ternary, &ids, &[0; 20], 0.0);
    assert!(difference(&run(Some(1)).unwrap(), &unrounded) < 1e-4);
    let between = run(Some(16)).unwrap();
    assert!(difference(&between, &unrounded) > 1e-4 && difference(&between, &by_token) > 1e-4);
    assert!(matches!(run(Some(0)), Err(InferError::ActivationBlock)));
}

/// Without quantisation of the layers no code flips. These weights make attention sharp, which enlarges the rounding of keys:
/// 2⁻¹² of a value at most for binary16, half of 1/127 of the largest of a head for int8, 16 times as much.
#[test]
fn narrow_keys_and_values_stay_near_the_computed_ones() {
    for (name, config, lambda) in cases().into_iter().filter(|case| case.2 == 0.0 || case.0 == "dense") {
        let weights = weights(&config, 11);
        let ids = tokens(&config, 100);
        let run = |kv| {
            let options = EngineOptions { threads: 2, lambda, kv: Some(kv), ..EngineOptions::default() };
            let engine = Engine::new(&weights, options).unwrap();
            let mut session = engine.session(config.context).unwrap();
            let at_once = session.forward_all(&ids).unwrap();
            session.reset();
            let singly: Vec<f32> =
                ids.iter().flat_map(|id| session.forward(&[*id]).unwrap().to_vec()).collect();
            assert!(difference(&singly, &at_once) < 1e-2, "{name}");
            at_once
        };
        let exact = run(KvType::F32);
        for (kv, bound) in [(KvType::F16, 1e-2), (KvType::I8, 1.6e-1)] {
            let difference = difference(&run(kv), &exact);
            assert!(difference > 0.0 && difference < bound, "{name}, {kv:?}: {difference}");
        }
    }
}

#[test]
fn prefill_and_token_by_token_are_the_same() {
    for (name, config, lambda) in cases() {
        let weights = weights(&config, 5);
        let engine = engine(&weights, lambda);
        // more than one chunk, the last one cut
        let ids = tokens(&config, 150);
        let mut session = engine.session(config.context).unwrap();
        let at_once = session.forward(&ids).unwrap().to_vec();
        session.reset();
        for id in &ids {
            session.forward(&[*id]).unwrap();
        }
        assert_eq!(session.position(), 150);
        match lambda == 1.0 && config.linear == LinearKind::Ternary {
            true => assert_eq!(session.logits(), at_once, "{name}"),
            false => assert!(difference(session.logits(), &at_once) < 1e-4, "{name}"),
        }
        session.reset();
        session.forward_each(&ids[..140], &mut |_, _| ()).unwrap();
        let last = session.forward_all(&ids[140..]).unwrap();
        let last = &last[9 * config.vocabulary..];
        assert!(difference(last, &at_once) < 1e-4, "{name}");
        assert_eq!(session.logits(), last, "{name}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let weights = weights(&base(), 3);
    let ids = tokens(&base(), 30);
    let run = |threads, lambda| {
        let engine = Engine::new(
            &weights,
            EngineOptions { threads, lambda, kv: Some(KvType::F32), ..EngineOptions::default() },
        )
        .unwrap();
        let mut session = engine.session(64).unwrap();
        session.forward_all(&ids).unwrap()
    };
    for lambda in [1.0, 0.5] {
        assert_eq!(run(1, lambda), run(3, lambda));
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_changes_nothing() {
    let config = base();
    let engine = engine(&weights(&config, 1), 1.0);
    assert!(matches!(engine.session(161), Err(InferError::ContextOutOfRange { context: 160, .. })));
    assert!(engine.session(0).is_err());
    let mut session = engine.session(8).unwrap();
    session.forward(&[1, 2, 3, 4, 5]).unwrap();
    let before = session.logits().to_vec();
    assert!(matches!(session.forward(&[]), Err(InferError::EmptyPrompt)));
    let sentence = session.forward(&[0, 67]).unwrap_err().to_string();
    assert!(sentence.contains("token id 67 (number 2"), "{sentence}");
    let sentence = session.forward(&[1; 4]).unwrap_err().to_string();
    assert!(sentence.contains("at most 3 tokens"), "{sentence}");
    assert_eq!(session.position(), 5);
    assert_eq!(session.logits(), before);
    session.forward(&[1; 3]).unwrap();
    assert_eq!(session.remaining(), 0);
    assert!(session.forward(&[1]).is_err());
    session.reset();
    session.forward(&[1, 2, 3, 4, 5]).unwrap();
    assert_eq!(session.logits(), before);
}

/// What a context costs is taken, and asked for, by whoever wants one of that length.
#[test]
fn a_context_that_no_machine_holds_is_refused_and_a_short_one_of_it_served() {
    let config = Config { context: 1 << 40, ..base() };
    let engine = engine(&weights(&config, 1), 1.0);
    let logits = engine.session(8).unwrap().forward(&[1, 2, 3]).unwrap().to_vec();
    let short = self::engine(&weights(&base(), 1), 1.0);
    assert_eq!(short.session(160).unwrap().forward(&[1, 2, 3]).unwrap(), logits);
    let error = engine.session(1 << 40).err().unwrap();
    assert!(matches!(error, InferError::TooLarge { .. }));
    let sentence = error.to_string();
    assert!(sentence.contains("1099511627776 tokens") && sentence.contains("shorter context"), "{sentence}");
}

#[test]
fn a_share_of_quantisation_is_a_share() {
    let weights = weights(&base(), 1);
    for lambda in [-0.1, 1.1, f32::NAN] {
        let options = EngineOptions { threads: 1, lambda, ..EngineOptions::default() };
        assert!(matches!(Engine::new(&weights, options), Err(InferError::Lambda(_))));
    }
}
