//! Resolution, and the sentences of what is refused.

use super::*;
use proptest::prelude::*;

fn resolve(preset: &str, sets: &[&str]) -> Result<RunConfig, ConfigError> {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    RunConfig::resolve(Some(preset), None, &sets)
}

fn refused(sets: &[&str]) -> String {
    resolve("tiny", sets).unwrap_err().to_string()
}

fn file(text: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name =
        format!("trilobit-config-{}-{}.toml", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn every_preset_is_valid_and_survives_being_written() {
    for name in model::presets::names() {
        let config = resolve(name, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let text = config.to_toml().unwrap();
        assert_eq!(RunConfig::from_toml(&text).unwrap(), config, "{name}\n{text}");
        assert!(config.data.is_empty(), "{name}");
    }
}

#[test]
fn presets_have_their_true_numbers_of_parameters() {
    let counts = [
        ("tiny", 3_151_104),
        ("books10m", 9_315_584),
        ("study256", 28_358_400),
        ("study512", 61_959_680),
        ("study768", 100_803_840),
        ("study1024", 144_890_880),
        ("125m", 134_139_648),
        ("350m", 373_959_680),
        ("700m", 728_839_680),
        ("1b3", 1_273_579_488),
        ("3b", 3_324_381_440),
        ("3b9", 4_362_825_600),
        ("2b4t", 2_412_820_480),
    ];
    let names: Vec<_> = model::presets::names().collect();
    assert_eq!(names, counts.map(|(name, _)| name));
    for (name, count) in counts {
        assert_eq!(resolve(name, &[]).unwrap().model.parameters(), count, "{name}");
    }
}

#[test]
fn microsofts_presets_follow_their_table() {
    for (name, peak, peak2) in
        [("700m", 1.5e-3, 1e-3), ("1b3", 1.2e-3, 8e-4), ("3b", 1.2e-3, 8e-4), ("3b9", 1.2e-3, 8e-4)]
    {
        let config = resolve(name, &[]).unwrap();
        assert_eq!(config.train.tokens_per_step(), 1 << 20);
        assert_eq!((config.train.beta1, config.train.beta2), (0.9, 0.95));
        let schedule = config.schedule().unwrap();
        assert!((schedule.at(375).lr - peak).abs() < 1e-12);
        let middle = 3e-5 + (peak2 - 3e-5) * 50_000.0 / 99_625.0;
        assert!((schedule.at(50_000).lr - middle).abs() < 1e-12);
        assert_eq!([49_999, 50_000].map(|step| schedule.at(step).weight_decay), [0.1, 0.0]);
    }
}

#[test]
fn later_layers_win_and_keep_what_they_do_not_name() {
    let path = file("[train]\nsteps = 50\nbatch = 3\n[[data]]\npath = \"shards\"\n");
    let sets = ["train.steps=60".into(), "schedule.kind=cosine".into(), "train.optimizer=\"adam\"".into()];
    let config = RunConfig::resolve(Some("tiny"), Some(&path), &sets).unwrap();
    assert_eq!((config.train.steps, config.train.batch, config.train.sequence), (60, 3, 128));
    assert_eq!(config.schedule.kind, crate::schedule::Kind::Cosine);
    assert_eq!(config.train.optimizer, Optimizer::Adam);
    assert_eq!(config.data, [SourceConfig { path: "shards".into(), weight: 1.0 }]);
    let text = config.to_toml().unwrap();
    assert_eq!(RunConfig::from_toml(&text).unwrap(), config);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn sets_are_typed_as_toml() {
    let sets = [
        "schedule.peak=1",
        "train.clip = 5e-1",
        "train.document_mask=false",
        "data=[{path=\"a=b\", weight=2}]",
    ];
    let config = resolve("tiny", &sets).unwrap();
    assert_eq!((config.schedule.peak, config.train.clip), (Some(1.0), 0.5));
    assert!(!config.train.document_mask);
    assert_eq!(config.data, [SourceConfig { path: "a=b".into(), weight: 2.0 }]);
    assert!(refused(&["train.steps"]).contains("no '='"));
    assert!(refused(&["=5"]).contains("key is empty"));
    assert!(refused(&["data=[{"]).contains("not valid TOML"));
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    let cases = [
        ("train.stepz=5", ["train.stepz (--set train.stepz=5)", "did you mean 'train.steps'?"]),
        ("steps=5", ["steps (--set steps=5)", "did you mean 'train.steps'?"]),
        ("lambda.schedule=linear", ["lambda.schedule", "known here are kind, k, n, order"]),
        ("model.hiden=5", ["model.hiden", "did you mean 'model.hidden'?"]),
        ("train.peak=5", ["train.peak", "did you mean 'schedule.peak'?"]),
        ("schedule.wieght_decay2=0", ["schedule.wieght_decay2", "'schedule.weight_decay2'"]),
        ("lamda.kind=linear", ["lamda", "did you mean 'lambda'?"]),
        ("train.optimizer=adamww", ["train.optimizer (--set", "did you mean 'adamw'?"]),
        ("schedule.kind=cosin", ["schedule.kind (--set", "did you mean 'cosine'?"]),
        ("model.activation=gelu", ["model.activation", "one of relu2, silu"]),
        ("data=[{path=\"a\", zzz=1}]", ["data.0.zzz", "known here are path, weight"]),
        ("train.zzzz=1", ["train.zzzz", "known here are steps, stop_after"]),
    ];
    for (set, parts) in cases {
        let sentence = refused(&[set]);
        for part in parts {
            assert!(sentence.contains(part), "{set}: {sentence}");
        }
    }
    let sentence = RunConfig::resolve(Some("tinny"), None, &[]).unwrap_err().to_string();
    assert!(sentence.contains("did you mean 'tiny'?") && sentence.contains("2b4t"), "{sentence}");
}

#[test]
fn a_file_is_named_with_its_line() {
    let at = |text: &str| {
        let path = file(text);
        let sentence = RunConfig::resolve(Some("tiny"), Some(&path), &[]).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        sentence.replace(&path.display().to_string(), "FILE")
    };
    assert!(at("[train]\n\nstepz = 5\n").starts_with("train.stepz (FILE line 3): is an unknown key"));
    assert!(
        at("[train]\nsteps = 'x'\n").starts_with("train.steps (FILE line 2): \"x\" is not a whole number")
    );
    assert!(
        at("[[data]]\npath = 'x'\n[[data]]\npath = 'y'\nweight = -1\n")
            .starts_with("data.1.weight (FILE line 5): -1")
    );
    assert!(at("[train]\nsteps = = 5\n").starts_with("FILE line 2 is not valid TOML"));
    assert!(at("train = 5\n").contains("5 is not a table"));
    let absent = RunConfig::resolve(None, Some(Path::new("absent.toml")), &[]).unwrap_err().to_string();
    assert!(absent.starts_with("cannot read the configuration absent.toml"), "{absent}");
    let empty = RunConfig::from_toml("").unwrap_err().to_string();
    assert!(empty.starts_with("model: is missing"), "{empty}");
}

#[test]
fn contradictions_name_key_and_place() {
    let cases = [
        ("model.kv_heads=3", "model.kv_heads (--set model.kv_heads=3): 3 does not divide"),
        ("model.head_size=63", "model.head_size (--set"),
        (
            "train.sequence=257",
            "train.sequence (--set train.sequence=257): 257 tokens are longer than model.context",
        ),
        ("train.steps=0", "train.steps (--set train.steps=0): 0 is outside"),
        ("train.batch=0", "train.batch"),
        ("train.batch=1000000", "train.batch"),
        ("train.steps=-5", "train.steps (--set train.steps=-5): -5 is not a whole number"),
        ("train.steps=1.5", "train.steps"),
        ("train.accumulation=0", "train.accumulation"),
        ("train.beta2=1", "train.beta2"),
        ("train.epsilon=0", "train.epsilon"),
        ("train.clip=nan", "train.clip"),
        ("train.label_smoothing=1.0", "train.label_smoothing"),
        ("train.spike_ratio=1", "train.spike_ratio"),
        ("train.weight_decay=-0.1", "train.weight_decay"),
        ("schedule.warmup=400", "schedule.warmup (--set schedule.warmup=400)"),
        ("schedule.decay=0.1", "schedule.decay"),
        ("lambda.n=5", "lambda.n"),
        ("model.vocabulary=1", "model.vocabulary"),
        (
            "train.document_mask=1",
            "train.document_mask (--set train.document_mask=1): 1 is not true or false",
        ),
    ];
    for (set, start) in cases {
        let sentence = refused(&[set]);
        assert!(sentence.starts_with(start), "{set}: {sentence}");
    }
}

#[test]
fn only_what_is_typed_again_is_compared() {
    let own = resolve("tiny", &["train.steps=300", "train.clip=0.5", "data=[{path='a'}]"]).unwrap();
    let change = |preset: Option<&str>, sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        own.change(preset, None, &sets).map(|change| change.map_or(String::new(), |c| c.to_string()))
    };
    for sets in [&[][..], &["train.steps=300"], &["data=[{path='a', weight=1}]", "train.clip=5e-1"]] {
        assert_eq!(change(None, sets).unwrap(), "", "{sets:?}");
    }
    assert_eq!(change(Some("tiny"), &["train.steps=300", "train.clip=0.5"]).unwrap(), "");
    for (sets, sentence) in [
        ("train.steps=9", "it was begun with train.steps = 300, and 9 is asked for now"),
        ("train.stop_after=5", "it was begun without train.stop_after, which is asked for now"),
        ("distill.teacher=T", "it was begun without distill, which is asked for now"),
    ] {
        assert_eq!(change(None, &[sets]).unwrap(), sentence);
    }
    assert!(change(Some("tiny"), &[]).unwrap().contains("begun with train."));
    let more = change(None, &["data=[{path='a'}, {path='b'}]"]).unwrap();
    assert!(more.contains("begun with data = ") && more.contains("\"b\""), "{more}");
    assert!(change(None, &["train.stepz=9"]).unwrap_err().to_string().contains("train.steps"));
}

#[test]
fn coupled_decay_and_an_unfinished_lambda_are_warned_about() {
    assert!(resolve("tiny", &[]).unwrap().warnings().is_empty());
    let study = resolve("study256", &[]).unwrap().warnings();
    assert!(study.len() == 1 && study[0].contains("coupled L2"), "{study:?}");
    let half = resolve("tiny", &["lambda.kind=sigmoid", "lambda.k=2"]).unwrap().warnings();
    assert!(half.len() == 1 && half[0].contains("λ ends at") && half[0].contains("lambda.k"), "{half:?}");
    let early = resolve("tiny", &["lambda.kind=linear", "train.stop_after=40"]).unwrap().warnings();
    assert!(early.len() == 1 && early[0].contains("train.stop_after"), "{early:?}");
    assert!(resolve("tiny", &["lambda.kind=linear"]).unwrap().warnings().is_empty());
}

proptest! {
    #[test]
    fn hostile_text_is_an_error_and_never_a_panic(text in "\\PC{0,200}", set in "\\PC{0,60}") {
        let _ = RunConfig::from_toml(&text);
        let _ = resolve("tiny", &[&set]);
        let _ = resolve("tiny", &[&format!("train.steps={set}")]);
        let _ = resolve("tiny", &[&format!("{set}=1")]);
    }

    #[test]
    fn whatever_resolves_survives_being_written(
        peak in 1e-4f64..1.0,
        clip in 0.0f64..1e6,
        seed in 0..=i64::MAX as u64,
        epsilon in 1e-12f32..1e-3,
    ) {
        let mut config = resolve("tiny", &[]).unwrap();
        (config.schedule.peak, config.train.clip, config.train.seed) = (Some(peak), clip, seed);
        config.model.norm_epsilon = epsilon;
        let text = config.to_toml().unwrap();
        prop_assert_eq!(RunConfig::from_toml(&text).unwrap(), config);
    }
}
