//! What a rule or a probe says: a sign, and with its page a finding.

use serde::Serialize;
use std::fmt;

/// How bad a sign is, from least to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// nothing to be done: an observation explained
    Note,
    /// known to harm, or doubtful
    Warning,
    /// the model is wrong, or will be
    Error,
}

impl Severity {
    /// All, from least to worst.
    pub const ALL: [Self; 3] = [Self::Note, Self::Warning, Self::Error];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a rule or a probe saw, with its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Sign {
    /// how bad it is
    pub severity: Severity,
    /// what was seen, with numbers
    pub evidence: String,
    /// a tensor, a key or a step, where the sign has one place
    pub place: Option<String>,
}

impl Sign {
    /// A sign of that severity.
    pub fn new(severity: Severity, evidence: impl Into<String>) -> Self {
        Self { severity, evidence: evidence.into(), place: None }
    }

    /// The model is wrong, or will be.
    pub fn error(evidence: impl Into<String>) -> Self {
        Self::new(Severity::Error, evidence)
    }

    /// Known to harm, or doubtful.
    pub fn warning(evidence: impl Into<String>) -> Self {
        Self::new(Severity::Warning, evidence)
    }

    /// Nothing to be done.
    pub fn note(evidence: impl Into<String>) -> Self {
        Self::new(Severity::Note, evidence)
    }

    /// The sign with the place where it was seen.
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }
}

/// A sign with what its page says about it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// for example `T101`
    pub code: &'static str,
    /// the name of the rule or probe
    pub name: &'static str,
    /// how bad it is
    pub severity: Severity,
    /// what was seen, with numbers
    pub evidence: String,
    /// a tensor, a key or a step
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// what it means
    pub meaning: String,
    /// what to do
    pub remedy: String,
    /// where the knowledge is from
    pub source: String,
}

/// A number as people read it: four significant digits, without a long tail of zeros.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    match value {
        _ if value == 0.0 || !value.is_finite() => format!("{value}"),
        _ if value.fract() == 0.0 && size < 1e7 => format!("{value}"),
        _ if !(1e-3..1e5).contains(&size) => format!("{value:.3e}"),
        _ => {
            let digits = (3 - size.log10().floor() as i32).max(0) as usize;
            let text = format!("{value:.digits$}");
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            }
        }
    }
}

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", number(100.0 * share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_severities_are_ordered() {
        for (value, text) in
            [(0.05, "0.05"), (1.5e-3, "0.0015"), (12.0, "12"), (0.31012, "0.3101"), (7.6778e-4, "7.678e-4")]
        {
            assert_eq!(number(value), text);
        }
        assert_eq!(percent(0.36), "36 %");
        assert!(Severity::Error > Severity::Warning && Severity::Warning > Severity::Note);
    }
}
