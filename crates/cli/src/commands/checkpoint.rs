//! `trilobit checkpoint`: look into a model, verify it, or compare two.

use crate::source::{Bar, SourceArgs};
use crate::trial;
use anyhow::{Result, bail};
use checkpoint::inspect::{self, Tensor};
use checkpoint::native::Opened;
use checkpoint::{Dialect, Loaded, compare};
use formats::{FileError, Kind};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Configuration, step, files and a table of the tensors
    Inspect(Target),
    /// Re-read manifest and tensors; every checkpoint of a run folder. With --against, compare codes, scales and answers with
    /// the model that it was made of, too. Exit code 1 on damage or differences
    Verify(VerifyArgs),
    /// Compare two models tensor by tensor, whatever their formats. Exit code 1 on differences
    Diff(DiffArgs),
}

#[derive(clap::Args)]
struct DiffArgs {
    #[command(flatten)]
    first: SourceArgs,
    /// The other model
    second: PathBuf,
    /// Relative difference of scales and values that counts as equal
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    tolerance: f32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct VerifyArgs {
    #[command(flatten)]
    target: Target,
    /// The model that MODEL was made of, in whatever format: codes must be equal, scales within 2⁻⁸, and the answers to some
    /// prompts as near as the embedding's rounding lets them be
    #[arg(long, value_name = "MODEL")]
    against: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Target {
    #[command(flatten)]
    source: SourceArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.action {
        Action::Inspect(target) => inspect(&target),
        Action::Verify(args) => verify(&args),
        Action::Diff(args) => diff(&args),
    }
}

fn inspect(target: &Target) -> Result<ExitCode> {
    let loaded = target.source.open()?;
    let model = loaded.config();
    let tensors = inspect::tensors(&*loaded.source)?;
    let native = match loaded.dialect {
        Dialect::Native => Some(Opened::open(&loaded.path)?),
        _ => None,
    };
    // By way of text, so that an f32 shows as its shortest decimal and not as the f64 nearest to it.
    let table: Value = serde_json::from_str(&serde_json::to_string(model)?)?;
    let state = |key: &str| native.as_ref().and_then(|n| n.state().get(key).cloned()).unwrap_or(Value::Null);
    let files = native.as_ref().map_or(&[][..], Opened::files);
    let facts = [
        ("path", json!(loaded.path)),
        ("format", json!(loaded.dialect.name())),
        ("parameters", json!(model.parameters())),
        ("step", state("step")),
        ("tokens", state("tokens")),
        ("lambda", state("lambda")),
    ];
    if target.json {
        let mut object: serde_json::Map<_, _> =
            facts.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
        object.insert("model".to_owned(), table);
        object.insert("files".to_owned(), serde_json::to_value(files)?);
        object.insert("tensors".to_owned(), serde_json::from_str(&serde_json::to_string(&tensors)?)?);
        println!("{}", Value::Object(object));
        return Ok(ExitCode::SUCCESS);
    }
    for (key, value) in facts {
        println!("{key:<12}{}", plain(&value));
    }
    println!("\nmodel");
    for (key, value) in table.as_object().into_iter().flatten() {
        println!("  {key:<16}{}", plain(value));
    }
    println!("\nfiles");
    for file in files {
        println!("  {:<26}{:>14} bytes  sha256 {}", file.name, file.bytes, &file.sha256[..12]);
    }
    print_table(&tensors);
    Ok(ExitCode::SUCCESS)
}

/// A JSON value for people: texts without quotes, `-` for nothing.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn print_table(tensors: &[Tensor]) {
    let width = tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0).max(6);
    println!(
        "\n{:<width$} {:>16} {:>11} {:>7} {:>11} {:>11} {:>10}",
        "tensor", "shape", "γ", "zeros", "min", "max", "non-finite"
    );
    let number = |value: Option<f32>| value.map_or("-".to_owned(), |value| format!("{value:.4e}"));
    for tensor in tensors {
        let zeros = tensor.zero_share.map_or("-".to_owned(), |share| format!("{:.2} %", share * 100.0));
        println!(
            "{:<width$} {:>16} {:>11} {:>7} {:>11} {:>11} {:>10}",
            tensor.name,
            format!("{:?}", tensor.shape),
            number(tensor.gamma),
            zeros,
            number(tensor.min),
            number(tensor.max),
            tensor.non_finite
        );
    }
}

fn verify(args: &VerifyArgs) -> Result<ExitCode> {
    let target = &args.target;
    let model = &target.source.model;
    let foreign = checkpoint::open_with(model, &target.source.options());
    let reports: Vec<_> = match foreign {
        Ok(loaded) if loaded.dialect != Dialect::Native => {
            vec![(model.clone(), inspect::verify_source(&*loaded.source, model).err())]
        }
        Err(error) if checkpoint::candidates(model).is_err() => match is_damage(&error, model) {
            true => vec![(model.clone(), Some(error))],
            false => return Err(error.into()),
        },
        _ => {
            let checkpoints = checkpoint::candidates(model)?.into_iter();
            checkpoints.map(|path| (path.clone(), reread(&path).err())).collect()
        }
    };
    let mut sound = reports.iter().all(|(_, damage)| damage.is_none());
    let against = match &args.against {
        Some(source) if sound => Some(against(target, source)?),
        _ => None,
    };
    sound &= against.as_ref().is_none_or(|against| against.is_same);
    if target.json {
        let report = |(path, damage): &(PathBuf, Option<FileError>)| {
            let damage = damage.as_ref().map(ToString::to_string);
            json!({"path": path, "ok": damage.is_none(), "damage": damage})
        };
        let reports: Vec<_> = reports.iter().map(report).collect();
        let against = against.map(|against| json!({"ok": against.is_same, "findings": against.sentences}));
        println!("{}", json!({"ok": sound, "checkpoints": reports, "against": against}));
    } else {
        for (path, damage) in &reports {
            match damage {
                None => println!("sound    {}", path.display()),
                Some(damage) => println!("damaged  {damage}"),
            }
        }
        for sentence in against.iter().flat_map(|against| &against.sentences) {
            println!("{sentence}");
        }
    }
    Ok(ExitCode::from(u8::from(!sound)))
}

/// Whether what is at `model` is one, but cut or changed, or a part of it is gone; and not something else, or nothing.
fn is_damage(error: &FileError, model: &Path) -> bool {
    match error.kind {
        Kind::Damaged => true,
        Kind::Missing => model.exists() && error.path != model,
        _ => false,
    }
}

/// What the comparison of a model with its source found.
struct Against {
    is_same: bool,
    sentences: Vec<String>,
}

/// The most that a format written here may move a scale: BF16.
const SCALE: f32 = 1.0 / 256.0;
/// The most that one may move a value of the embedding, relative to the largest in its block: Q6_K.
const ROUNDING: f32 = 0.5 / 31.0;

fn against(target: &Target, source: &Path) -> Result<Against> {
    let written = target.source.open()?;
    let source = checkpoint::open_with(source, &target.source.options())?;
    same_shape(&source, &written)?;
    let mut bar = Bar::new();
    let tensors = compare::tensors(&*source.source, &*written.source, |tensor| {
        source.source.release(&tensor.name);
        written.source.release(&tensor.name);
        checkpoint::Progress::advance(&mut bar, &tensor.name);
    });
    bar.finish();
    let tensors = tensors?;
    let differ = tensors.iter().filter(|tensor| tensor.codes > 0 || tensor.scale_error() > SCALE).count();
    let mut sentences =
        vec![format!("{differ} of {} tensors have other codes or another scale", tensors.len())];
    let prompts = infer::prompts(source.config().vocabulary, infer::tokenizer(&source)?.as_ref());
    let agreement = trial::compare(&*source.source, &*written.source, &prompts)?;
    sentences.push(agreement.as_ref().map_or(trial::NO_ROOM.to_owned(), trial::say));
    let near = agreement.is_none_or(|agreement| agreement.largest <= trial::allowed(ROUNDING));
    Ok(Against { is_same: differ == 0 && near, sentences })
}

fn reread(path: &Path) -> Result<(), FileError> {
    inspect::verify(&Opened::open(path)?)
}

/// The keys of two configurations that differ; see [`compare::configs`].
///
/// # Errors
/// One of them changes the shapes.
fn same_shape(first: &Loaded, second: &Loaded) -> Result<Vec<(String, Value, Value)>> {
    let keys = compare::configs(first.config(), second.config());
    let shape = [
        "hidden",
        "layers",
        "heads",
        "kv_heads",
        "head_size",
        "ffn",
        "vocabulary",
        "tied",
        "qkv_bias",
        "qk_norm",
    ];
    if let Some((key, a, b)) = keys.iter().find(|(key, ..)| shape.contains(&key.as_str())) {
        bail!(
            "{} and {} have different shapes: model.{key} is {a} and {b}; only models of one shape can be compared tensor by tensor ('diagnose A --against B' compares what they say, also of a file that was widened)",
            first.path.display(),
            second.path.display()
        );
    }
    Ok(keys)
}

/// A number ≥ 0.
fn share(text: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|number: &f32| *number >= 0.0);
    number.ok_or_else(|| "it is not a number ≥ 0".to_owned())
}

fn diff(args: &DiffArgs) -> Result<ExitCode> {
    let first = args.first.open()?;
    let second = checkpoint::open_with(&args.second, &args.first.options())?;
    let keys = same_shape(&first, &second)?;
    let mut bar = Bar::new();
    let tensors = compare::tensors(&*first.source, &*second.source, |tensor| {
        checkpoint::Progress::advance(&mut bar, &tensor.name);
    });
    bar.finish();
    let tensors = tensors?;
    let differ: Vec<_> = tensors.iter().filter(|tensor| !tensor.is_within(args.tolerance)).collect();
    if args.json {
        let keys: Vec<_> = keys.iter().map(|(key, a, b)| json!({"key": key, "a": a, "b": b})).collect();
        println!("{}", json!({"tensors": tensors.len(), "config": keys, "different": differ}));
    } else {
        for (key, a, b) in &keys {
            println!("model.{key}: {} and {}", plain(a), plain(b));
        }
        for tensor in &differ {
            println!(
                "{:<24} {} of {} codes, scale {:.2e}, values {:.2e} (relative {:.2e})",
                tensor.name,
                tensor.codes,
                tensor.elements,
                tensor.scale_error(),
                tensor.largest,
                tensor.relative
            );
        }
        println!("{} of {} tensors differ", differ.len(), tensors.len());
    }
    Ok(ExitCode::from(u8::from(!differ.is_empty() || !keys.is_empty())))
}
