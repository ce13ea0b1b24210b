//! One file per verb. Each has `Args` (as typed) and `run`.

mod bench;
mod chat;
mod checkpoint;
mod data;
mod diagnose;
mod distill;
mod eval;
mod export;
mod generate;
mod heal;
mod import;
mod lab;
mod logits;
mod plan;
mod quickstart;
mod report;
mod schedule;
mod tokenizer;
mod train;

use anyhow::Result;
use clap::Subcommand;
use std::process::ExitCode;

/// The verbs, in the order of a model's life.
#[derive(Subcommand)]
pub enum Command {
    /// Corpus, tokenizer, a tiny model trained and heard, in about two minutes
    Quickstart(quickstart::Args),
    /// Train a tokenizer, look into one, or encode text
    Tokenizer(tokenizer::Args),
    /// Turn text files into token shards, and describe them
    Data(data::Args),
    /// Pre-train a model
    Train(train::Args),
    /// Make a pretrained full-precision model ternary
    Heal(heal::Args),
    /// Let a student learn from a teacher
    Distill(distill::Args),
    /// Look into a model, verify it, or compare two
    Checkpoint(checkpoint::Args),
    /// Make a checkpoint of any model: a Hugging Face folder, a GGUF or a llama2.c file
    Import(import::Args),
    /// Say why a model, a run or a configuration is sick, and what to do
    Diagnose(diagnose::Args),
    /// Write a model as a Hugging Face folder or a GGUF file
    Export(export::Args),
    /// Continue a prompt
    Generate(generate::Args),
    /// Talk to a model
    Chat(chat::Args),
    /// Print or save the logits of a prompt
    Logits(logits::Args),
    /// Measure a model: perplexity
    Eval(eval::Args),
    /// Measure speed
    Bench(bench::Args),
    /// Predict the time of a run on several nodes
    Plan(plan::Args),
    /// Run experiments: grids of runs, tables, claims judged by evidence
    Lab(lab::Args),
    /// One page about one run or several, once or live
    Report(report::Args),
    /// Print or plot learning rate, weight decay and lambda over the steps
    Schedule(schedule::Args),
}

impl Command {
    /// Runs the verb.
    pub fn run(self) -> Result<ExitCode> {
        match self {
            Self::Quickstart(args) => quickstart::run(args),
            Self::Tokenizer(args) => tokenizer::run(args),
            Self::Data(args) => data::run(args),
            Self::Train(args) => train::run(args),
            Self::Heal(args) => heal::run(args),
            Self::Distill(args) => distill::run(args),
            Self::Checkpoint(args) => checkpoint::run(args),
            Self::Import(args) => import::run(args),
            Self::Diagnose(args) => diagnose::run(args),
            Self::Export(args) => export::run(args),
            Self::Generate(args) => generate::run(args),
            Self::Chat(args) => chat::run(args),
            Self::Logits(args) => logits::run(args),
            Self::Eval(args) => eval::run(args),
            Self::Bench(args) => bench::run(args),
            Self::Plan(args) => plan::run(args),
            Self::Lab(args) => lab::run(args),
            Self::Report(args) => report::run(args),
            Self::Schedule(args) => schedule::run(args),
        }
    }
}
