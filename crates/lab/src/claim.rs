//! Judging claims: supported, refuted, or undecided, with the values that say so.

use crate::experiment::Experiment;
use crate::expr::{self, Claim, Missing, Quantifier, Scope, Value};
use crate::measure::Measured;
use crate::points::Point;
use crate::scope::Group;
use serde::Serialize;

/// What the evidence says of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// it holds wherever it says it does, with every seed
    Supported,
    /// it fails in a place where it says it holds, with every seed
    Refuted,
    /// values are missing, or seeds disagree
    Undecided,
}

impl Verdict {
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Refuted => "refuted",
            Self::Undecided => "undecided",
        }
    }
}

/// One place in which a claim was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    /// the values of the claim's axes, for example `hidden=256`; empty where it has none
    pub group: String,
    /// of `train.seed`
    pub seed: u64,
    /// whether it holds; `None` where a value is missing
    pub holds: Option<bool>,
    /// each measure with its value, or why there is none
    pub values: Vec<(String, String)>,
}

/// A claim with its verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// as written
    pub claim: String,
    /// what follows from the evidence
    pub verdict: Verdict,
    /// in every group, with every seed
    pub evidence: Vec<Evidence>,
}

/// Judges a claim by all points.
pub fn judge(
    experiment: &Experiment,
    measured: &[(Point, Option<Measured>)],
    text: &str,
    claim: &Claim,
) -> Judged {
    let mut groups: Vec<Vec<(String, String)>> = Vec::new();
    for (point, _) in measured {
        let values = |axis: &String| Some((axis.clone(), point.value(axis)?.to_owned()));
        let group: Vec<(String, String)> = claim.axes.iter().filter_map(values).collect();
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let mut evidence = Vec::new();
    let mut truths = Vec::new();
    for values in groups {
        let seeds = experiment.seeds.iter();
        let seen: Vec<Evidence> = seeds
            .map(|seed| look(&Group { experiment, measured, values: values.clone(), seed: *seed }, claim))
            .collect();
        truths.push(agreed(seen.iter().map(|one| one.holds)));
        evidence.extend(seen);
    }
    Judged { claim: text.to_owned(), verdict: verdict(claim.quantifier, &truths), evidence }
}

/// What all seeds say; `None` where they disagree or one is silent.
fn agreed(mut seeds: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let first = seeds.next()??;
    seeds.all(|other| other == Some(first)).then_some(first)
}

fn verdict(quantifier: Quantifier, groups: &[Option<bool>]) -> Verdict {
    // One group decides against 'every', and one decides for 'some'.
    let (deciding, decided, otherwise) = match quantifier {
        Quantifier::Every => (Some(false), Verdict::Refuted, Verdict::Supported),
        Quantifier::Some => (Some(true), Verdict::Supported, Verdict::Refuted),
    };
    if groups.contains(&deciding) {
        decided
    } else if groups.is_empty() || groups.contains(&None) {
        Verdict::Undecided
    } else {
        otherwise
    }
}

fn look(group: &Group, claim: &Claim) -> Evidence {
    let holds = match expr::evaluate(&claim.condition, group) {
        Ok(Value::Truth(truth)) => Some(truth),
        _ => None,
    };
    let paths = claim.condition.paths();
    let values: Vec<_> = paths.iter().map(|path| group.values(path)).collect();
    let named: Vec<String> = group.values.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
    Evidence {
        group: named.join(", "),
        seed: group.seed,
        holds,
        values: paths.iter().map(ToString::to_string).zip(told(&values)).collect(),
    }
}

/// Each value in words, or why there is none; with all digits where two would look alike, which a claim may set apart.
fn told(values: &[Result<Vec<Value>, Missing>]) -> Vec<String> {
    let with = |digits: fn(f64) -> String| -> Vec<String> {
        let one = |values: &Result<Vec<Value>, Missing>| match values {
            Ok(values) => spoken(values, digits),
            Err(Missing(why)) => why.clone(),
        };
        values.iter().map(one).collect()
    };
    let short = with(report::number::short);
    let is_twice = |text: &String| short.iter().filter(|other| *other == text).count() > 1;
    if short.iter().any(is_twice) { with(|number| number.to_string()) } else { short }
}

/// A value, or the range of several, numbers as `digits` has them.
fn spoken(values: &[Value], digits: fn(f64) -> String) -> String {
    let number = |value: &Value| match value {
        Value::Number(number) => Some(*number),
        _ => None,
    };
    let numbers: Vec<f64> = values.iter().filter_map(number).collect();
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match (values, numbers.len() == values.len()) {
        ([Value::Number(one)], _) => digits(*one),
        ([one], _) => one.to_string(),
        (_, true) => format!("{} to {}", digits(low), digits(high)),
        (_, false) => format!("{} values", values.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_alike_is_told_in_all_digits() {
        let number = |number| Ok(vec![Value::Number(number)]);
        assert_eq!(told(&[number(6.1229792), number(5.0)]), ["6.123", "5"]);
        assert_eq!(told(&[number(6.1229792), number(6.1229923)]), ["6.1229792", "6.1229923"]);
    }

    #[test]
    fn one_counterexample_refutes_and_a_gap_leaves_it_open() {
        use Verdict::*;
        for (quantifier, groups, expected) in [
            (Quantifier::Every, &[Some(true), Some(true)][..], Supported),
            (Quantifier::Every, &[Some(true), Some(false)], Refuted),
            (Quantifier::Every, &[None, Some(false)], Refuted),
            (Quantifier::Every, &[None, Some(true)], Undecided),
            (Quantifier::Every, &[], Undecided),
            (Quantifier::Some, &[Some(false), Some(true)], Supported),
            (Quantifier::Some, &[Some(false), Some(false)], Refuted),
            (Quantifier::Some, &[Some(false), None], Undecided),
        ] {
            assert_eq!(verdict(quantifier, groups), expected, "{quantifier:?} {groups:?}");
        }
        assert_eq!(agreed([Some(true), Some(true)].into_iter()), Some(true));
        assert_eq!(agreed([Some(true), Some(false)].into_iter()), None);
        assert_eq!(agreed([Some(true), None].into_iter()), None);
    }
}
