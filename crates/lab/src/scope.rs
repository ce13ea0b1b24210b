//! What a path of an expression means in an experiment: which point, which moment, which measure.

use crate::experiment::{Experiment, Measure};
use crate::expr::{Missing, Path, Scope, Value};
use crate::measure::Measured;
use crate::points::Point;

/// What is measured over time; of a measure that has a value for each layer it is their mean.
pub const MEASURES: [&str; 19] = [
    "loss",
    "raw_loss",
    "bits_per_byte",
    "lr",
    "weight_decay",
    "lambda",
    "grad_norm",
    "tokens_per_s",
    "validation_loss",
    "validation_bits_per_byte",
    "ternary_validation_loss",
    "exported_loss",
    "unique_tokens",
    "output_entropy",
    "repetition",
    "zero_share",
    "flip_rate",
    "scale",
    "state",
];
/// What a run has once.
pub const FACTS: [&str; 5] = ["ln_vocabulary", "unigram_entropy", "parameters", "steps", "minutes"];
/// Measures that can be plotted over the steps.
pub const PLOTTED: [&str; 11] = [
    "loss",
    "validation_loss",
    "ternary_validation_loss",
    "unique_tokens",
    "output_entropy",
    "repetition",
    "grad_norm",
    "lr",
    "weight_decay",
    "lambda",
    "state",
];

/// Whether every measure of a child process can be told from the others, and from what a run has anyway.
///
/// # Errors
/// The sentence names the one that cannot.
pub fn check_names(measures: &[Measure]) -> Result<(), String> {
    for (index, Measure { name, .. }) in measures.iter().enumerate() {
        if FACTS.contains(&name.as_str()) {
            return Err(format!(
                "a measure is called '{name}', which every run has of itself; call it otherwise"
            ));
        }
        if measures[..index].iter().any(|other| other.name == *name) {
            return Err(format!("two measures are called '{name}'; call one of them otherwise"));
        }
    }
    Ok(())
}

/// Whether these paths mean something where the values of `open` axes are given: one point, a known moment and measure.
///
/// # Errors
/// The sentence says which part of which path does not.
pub fn check<'a>(
    experiment: &Experiment,
    open: &[String],
    paths: impl Iterator<Item = &'a Path>,
) -> Result<(), String> {
    let axis = |name: &str| experiment.axes.iter().find(|axis| axis.name == name);
    if let Some(unknown) = open.iter().find(|name| axis(name).is_none()) {
        return Err(format!("there is no axis '{unknown}'"));
    }
    for path in paths {
        if let Some((name, _)) = path.select.iter().find(|(name, _)| axis(name).is_none()) {
            return Err(format!("{path}: there is no axis '{name}'"));
        }
        let is_fixed =
            |name: &str| open.iter().any(|o| o == name) || path.select.iter().any(|(s, _)| s == name);
        if let Some(free) = experiment.axes.iter().find(|axis| axis.values.len() > 1 && !is_fixed(&axis.name))
        {
            let name = &free.name;
            return Err(format!(
                "{path} leaves '{name}' open: write 'for every {name}', or {path}[{name}={}]",
                free.values[0].label
            ));
        }
        match &path.moment {
            Some(moment) if !experiment.moments.contains_key(moment) => {
                let known: Vec<&str> = experiment.moments.keys().map(String::as_str).collect();
                return Err(format!("{path}: there is no moment '{moment}'; there are {}", known.join(", ")));
            }
            Some(_) if !MEASURES.contains(&path.name.as_str()) => {
                return Err(format!(
                    "{path}: '{}' is not measured over time; {} are",
                    path.name,
                    MEASURES.join(", ")
                ));
            }
            None if !FACTS.contains(&path.name.as_str())
                && !experiment.measures.iter().any(|m| m.name == path.name) =>
            {
                let name = &path.name;
                return Err(format!(
                    "{path}: '{name}' is nothing that a run has once; say at which moment, as in end.{name}"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether every value that these paths name is one of its axis, if only in the full size.
///
/// # Errors
/// The sentence names the first that is not, and the values that there are.
pub fn check_values<'a>(
    experiment: &Experiment,
    paths: impl Iterator<Item = &'a Path>,
) -> Result<(), String> {
    for path in paths {
        for (name, value) in &path.select {
            let axes = experiment.axes.iter().filter(|axis| axis.name == *name);
            for axis in axes {
                let labels = axis.values.iter().map(|value| &value.label).chain(&axis.left_out);
                let known: Vec<&str> = labels.map(String::as_str).collect();
                if !known.iter().any(|label| same(label, value)) {
                    let known = known.join(", ");
                    return Err(format!("{path}: the axis '{name}' has no value {value}; it has {known}"));
                }
            }
        }
    }
    Ok(())
}

/// Labels that mean the same: `0.10` and `0.1` do.
pub fn same(label: &str, value: &str) -> bool {
    label == value || matches!((label.parse::<f64>(), value.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
}

/// The values of some axes, and a seed: what a group of a claim, or a row of a table, has in common.
pub struct Group<'a> {
    /// the experiment
    pub experiment: &'a Experiment,
    /// all points, with what was measured of each
    pub measured: &'a [(Point, Option<Measured>)],
    /// axis and label
    pub values: Vec<(String, String)>,
    /// of `train.seed`
    pub seed: u64,
}

impl Scope for Group<'_> {
    fn values(&self, path: &Path) -> Result<Vec<Value>, Missing> {
        let wanted: Vec<&(String, String)> = path
            .select
            .iter()
            .chain(self.values.iter().filter(|(axis, _)| !path.select.iter().any(|(name, _)| name == axis)))
            .collect();
        let fits = |point: &Point| {
            point.seed == self.seed
                && wanted
                    .iter()
                    .all(|(axis, value)| point.value(axis).is_some_and(|label| same(label, value)))
        };
        let mut found = self.measured.iter().filter(|(point, _)| fits(point));
        let Some((point, measured)) = found.next() else {
            return Err(Missing("has no run".to_owned()));
        };
        let Some(measured) = measured else {
            return Err(Missing(format!("the run {} is not there", point.label)));
        };
        let missing = || Missing(format!("is missing in {}", point.label));
        let values = match &path.moment {
            None => vec![measured.fact(&path.name).ok_or_else(missing)?],
            Some(moment) => {
                let range = self.experiment.moments.get(moment).ok_or_else(missing)?;
                measured.at(&path.name, *range)
            }
        };
        if values.is_empty() { Err(missing()) } else { Ok(values) }
    }
}
