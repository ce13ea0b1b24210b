//! What can go wrong in a run, each as a sentence that says what to do.

use std::path::PathBuf;

/// An operating error of a run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TrainError {
    #[error(transparent)]
    File(#[from] formats::FileError),
    #[error(transparent)]
    Data(#[from] data::DataError),
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error(
        "no data: name at least one folder that 'trilobit data prepare' wrote with --data, or conversations with --sft"
    )]
    NoData,
    #[error("{} has no tokenizer, and conversations are told in its words: name a model that has one", path.display())]
    NoTokenizer { path: PathBuf },
    #[error(
        "{} has {data} token ids, but model.vocabulary is {model}: set model.vocabulary to at least {data}, or prepare the data with the model's tokenizer",
        path.display()
    )]
    Vocabulary { path: PathBuf, data: usize, model: usize },
    #[error("{}: its network is not the one of this run's config.toml; restore the run's own config.toml", checkpoint.display())]
    OtherModel { checkpoint: PathBuf },
    #[error("{}: its network is not the one of [model]; leave [model] out of the configuration, it comes from the model", path.display())]
    OtherSource { path: PathBuf },
    #[error(
        "{}: its training had reached λ = {lambda:.3} of 1, so the ternary network that an adapter would be learned beside is another, much worse model; take it to λ = 1 first",
        path.display()
    )]
    UnfinishedBase { path: PathBuf, lambda: f64 },
    #[error(
        "{}: tensor '{tensor}' holds a value that is not finite (number {at}); the file is damaged or its training diverged: take another checkpoint of it",
        path.display()
    )]
    NotFinite { path: PathBuf, tensor: String, at: usize },
    #[error("the teacher {}: {reason}", path.display())]
    Teacher { path: PathBuf, reason: String },
    #[error("{}/state.json does not hold a run's state: {error}; use the previous checkpoint", path.display())]
    State { path: PathBuf, error: serde_json::Error },
    #[error(
        "neither train.batch = {batch} nor train.accumulation = {accumulation} can be split evenly over {ranks} ranks: start a number of ranks that divides one of them, or begin a run with --set train.batch={}",
        batch.next_multiple_of(*ranks)
    )]
    Uneven { batch: usize, accumulation: usize, ranks: usize },
    #[error(
        "train.optimizer = \"muon\" needs whole matrices, and ranks share them: train with one process, or with \"adamw\""
    )]
    MuonAlone,
    #[error(
        "an adapter is learned by one process: its gradients are too small to be worth sending; start without mpirun"
    )]
    AdapterAlone,
    #[error(
        "rank 0 told something that this program does not understand; start the same version of it on every machine"
    )]
    OtherVersion,
    #[error(
        "step {step} was refused by the guard and train.guard is \"stop\"; the weights before it are in {}/checkpoints: lower schedule.peak or set train.guard = \"skip\" in {}/config.toml, then --resume",
        run.display(),
        run.display()
    )]
    Guard { step: u64, run: PathBuf },
}
