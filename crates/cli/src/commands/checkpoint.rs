//! `trilobit checkpoint`: look into a checkpoint, or verify it.

use anyhow::Result;
use checkpoint::inspect::{self, Tensor};
use checkpoint::native::Opened;
use formats::FileError;
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
    /// Re-read manifest and tensors; every checkpoint of a run folder. Exit code 1 on damage
    Verify(Target),
}

#[derive(clap::Args)]
struct Target {
    /// A run folder or a checkpoint folder
    model: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.action {
        Action::Inspect(target) => inspect(&target),
        Action::Verify(target) => verify(&target),
    }
}

fn inspect(target: &Target) -> Result<ExitCode> {
    let located = checkpoint::locate(&target.model)?;
    for warning in &located.warnings {
        eprintln!("warning: {warning}");
    }
    let checkpoint = &located.checkpoint;
    let model = checkpoint.model()?;
    let tensors = inspect::tensors(&checkpoint.source()?)?;
    // By way of text, so that an f32 shows as its shortest decimal and not as the f64 nearest to it.
    let table: Value = serde_json::from_str(&serde_json::to_string(&model)?)?;
    let state = |key: &str| checkpoint.state().get(key).cloned().unwrap_or(Value::Null);
    let facts = [
        ("path", json!(checkpoint.dir())),
        ("parameters", json!(model.parameters())),
        ("step", state("step")),
        ("tokens", state("tokens")),
        ("lambda", state("lambda")),
    ];
    if target.json {
        let mut object: serde_json::Map<_, _> =
            facts.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
        object.insert("model".to_owned(), table);
        object.insert("files".to_owned(), serde_json::to_value(checkpoint.files())?);
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
    for file in checkpoint.files() {
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
        "tensor", "shape", "absmean γ", "zeros", "min", "max", "non-finite"
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

fn verify(target: &Target) -> Result<ExitCode> {
    let checkpoints = checkpoint::candidates(&target.model)?;
    let reports: Vec<_> = checkpoints.iter().map(|path| (path, reread(path).err())).collect();
    let sound = reports.iter().all(|(_, damage)| damage.is_none());
    if target.json {
        let report = |(path, damage): &(&PathBuf, Option<FileError>)| {
            let damage = damage.as_ref().map(ToString::to_string);
            json!({"path": path, "ok": damage.is_none(), "damage": damage})
        };
        let reports: Vec<_> = reports.iter().map(report).collect();
        println!("{}", json!({"ok": sound, "checkpoints": reports}));
    } else {
        for (path, damage) in &reports {
            match damage {
                None => println!("sound    {}", path.display()),
                Some(damage) => println!("damaged  {damage}"),
            }
        }
    }
    Ok(ExitCode::from(u8::from(!sound)))
}

fn reread(path: &Path) -> Result<(), FileError> {
    inspect::verify(&Opened::open(path)?)
}
