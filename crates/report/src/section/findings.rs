//! What the doctor found, from `findings.json` in the run folder.

use super::Section;
use crate::run::{Finding, RunData};
use maud::{Markup, html};
use serde_json::Value;

/// See the module.
pub struct Findings;

impl Section for Findings {
    fn id(&self) -> &'static str {
        "findings"
    }

    fn title(&self) -> &'static str {
        "Findings"
    }

    fn draw(&self, runs: &[RunData]) -> Markup {
        html! {
            @if runs.iter().any(|run| run.findings.is_none()) {
                p.none {
                    "Where nothing stands here, the doctor was not asked: "
                    code { "trilobit diagnose RUN --json > RUN/findings.json" } "."
                }
            }
            @for run in runs.iter().filter(|run| run.findings.is_some()) {
                @if runs.len() > 1 { h3 { (run.name) } }
                @match &run.findings {
                    None => {},
                    Some(findings) if findings.is_empty() => p { "The doctor found nothing." },
                    Some(findings) => ul.findings { @for finding in findings { (item(finding)) } },
                }
            }
        }
    }
}

fn item(finding: &Finding) -> Markup {
    html! {
        li {
            span class={ "severity " (finding.severity.to_lowercase()) } { (finding.severity) }
            strong { (finding.code) " " (finding.name) }
            p { (words(&finding.evidence)) }
            @if !finding.meaning.is_empty() { p { (finding.meaning) } }
            @if !finding.remedy.is_empty() { p.remedy { (finding.remedy) } }
        }
    }
}

/// A sentence as it is, figures by name as `name: figure`.
fn words(evidence: &Value) -> String {
    match evidence {
        Value::String(sentence) => sentence.clone(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join("; "),
        Value::Object(figures) => figures
            .iter()
            .map(|(name, value)| format!("{name}: {}", words(value)))
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}
