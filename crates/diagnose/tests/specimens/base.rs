//! One small model, trained for a few seconds, and its conversions: what all specimens are made from.

use checkpoint::hf::{self, Storing};
use checkpoint::{Loaded, gguf};
use formats::quant;
use std::path::{Path, PathBuf};
use train::config::SourceConfig;
use train::{Limits, RunConfig, Trainer};

/// The trained run and its healthy conversions, in one folder.
pub struct Base {
    dir: tempfile::TempDir,
}

const SETS: &[&str] = &[
    "model.hidden=128",
    "model.layers=3",
    "model.heads=4",
    "model.kv_heads=2",
    "model.head_size=32",
    "model.ffn=256",
    "model.vocabulary=512",
    "model.context=128",
    "train.batch=8",
    "train.sequence=64",
    "train.steps=320",
    "train.record_every=10",
    "train.validate_batches=2",
    "train.threads=2",
    "schedule.peak=4e-3",
];

impl Base {
    /// Trains.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = testkit::dataset(dir.path(), 1500, 512);
        let sets: Vec<String> = SETS.iter().map(|set| (*set).to_owned()).collect();
        let mut config = RunConfig::resolve(Some("tiny"), None, &sets).unwrap();
        config.data = vec![SourceConfig { path: data, weight: 1.0 }];
        let run = dir.path().join("run");
        let mut trainer = Trainer::create(config, &run, None).unwrap();
        trainer.run(&Limits { interrupted: &|| false, time: None }, &mut ()).unwrap();
        let base = Self { dir };
        let loaded = open(&run);
        let options =
            gguf::Options { format: &quant::I2_S, embedding: &quant::F16, quantize: false, widen: false };
        gguf::export(&loaded, &base.gguf(), &options, &mut ()).unwrap();
        for (name, storing) in
            [("hf", Storing::Offline), ("inverted", Storing::OfflineInverted), ("online", Storing::Online)]
        {
            export_hf(&loaded, &base.path(name), storing);
        }
        base
    }

    /// A file or folder of the base.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The run folder.
    pub fn run(&self) -> PathBuf {
        self.path("run")
    }

    /// Its last checkpoint.
    pub fn checkpoint(&self) -> PathBuf {
        checkpoint::candidates(&self.run()).unwrap().swap_remove(0)
    }

    /// The I2_S file.
    pub fn gguf(&self) -> PathBuf {
        self.path("model.gguf")
    }

    /// The folder of packed weights.
    pub fn hf(&self) -> PathBuf {
        self.path("hf")
    }

    /// The model as codes and scales, to be edited.
    pub fn ternary(&self) -> Loaded {
        open(&self.gguf())
    }
}

/// Opens a model that has to open. Its tokenizer is asked for the ends of a text where it says none, as the command line does.
pub fn open(path: &Path) -> Loaded {
    let mut loaded = checkpoint::open(path).unwrap_or_else(|error| panic!("{error}"));
    if loaded.end_ids.is_empty() {
        let tokenizer = infer::tokenizer(&loaded).unwrap();
        loaded.end_ids = tokenizer.map_or(Vec::new(), |tokenizer| tokenizer.end_ids());
    }
    loaded
}

/// Writes a Hugging Face folder, as float32.
pub fn export_hf(loaded: &Loaded, out: &Path, storing: Storing) {
    let options = hf::Options { storing, bf16: false, quantize: false, shard_bytes: hf::SHARD_BYTES_MAX };
    hf::export(loaded, out, &options, &mut ()).unwrap();
}

/// Copies a folder with all below it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
