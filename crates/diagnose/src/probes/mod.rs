//! The probes, one file each. A probe runs the model, for seconds, and says what it measured.
//!
//! The comment at the head of a probe's file is its page in docs/rules.md, as for rules.

mod activation;
mod end_of_text;
mod fingerprint;
mod guessing;
mod hidden_norms;
mod listen;
mod packing_layout;
mod parity;
mod references;
mod rope_pairing;
mod scale_convention;
mod unique_tokens;

pub use references::Reference;

use crate::altered::Change;
use crate::{Finding, Patient, Severity, Sign, pages};
use checkpoint::Loaded;
use formats::FileError;
use infer::InferError;
use serde::Serialize;
use std::cell::OnceCell;
use std::path::Path;
use text::Tokenizer;

/// What a probe has before it.
pub struct Case<'a> {
    /// everything that is known
    pub patient: &'a Patient,
    /// the model
    pub model: &'a Loaded,
    /// its tokenizer, where it has one
    pub tokenizer: Option<&'a Tokenizer>,
    /// what it is to be compared with
    pub against: Option<Reference>,
    /// the rule that finds its tensors wrong however they are read, where one does
    pub damage: Option<&'static str>,
    /// how the text surprises the model as it is stated; several probes compare with it
    pub(crate) stated: OnceCell<Vec<f64>>,
}

/// What a probe found out.
pub enum Outcome {
    /// there is nothing to try here, and why
    Skipped(String),
    /// what it measured, in a sentence with numbers
    Measured(Measured),
}

/// See [`Outcome::Measured`].
#[derive(Default)]
pub struct Measured {
    /// the numbers
    pub text: String,
    /// what is wrong, where something is
    pub sign: Option<Sign>,
    /// what would put it right, where the probe has proved it
    pub fix: Option<Change>,
}

impl Outcome {
    pub(crate) fn skipped(why: &str) -> Self {
        Self::Skipped(why.to_owned())
    }
}

/// Why a probe could not run.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The engine's own.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
}

/// One probe.
pub trait Probe: Sync {
    /// Its code, which never changes.
    fn code(&self) -> &'static str;

    /// The name of its file in `probes/`, with dashes.
    fn name(&self) -> &'static str;

    /// Runs the model.
    ///
    /// # Errors
    /// What reading and running say.
    fn run(&self, case: &Case) -> Result<Outcome, ProbeError>;
}

/// All probes, by code.
pub static PROBES: &[&dyn Probe] = &[
    &fingerprint::Fingerprint,
    &end_of_text::EndOfText,
    &unique_tokens::UniqueTokens,
    &activation::Activation,
    &scale_convention::ScaleConvention,
    &packing_layout::PackingLayout,
    &hidden_norms::HiddenNorms,
    &parity::Parity,
    &rope_pairing::RopePairing,
    &guessing::Guessing,
];

/// What is asked besides the path.
#[derive(Clone, Copy, Default)]
pub struct Request<'a> {
    /// another form of the model, or dumped logits
    pub against: Option<&'a Path>,
    /// the ids after which logits of an `.npy` were dumped
    pub ids: Option<&'a [u32]>,
}

/// One probe's result.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// its code
    pub code: &'static str,
    /// its name
    pub name: &'static str,
    /// what it measured, or why it was skipped
    pub outcome: String,
    /// whether it ran
    pub ran: bool,
}

/// What all probes found out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// a line for each probe
    pub measured: Vec<Line>,
    /// what is wrong
    pub findings: Vec<Finding>,
    /// what would put it right
    pub fixes: Vec<Change>,
}

/// The rule about weights that are not numbers: nothing can be run.
const NOT_FINITE: &str = "T401";
/// The rule about weights that are as they were trained, only not ternary.
const NEVER_TERNARY: &str = "T402";

/// Runs all probes on a patient whose model opens; on any other the report is empty. `progress` is told the name of each.
///
/// # Errors
/// `request.against` cannot be read. A probe that fails is a finding.
pub fn run(
    patient: &Patient,
    request: &Request,
    progress: &mut dyn FnMut(&str),
) -> Result<Report, FileError> {
    let mut report = Report::default();
    let against =
        request.against.map(|path| references::open(path, request.ids, &patient.options)).transpose()?;
    let Some(model) = &patient.model else { return Ok(report) };
    let damage = crate::rules::judge(&patient.subject).into_iter().find(|finding| {
        finding.severity == Severity::Error && finding.code.starts_with("T4") && finding.code != NEVER_TERNARY
    });
    let damage = damage.map(|finding| finding.code);
    let case = Case {
        patient,
        model,
        tokenizer: patient.tokenizer.as_ref(),
        against,
        damage,
        stated: OnceCell::new(),
    };
    for probe in PROBES {
        let (code, name) = (probe.code(), probe.name());
        progress(name);
        let outcome = match damage {
            Some(NOT_FINITE) => Ok(Outcome::skipped("weights are not finite")),
            _ => probe.run(&case),
        };
        let (ran, text) = match outcome {
            Ok(Outcome::Skipped(why)) => (false, format!("skipped: {why}")),
            Ok(Outcome::Measured(measured)) => {
                report.findings.extend(measured.sign.map(|sign| pages::finding(code, name, sign)));
                report.fixes.extend(measured.fix);
                (true, measured.text)
            }
            Err(ProbeError::Infer(error @ InferError::TooLarge { .. })) => {
                (false, format!("skipped: {error}"))
            }
            Err(error) => {
                let sign = Sign::new(Severity::Error, format!("the probe could not run: {error}"));
                report.findings.push(pages::finding(code, name, sign));
                (false, error.to_string())
            }
        };
        report.measured.push(Line { code, name, outcome: text, ran });
    }
    Ok(report)
}
