//! Checkpoints saved, opened, cut, searched for.

use checkpoint::native::{self, Opened, Parts, Tensor};
use checkpoint::{arena, inspect, locate};
use formats::{FileError, Kind};
use journal::{Run, layout};
use model::{Config, Weights};
use serde_json::json;
use std::path::Path;

const MODEL: &str = "[model]\nhidden = 8\nlayers = 2\nheads = 2\nkv_heads = 1\nhead_size = 4\nffn = 12\nvocabulary = 11\ncontext = 8\n";

fn weights(seed: u64) -> Weights {
    #[derive(serde::Deserialize)]
    struct Table {
        model: Config,
    }
    let table: Table = toml::from_str(MODEL).unwrap();
    Weights::random(&table.model, seed)
}

fn save_tensors(dir: &Path, tensors: &[Tensor]) -> Result<(), FileError> {
    let moments = vec![0.5; 3];
    let optimizer = [Tensor { name: "m".into(), shape: vec![3], data: &moments }];
    let state = json!({"step": 7, "tokens": 448, "lambda": 1.0});
    native::save(
        dir,
        &Parts {
            config: MODEL,
            tokenizer: Some(b"{}"),
            chat_template: None,
            weights: tensors,
            optimizer: &optimizer,
            recorded: &[],
            state: &state,
        },
    )
}

fn save(dir: &Path, weights: &Weights) {
    save_tensors(dir, &arena::tensors(&weights.layout, "", &weights.data)).unwrap();
}

/// A run with checkpoints at steps 1, 2 and 3.
fn run(dir: &Path) -> Run {
    let run = Run::create(dir).unwrap();
    std::fs::write(run.config(), MODEL).unwrap();
    (1..=3).for_each(|step| save(&run.checkpoint(step), &weights(step)));
    run
}

#[test]
fn what_is_saved_is_opened() {
    let parent = testkit::temp_dir();
    let dir = parent.path().join("a");
    let weights = weights(1);
    save(&dir, &weights);
    let opened = Opened::open(&dir).unwrap();
    assert_eq!(opened.config(), MODEL);
    assert_eq!(opened.model().unwrap(), weights.config);
    assert_eq!(opened.state()["tokens"], 448);
    assert_eq!(std::fs::read(opened.tokenizer_path().unwrap()).unwrap(), b"{}");
    let back = opened.load_weights().unwrap();
    assert!(back.data.iter().zip(&weights.data).all(|(a, b)| a.to_bits() == b.to_bits()));
    assert_eq!(opened.optimizer().unwrap().f32("m").unwrap()[..], [0.5; 3]);
    inspect::verify(&opened).unwrap();
    let again = save_tensors(&dir, &[]).unwrap_err();
    assert_eq!(again.kind, Kind::Exists);
}

#[test]
fn a_checkpoint_without_optimiser_or_tokenizer_says_so() {
    let parent = testkit::temp_dir();
    let dir = parent.path().join("a");
    let weights = weights(1);
    let tensors = arena::tensors(&weights.layout, "", &weights.data);
    let state = json!({});
    native::save(
        &dir,
        &Parts {
            config: MODEL,
            tokenizer: None,
            chat_template: None,
            weights: &tensors,
            optimizer: &[],
            recorded: &[],
            state: &state,
        },
    )
    .unwrap();
    let opened = Opened::open(&dir).unwrap();
    assert_eq!(opened.tokenizer_path(), None);
    assert!(opened.optimizer().unwrap_err().to_string().contains("no optimiser state"));
    inspect::verify(&opened).unwrap();
}

#[test]
fn a_checkpoint_cut_anywhere_is_a_sentence() {
    let parent = testkit::temp_dir();
    let dir = parent.path().join("a");
    save(&dir, &weights(1));
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let whole = std::fs::read(&path).unwrap();
        let stride = whole.len() / 61 + 1;
        for length in (0..whole.len()).step_by(stride).chain([whole.len() - 1]) {
            std::fs::write(&path, &whole[..length]).unwrap();
            let sentence = Opened::open(&dir).unwrap_err().to_string();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(sentence.contains(name), "{sentence}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Opened::open(&dir).is_err());
        std::fs::write(&path, &whole).unwrap();
    }
    Opened::open(&dir).unwrap();
}

#[test]
fn any_flipped_bit_of_the_weights_is_found() {
    let parent = testkit::temp_dir();
    let dir = parent.path().join("a");
    save(&dir, &weights(1));
    let path = dir.join(native::WEIGHTS);
    let whole = std::fs::read(&path).unwrap();
    for byte in (0..whole.len()).step_by(97) {
        let mut flipped = whole.clone();
        flipped[byte] ^= 1 << (byte % 8);
        std::fs::write(&path, flipped).unwrap();
        let sentence = Opened::open(&dir).unwrap_err().to_string();
        assert!(sentence.contains("weights.safetensors") && sentence.contains("has changed"), "{sentence}");
    }
}

#[test]
fn a_run_means_its_newest_sound_checkpoint() {
    let parent = testkit::temp_dir();
    let run = run(&parent.path().join("run"));
    let found = |path: &Path| locate(path).unwrap();
    assert_eq!(found(run.dir()).checkpoint.dir(), run.checkpoint(3));
    assert_eq!(found(&run.checkpoints()).checkpoint.dir(), run.checkpoint(3));
    assert_eq!(found(&run.checkpoint(1)).checkpoint.dir(), run.checkpoint(1));
    std::fs::write(run.checkpoint(3).join(native::STATE), "{").unwrap();
    std::fs::create_dir(run.checkpoints().join(".step-00000004.tmp-1-0")).unwrap();
    let located = found(run.dir());
    assert_eq!(located.checkpoint.dir(), run.checkpoint(2));
    assert_eq!(located.warnings.len(), 1);
    let warning = &located.warnings[0];
    assert!(
        warning.contains("state.json: it is cut") && warning.contains("use the previous checkpoint"),
        "{warning}"
    );
    assert!(warning.contains("step-00000002"), "{warning}");
    let explicit = locate(&run.checkpoint(3)).unwrap_err();
    assert_eq!(explicit.kind, Kind::Damaged, "a checkpoint named outright is not replaced by another");
    for step in 1..=2 {
        std::fs::remove_file(run.checkpoint(step).join("manifest.json")).unwrap();
    }
    assert!(locate(run.dir()).unwrap_err().to_string().contains("none of its 3 checkpoints is sound"));
}

#[test]
fn strangers_are_named() {
    let parent = testkit::temp_dir();
    let run = run(&parent.path().join("run"));
    let sentence = |path: &Path| locate(path).unwrap_err().to_string();
    let cases = [
        (parent.path().join("rum"), "did you mean"),
        (parent.path().to_owned(), "run inside it"),
        (parent.path().join("no/where"), "is no folder either"),
        (run.checkpoint(1).join(native::WEIGHTS), "name the folder"),
        (run.config(), "this is a file"),
        (Path::new("").to_owned(), "expected"),
    ];
    for (path, expected) in cases {
        let sentence = sentence(&path);
        assert!(sentence.contains(expected) && sentence.contains("was expected"), "{sentence}");
    }
    let empty = parent.path().join("empty");
    std::fs::create_dir_all(empty.join(layout::CHECKPOINTS)).unwrap();
    assert!(sentence(&empty).contains("no finished checkpoint"));
    let hugging = parent.path().join("hf");
    std::fs::create_dir(&hugging).unwrap();
    std::fs::write(hugging.join("config.json"), "{}").unwrap();
    assert!(sentence(&hugging).contains("Hugging Face"));
}

#[test]
fn tensors_that_do_not_fit_the_network_are_named() {
    let parent = testkit::temp_dir();
    let weights = weights(1);
    let refused = |name: &str, change: &dyn Fn(&mut Vec<Tensor>)| {
        let dir = parent.path().join(name);
        let mut tensors = arena::tensors(&weights.layout, "", &weights.data);
        change(&mut tensors);
        save_tensors(&dir, &tensors).unwrap();
        Opened::open(&dir).unwrap().load_weights().unwrap_err().to_string()
    };
    let missing = refused("missing", &|tensors| tensors.retain(|t| t.name != "layers.1.up"));
    assert!(missing.contains("'layers.1.up' is missing (nearest there: 'layers."), "{missing}");
    let extra = refused("extra", &|tensors| {
        let again = Tensor { name: "layers.2.q".into(), ..tensors[1].clone() };
        tensors.push(again);
    });
    assert!(extra.contains("'layers.2.q' has no place"), "{extra}");
    let misshapen = refused("misshapen", &|tensors| tensors[0].shape.reverse());
    assert!(
        misshapen.contains("'embedding' has shape [8, 11], and the network needs [11, 8]"),
        "{misshapen}"
    );
}

#[test]
fn hostile_configurations_are_refused_before_they_size_anything() {
    let parent = testkit::temp_dir();
    let weights = weights(1);
    let tensors = arena::tensors(&weights.layout, "", &weights.data);
    let configs = [
        ("no TOML", "[model".to_owned()),
        ("no [model]", "a = 1".to_owned()),
        ("unknown", MODEL.replace("ffn", "fnn")),
        ("vocabulary", MODEL.replace("vocabulary = 11", "vocabulary = 9000000000000000000")),
        ("has shape", MODEL.replace("vocabulary = 11", "vocabulary = 2000000")),
    ];
    for (number, (expected, config)) in configs.iter().enumerate() {
        let dir = parent.path().join(number.to_string());
        let state = json!({});
        native::save(
            &dir,
            &Parts {
                config,
                tokenizer: None,
                chat_template: None,
                weights: &tensors,
                optimizer: &[],
                recorded: &[],
                state: &state,
            },
        )
        .unwrap();
        let sentence = Opened::open(&dir).unwrap().load_weights().unwrap_err().to_string();
        assert!(sentence.contains(expected), "{sentence}");
    }
}

#[test]
fn inspection_counts_what_is_there() {
    let parent = testkit::temp_dir();
    let dir = parent.path().join("a");
    let mut weights = weights(1);
    let slot = weights.layout.embedding;
    slot.of_mut(&mut weights.data).fill(0.25);
    slot.of_mut(&mut weights.data)[..44].fill(0.0);
    save(&dir, &weights);
    let opened = Opened::open(&dir).unwrap();
    let tensors = inspect::tensors(&opened.source().unwrap()).unwrap();
    assert_eq!(tensors.len(), weights.layout.tensors().len());
    let embedding = &tensors[0];
    assert_eq!((embedding.name.as_str(), &embedding.shape[..]), ("embedding", &[11, 8][..]));
    assert_eq!((embedding.gamma, embedding.zero_share), (Some(0.125), Some(0.5)));
    assert_eq!((embedding.min, embedding.max, embedding.non_finite), (Some(0.0), Some(0.25), 0));
    let gain = tensors.iter().find(|t| t.name == "final_norm").unwrap();
    assert_eq!((gain.gamma, gain.min), (None, Some(1.0)));

    slot.of_mut(&mut weights.data)[3] = f32::NAN;
    let dir = parent.path().join("b");
    save(&dir, &weights);
    let opened = Opened::open(&dir).unwrap();
    let tensors = inspect::tensors(&opened.source().unwrap()).unwrap();
    assert_eq!((tensors[0].non_finite, tensors[0].gamma), (1, None));
    let sentence = inspect::verify(&opened).unwrap_err().to_string();
    assert!(sentence.contains("'embedding' holds 1 values that are not finite"), "{sentence}");
}
