//! The points of an experiment: every combination of the axes' values, with every seed.

use crate::experiment::{Combine, Experiment, Settings, laid_over};
use std::collections::BTreeMap;

/// Longest name of a folder, bytes.
const LABEL_BYTES_MAX: usize = 255;

/// One run to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// its folder's name
    pub label: String,
    /// axis and label of its value, in the order of the axes
    pub values: Vec<(String, String)>,
    /// of `train.seed`
    pub seed: u64,
    /// preset, keys and data set, all layers laid over each other
    pub settings: Settings,
}

impl Point {
    /// The label of the value of an axis.
    pub fn value(&self, axis: &str) -> Option<&str> {
        self.values.iter().find(|(name, _)| name == axis).map(|(_, value)| value.as_str())
    }

    /// Its values as they are written, for people.
    fn named(&self) -> String {
        let values = self.values.iter().map(|(axis, value)| format!("{axis}={value}"));
        values.chain([format!("seed={}", self.seed)]).collect::<Vec<_>>().join(", ")
    }
}

/// All points, the last axis changing fastest, seeds together.
pub fn points(experiment: &Experiment) -> Vec<Point> {
    let mut choices: Vec<Vec<usize>> = vec![Vec::new()];
    match experiment.combine {
        Combine::Grid => {
            for axis in &experiment.axes {
                let longer = |choice: &Vec<usize>| {
                    let choice = choice.clone();
                    (0..axis.values.len()).map(move |index| [&choice[..], &[index]].concat())
                };
                choices = choices.iter().flat_map(longer).collect();
            }
        }
        Combine::List => {
            let length = experiment.axes.first().map_or(1, |axis| axis.values.len());
            choices = (0..length).map(|index| vec![index; experiment.axes.len()]).collect();
        }
    }
    let with_seeds = |choice: &Vec<usize>| {
        let choice = choice.clone();
        experiment.seeds.iter().map(move |seed| point(experiment, &choice, *seed))
    };
    choices.iter().flat_map(with_seeds).collect()
}

/// Whether every point has a folder of its own.
///
/// # Errors
/// The sentence names the two that would share one, or the one whose name no folder can have.
pub fn check(experiment: &Experiment) -> Result<(), String> {
    let mut known: BTreeMap<String, Point> = BTreeMap::new();
    for point in points(experiment) {
        let named = point.named();
        if point.label.len() > LABEL_BYTES_MAX {
            return Err(format!(
                "the run {named} would have a name of {} letters for its folder, of which {LABEL_BYTES_MAX} are possible; give \
                 values shorter labels: {{ is = \"short\", set = {{ … }} }}",
                point.label.len()
            ));
        }
        if let Some(other) = known.get(&point.label) {
            return Err(match other.values == point.values {
                true => format!("the seed {} is there twice", point.seed),
                false => format!(
                    "the runs {} and {named} would share the folder '{}'; give one of the values another label: \
                     {{ is = \"other\", set = {{ … }} }}",
                    other.named(),
                    point.label
                ),
            });
        }
        known.insert(point.label.clone(), point);
    }
    Ok(())
}

fn point(experiment: &Experiment, choice: &[usize], seed: u64) -> Point {
    let mut settings = experiment.base.clone();
    let mut values = Vec::new();
    for (axis, index) in experiment.axes.iter().zip(choice) {
        let value = &axis.values[*index];
        values.push((axis.name.clone(), value.label.clone()));
        settings = Settings {
            preset: value.settings.preset.clone().or(settings.preset),
            data: value.settings.data.clone().or(settings.data),
            set: laid_over(settings.set, value.settings.set.clone()),
        };
    }
    settings.set = laid_over(settings.set, vec![("train.seed".into(), seed.to_string())]);
    let named = values.iter().map(|(axis, value)| format!("{axis}-{value}")).chain([format!("seed-{seed}")]);
    let label: Vec<String> = named.map(|name| name.chars().map(tame).collect()).collect();
    Point { label: label.join("_"), values, seed, settings }
}

/// What may stand in the name of a folder everywhere.
fn tame(character: char) -> char {
    if character.is_ascii_alphanumeric() || ".-+".contains(character) { character } else { '-' }
}
