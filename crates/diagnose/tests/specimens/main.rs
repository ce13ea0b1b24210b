//! The corpus: sick and healthy specimens, made by code from one small model, and what is found in each.
//!
//! docs/specimens.md is the table; `UPDATE_DOCS=1` writes it. A specimen's findings are those of severity warning and above, all of
//! them: nothing else is accused. What a broken model says ([`SYMPTOMS`]) accuses nobody and depends on chance: it may be found in a
//! sick specimen, and must not in a healthy one.

mod base;
mod edit;
mod healthy;
mod models;
mod proofs;
mod records;

use base::Base;
use checkpoint::OpenOptions;
use diagnose::probes::{self, Request};
use diagnose::{Severity, rules};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// One patient of the corpus.
pub struct Specimen {
    /// what was done to it, in a few words
    pub name: &'static str,
    /// codes of all findings, warning and above, in order
    pub findings: &'static [&'static str],
    /// makes it in an empty folder; the path to diagnose
    pub make: fn(&Base, &Path) -> PathBuf,
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(Base::new)
}

/// Probes that describe what the model says, and no cause.
const SYMPTOMS: &[&str] = &["P101", "P102", "P103", "P107", "P110"];

/// The codes of what rules and probes say, warning and above, in order.
pub fn codes(path: &Path, options: &OpenOptions) -> Vec<(String, String)> {
    let patient = diagnose::open(path, options, &mut |_, _| ()).unwrap_or_else(|error| panic!("{error}"));
    let mut findings = rules::judge(&patient.subject);
    findings.extend(probes::run(&patient, &Request::default(), &mut |_| ()).unwrap().findings);
    findings.retain(|finding| finding.severity >= Severity::Warning);
    findings.sort_by_key(|finding| finding.code);
    findings.into_iter().map(|finding| (finding.code.to_owned(), finding.evidence)).collect()
}

/// Diagnoses every specimen; lines of the table, and what differs from what is expected.
fn examine(specimens: &[&Specimen]) -> (String, Vec<String>) {
    let (mut table, mut wrong) = (String::new(), Vec::new());
    for specimen in specimens {
        let dir = tempfile::tempdir().unwrap();
        let path = (specimen.make)(base(), dir.path());
        let found = codes(&path, &OpenOptions::default());
        let mut codes: Vec<&str> = found.iter().map(|(code, _)| code.as_str()).collect();
        if !specimen.findings.is_empty() {
            codes.retain(|code| !SYMPTOMS.contains(code));
        }
        if codes != specimen.findings {
            wrong.push(format!("{}: expected {:?}, found {found:#?}", specimen.name, specimen.findings));
        }
        let shown = if codes.is_empty() { "nothing".to_owned() } else { codes.join(", ") };
        writeln!(table, "| {} | {shown} |", specimen.name).unwrap();
    }
    (table, wrong)
}

const HEAD: &str = "# Specimens\n\n\
    What `trilobit diagnose` finds in models, runs and configurations that were made sick on purpose, and in healthy ones. A test\n\
    (`cargo test -p diagnose --test specimens`) trains a small ternary model, makes every specimen from it, and compares this\n\
    table with what is found: all findings of severity warning and above. What a broken model happens to say (P101, P102, P103,\n\
    P107, P110) accuses nobody and is left out; in a healthy one it would be an alarm. The codes are explained in\n\
    [rules.md](rules.md).\n";

#[test]
fn every_specimen_has_its_findings_and_no_others() {
    let sick: Vec<&Specimen> = records::specimens().chain(models::specimens()).collect();
    let healthy: Vec<&Specimen> = healthy::SPECIMENS.iter().collect();
    assert!(sick.len() >= 30 && healthy.len() >= 10, "{} sick, {} healthy", sick.len(), healthy.len());
    assert!(sick.iter().all(|specimen| !specimen.findings.is_empty()));
    assert!(healthy.iter().all(|specimen| specimen.findings.is_empty()));
    let (sick_table, mut wrong) = examine(&sick);
    let (healthy_table, alarms) = examine(&healthy);
    wrong.extend(alarms);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let rows =
        |title: &str, table: &str| format!("\n## {title}\n\n| specimen | findings |\n|---|---|\n{table}");
    let page = format!("{HEAD}{}{}", rows("Sick", &sick_table), rows("Healthy", &healthy_table));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/specimens.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        formats::atomic::write_bytes(&path, page.as_bytes()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "docs/specimens.md is stale: run the tests of this crate with UPDATE_DOCS=1");
}
