//! `trilobit diagnose`: why a model, a run or a configuration is sick.

use crate::source::{Bar, ReadArgs};
use anyhow::{Result, bail};
use checkpoint::{Phase, Progress};
use clap::ValueEnum;
use diagnose::probes::{self, PROBES, Request};
use diagnose::rules::{self, RULES};
use diagnose::{Finding, Patient, Severity, pages};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// As typed.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    examine: Examine,
}

#[derive(clap::Subcommand)]
enum Action {
    /// The page of a rule or a probe
    Explain {
        /// For example T101
        code: String,
    },
}

#[derive(clap::Args)]
struct Examine {
    /// A run folder, a checkpoint, a Hugging Face folder, a GGUF or llama2.c file, a training configuration (TOML, YAML,
    /// JSON), or a log (CSV, JSON lines, trainer_state.json)
    path: Option<PathBuf>,
    /// The same model in another format, or the logits that another engine dumped (.npy, .jsonl, or the file of llama.cpp's
    /// llama-perplexity --kl-divergence-base)
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,
    /// The token ids after which the logits of an .npy were dumped, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',', requires = "against")]
    ids: Option<Vec<u32>>,
    #[command(flatten)]
    read: ReadArgs,
    /// Only look at what is written: do not run the model
    #[arg(long)]
    no_probes: bool,
    /// Exit code 1 from this severity on
    #[arg(long, value_name = "SEVERITY", value_enum, default_value_t = FailOn::Error)]
    fail_on: FailOn,
    /// Write the model with what probes have proved put right (activation, scales, layout, pairing), in its own format; a
    /// llama2.c file becomes the folder of a native checkpoint
    #[arg(long, value_name = "OUT", conflicts_with = "no_probes")]
    fix: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// List all rules and probes
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum FailOn {
    Note,
    Warning,
    Error,
}

impl FailOn {
    fn severity(self) -> Severity {
        match self {
            Self::Note => Severity::Note,
            Self::Warning => Severity::Warning,
            Self::Error => Severity::Error,
        }
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    match (args.action, &args.examine.path) {
        (Some(Action::Explain { code }), _) => explain(&code),
        (None, _) if args.examine.list => Ok(list(args.examine.json)),
        (None, Some(path)) => examine(&args.examine, path.clone()),
        (None, None) => bail!("there is nothing to diagnose; name a PATH, or use --list"),
    }
}

fn explain(code: &str) -> Result<ExitCode> {
    let code = code.to_ascii_uppercase();
    let Some(page) = pages::page(&code) else {
        let codes = codes().map(|(code, _)| code);
        let hint = formats::nearest::hint(&code, codes);
        bail!("there is no rule or probe {code}{hint}; 'trilobit diagnose --list' shows all");
    };
    print!("{}", page.text);
    Ok(ExitCode::SUCCESS)
}

/// Codes and names of rules, then of probes.
fn codes() -> impl Iterator<Item = (&'static str, &'static str)> {
    let rules = RULES.iter().map(|rule| (rule.code(), rule.name()));
    rules.chain(PROBES.iter().map(|probe| (probe.code(), probe.name())))
}

fn list(as_json: bool) -> ExitCode {
    let entry = |(code, name): (&str, &str)| {
        let title = pages::page(code).unwrap_or_default().title;
        json!({"code": code, "name": name, "title": title})
    };
    if as_json {
        let rules: Vec<Value> = codes().take(RULES.len()).map(entry).collect();
        let probes: Vec<Value> = codes().skip(RULES.len()).map(entry).collect();
        println!("{}", json!({"rules": rules, "probes": probes}));
        return ExitCode::SUCCESS;
    }
    for (code, name) in codes() {
        println!("{code}  {name:<24} {}", pages::page(code).unwrap_or_default().title);
    }
    ExitCode::SUCCESS
}

fn examine(args: &Examine, path: PathBuf) -> Result<ExitCode> {
    let mut bar = Bar::new();
    let mut begun = false;
    let patient = diagnose::open(&path, &args.read.options(), &mut |done, all| {
        if !begun {
            bar.begin(Phase::Compare, all);
            begun = true;
        }
        bar.advance(&format!("tensor {done}"));
    })?;
    bar.finish();
    let mut findings = rules::judge(&patient.subject);
    let mut examined = probes::Report::default();
    if !args.no_probes {
        let request = Request { against: args.against.as_deref(), ids: args.ids.as_deref() };
        examined = probes::run(&patient, &request, &mut |name| eprintln!("probe {name} …"))?;
        findings.extend(examined.findings.iter().cloned());
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    }
    let fixed = args.fix.as_ref().map(|out| diagnose::fix::write(&patient, &examined.fixes, out)).transpose();
    let told = fixed.as_ref().ok().and_then(|fixed| fixed.as_deref());
    match args.json {
        true => print_json(&patient, &findings, &examined, told)?,
        false => print(&findings, &examined, told),
    }
    fixed?;
    let worst = findings.iter().map(|finding| finding.severity).max();
    Ok(ExitCode::from(u8::from(worst.is_some_and(|worst| worst >= args.fail_on.severity()))))
}

fn print_json(
    patient: &Patient,
    findings: &[Finding],
    examined: &probes::Report,
    fixed: Option<&str>,
) -> Result<()> {
    let object = json!({
        "path": patient.path,
        "findings": findings,
        "probes": examined.measured,
        "rules": RULES.len(),
        "fixed": fixed,
    });
    println!("{}", serde_json::to_string(&object)?);
    Ok(())
}

fn print(findings: &[Finding], examined: &probes::Report, fixed: Option<&str>) {
    for finding in findings {
        println!("{} {} {}", finding.severity.name().to_uppercase(), finding.code, finding.name);
        println!("  seen     {}", finding.evidence);
        println!("  means    {}", finding.meaning);
        println!("  remedy   {}", finding.remedy);
        println!("  source   {}\n", finding.source);
    }
    for measured in &examined.measured {
        println!("{} {:<20} {}", measured.code, measured.name, measured.outcome);
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let [notes, warnings, errors] = Severity::ALL.map(count);
    println!("{errors} errors, {warnings} warnings, {notes} notes; {} rules asked", RULES.len());
    if let Some(fixed) = fixed {
        println!("{fixed}");
    }
}
