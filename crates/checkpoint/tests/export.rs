//! Conversions between dialects: what is written reads back with the same codes, scales and values, and computes the same.

use checkpoint::hf::{Options, Storing};
use checkpoint::{Loaded, compare, hf, import, native};
use model::reference::Network;
use model::{Config, Encoding, LinearKind, NormPlacement, RopeStyle, Weights};
use serde_json::json;
use std::path::{Path, PathBuf};

const IDS: [u32; 6] = [1, 9, 4, 16, 3, 7];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/hf").join(name)
}

fn base() -> Config {
    toml::from_str(
        "hidden = 24\nlayers = 2\nheads = 3\nkv_heads = 1\nhead_size = 8\nffn = 40\nvocabulary = 17\ncontext = 32",
    )
    .unwrap()
}

fn options(storing: Storing) -> Options {
    Options { storing, bf16: false, quantize: false, shard_bytes: hf::SHARD_BYTES_MAX }
}

/// A native checkpoint of random latent weights of `config`.
fn native(dir: &Path, config: &Config) -> Loaded {
    let mut weights = Weights::random(config, 5);
    for (index, w) in weights.data.iter_mut().enumerate() {
        *w *= 3.0 + (index % 7) as f32 * 0.1;
    }
    let text = format!("[model]\n{}", toml::to_string(config).unwrap());
    let state = json!({"end_ids": [2], "bos_ids": [1]});
    let tensors = checkpoint::arena::tensors(&weights.layout, "", &weights.data);
    let parts = native::Parts {
        config: &text,
        tokenizer: None,
        chat_template: None,
        weights: &tensors,
        optimizer: &[],
        recorded: &[],
        state: &state,
    };
    native::save(dir, &parts).unwrap();
    checkpoint::open(dir).unwrap()
}

fn logits(model: &Loaded) -> Vec<f32> {
    Network::read(&*model.source).unwrap().logits(&IDS, &[0; 6], 1.0)
}

#[track_caller]
fn assert_same(a: &[f32], b: &[f32], what: &str) {
    testkit::assert_close(a, b, 1e-4, 1e-5, what);
}

#[test]
fn every_storing_of_a_ternary_network_computes_the_same() {
    let turned = |turn: fn(&mut Config)| {
        let mut config = base();
        turn(&mut config);
        config
    };
    let configs = [
        ("sub-norms", base()),
        ("llama-shaped", turned(|c| c.sub_norms = false)),
        ("norms inside", turned(|c| c.norm_placement = NormPlacement::Inside)),
        ("interleaved", turned(|c| (c.rope_style, c.tied) = (RopeStyle::Interleaved, true))),
    ];
    for (name, config) in configs {
        let dir = testkit::temp_dir();
        let model = native(&dir.path().join("native"), &config);
        let expected = logits(&model);
        for (number, storing) in
            [Storing::Online, Storing::Offline, Storing::OfflineInverted].into_iter().enumerate()
        {
            let what = format!("{name}, {storing:?}");
            let out = dir.path().join(format!("hf-{number}"));
            let report = hf::export(&model, &out, &options(storing), &mut ()).unwrap();
            assert_eq!(report.distortions.len(), if storing == Storing::Online { 0 } else { 14 }, "{what}");
            let again = checkpoint::open(&out).unwrap();
            assert_eq!((&*again.end_ids, again.bos), (&[2][..], Some(1)));
            assert_same(&logits(&again), &expected, &what);
            // and on from there: packed to latent and back keeps codes and scale
            let latent = dir.path().join(format!("latent-{number}"));
            hf::export(&again, &latent, &options(Storing::Online), &mut ()).unwrap();
            assert_same(&logits(&checkpoint::open(&latent).unwrap()), &expected, &what);
        }
    }
}

#[test]
fn an_import_keeps_codes_and_scales_bit_for_bit() {
    for name in ["bitnet-offline-bitlinear", "bitnet-offline-autobitlinear", "llama", "qwen2", "qwen3"] {
        let dir = testkit::temp_dir();
        let model = checkpoint::open(&golden(name)).unwrap();
        let out = dir.path().join("native");
        import(&model, &out, &mut ()).unwrap();
        let again = checkpoint::open(&out).unwrap();
        assert_eq!(again.config(), model.config());
        assert_eq!((&again.end_ids, again.bos), (&model.end_ids, model.bos));
        let encoding = |model: &Loaded| model.source.encoding("layers.1.gate").unwrap();
        assert_eq!(encoding(&again), encoding(&model));
        assert_eq!(logits(&again), logits(&model), "{name}");
        let all = compare::tensors(&*model.source, &*again.source, |_| ()).unwrap();
        assert!(all.iter().all(|tensor| tensor.is_within(0.0)), "{name}");
        let opened = native::Opened::open(&out).unwrap();
        checkpoint::inspect::verify(&opened).unwrap();
        let is_ternary = matches!(encoding(&model), Encoding::Ternary { .. });
        assert_eq!(opened.load_weights().is_err(), is_ternary, "codes are no latent weights");
    }
}

/// So that an export of what was imported is refused as one of the source is.
#[test]
fn an_import_remembers_a_training_that_is_not_finished() {
    let dir = testkit::temp_dir();
    let mut model = native(&dir.path().join("native"), &base());
    model.lambda = Some(0.3);
    let out = dir.path().join("again");
    import(&model, &out, &mut ()).unwrap();
    assert_eq!(checkpoint::open(&out).unwrap().unfinished(), Some(0.3));
}

#[test]
fn a_dense_network_is_packed_only_when_asked_to() {
    let dir = testkit::temp_dir();
    let model = checkpoint::open(&golden("llama")).unwrap();
    let out = dir.path().join("out");
    let error = hf::export(&model, &out, &options(Storing::Offline), &mut ()).unwrap_err().to_string();
    assert!(error.contains("dense") && error.contains("--quantize"), "{error}");
    assert!(!out.exists());
    let asked = Options { quantize: true, ..options(Storing::Offline) };
    let report = hf::export(&model, &out, &asked, &mut ()).unwrap();
    assert_eq!(report.distortions.len(), 14);
    let (_, found) = &report.distortions[0];
    assert!((found.zero_share - 0.31).abs() < 0.05 && (found.cosine - 0.887).abs() < 0.03, "{found:?}");
    assert_eq!(checkpoint::open(&out).unwrap().config().linear, LinearKind::Ternary);
}

#[test]
fn dense_networks_of_every_family_go_through() {
    for name in ["llama", "mistral", "qwen2", "qwen3"] {
        let dir = testkit::temp_dir();
        let model = checkpoint::open(&golden(name)).unwrap();
        for (number, bf16) in [false, true].into_iter().enumerate() {
            let out = dir.path().join(number.to_string());
            // the golden values are exact in BF16
            let wanted = Options { bf16, shard_bytes: 40_000, ..options(Storing::Dense) };
            let report = hf::export(&model, &out, &wanted, &mut ()).unwrap();
            assert_eq!(report.largest, 0.0, "{name}");
            assert!(out.join(hf::INDEX).is_file(), "40 kB a shard makes several");
            assert_eq!(logits(&checkpoint::open(&out).unwrap()), logits(&model), "{name}");
        }
    }
}

#[test]
fn what_differs_is_counted_tensor_by_tensor() {
    let dir = testkit::temp_dir();
    let a = native(&dir.path().join("a"), &base());
    let mut weights = Weights::random(&base(), 5);
    weights.data[3] += 1.0;
    let changed = |weights: &Weights| {
        let found = compare::tensors(weights, &Weights::random(&base(), 5), |_| ()).unwrap();
        found.into_iter().filter(|tensor| !tensor.is_within(0.0)).collect::<Vec<_>>()
    };
    let found = changed(&weights);
    assert_eq!((found.len(), found[0].name.as_str(), found[0].codes), (1, "embedding", 0));
    assert!((found[0].largest - 1.0).abs() < 1e-6);
    let slot = weights.layout.blocks[1].projection(model::Projection::V);
    weights.data[slot.start] = 5.0;
    let found = changed(&weights);
    assert_eq!((found.len(), found[1].name.as_str()), (2, "layers.1.v"));
    assert!(found[1].scale_error() > 0.1 && found[1].codes > 0);
    let other = Config { activation: model::Activation::Silu, ..base() };
    let keys = compare::configs(a.config(), &other);
    assert_eq!(keys, [("activation".to_owned(), json!("relu2"), json!("silu"))]);
}

#[test]
fn a_folder_that_exists_is_left_alone_and_odd_rows_are_named() {
    let dir = testkit::temp_dir();
    let model = native(&dir.path().join("a"), &Config { ffn: 42, ..base() });
    let error = hf::export(&model, &dir.path().join("b"), &options(Storing::Offline), &mut ()).unwrap_err();
    assert!(error.to_string().contains("'layers.0.gate' has 42 rows"), "{error}");
    hf::export(&model, &dir.path().join("b"), &options(Storing::Online), &mut ()).unwrap();
    for error in [
        hf::export(&model, &dir.path().join("b"), &options(Storing::Online), &mut ()).unwrap_err(),
        import(&model, &dir.path().join("b"), &mut ()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("exists already"), "{error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "no leftovers");
}

#[test]
fn scales_stay_as_they_are_where_other_values_become_bf16() {
    let dir = testkit::temp_dir();
    let model = native(&dir.path().join("native"), &base());
    let packed = dir.path().join("packed");
    hf::export(&model, &packed, &Options { bf16: true, ..options(Storing::Offline) }, &mut ()).unwrap();
    let packed = checkpoint::open(&packed).unwrap();
    let found = compare::tensors(&*model.source, &*packed.source, |_| ()).unwrap();
    assert!(found.iter().all(|tensor| tensor.codes == 0 && tensor.scale_error() == 0.0), "{found:?}");
    assert!(found.iter().any(|tensor| tensor.relative > 0.0), "values are rounded");
    // Codes survive as latent values of BF16, the scale only nearly.
    let online = Options { bf16: true, ..options(Storing::Online) };
    hf::export(&packed, &dir.path().join("online"), &online, &mut ()).unwrap();
    // Latent values do not: some lie at the edge between two codes.
    let out = dir.path().join("out");
    let sentence = hf::export(&model, &out, &online, &mut ()).unwrap_err().to_string();
    for part in ["BF16", "codes", "--dtype f32", "--mode offline"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    assert!(!out.exists());
}

/// A healing that was stopped on its way is no ternary model yet.
#[test]
fn what_has_not_reached_lambda_1_is_written_only_where_that_is_asked_for() {
    let dir = testkit::temp_dir();
    let mut model = native(&dir.path().join("native"), &base());
    model.lambda = Some(0.6);
    let error = hf::export(&model, &dir.path().join("a"), &options(Storing::Offline), &mut ()).unwrap_err();
    let sentence = error.to_string();
    assert!(sentence.contains("λ = 0.600") && sentence.contains("--quantize"), "{sentence}");
    let forced = Options { quantize: true, ..options(Storing::Offline) };
    let report = hf::export(&model, &dir.path().join("b"), &forced, &mut ()).unwrap();
    assert!(!report.distortions.is_empty());
    model.lambda = Some(0.9995);
    hf::export(&model, &dir.path().join("c"), &options(Storing::Offline), &mut ()).unwrap();
}
