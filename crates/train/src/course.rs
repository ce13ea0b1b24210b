//! What a run's schedule will do, for people, before the first step: its boundaries.

use crate::config::{ConfigError, RunConfig};
use crate::plan::grouped;
use crate::schedule::{Order, Point, Schedule};
use model::LinearKind;
use serde::Serialize;
use std::fmt;

/// A boundary of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moment {
    /// what its step trains with
    #[serde(flatten)]
    pub point: Point,
    /// read before it
    pub tokens: u64,
    /// what begins there
    pub note: String,
}

/// The boundaries of a run in order, as far as it goes: its quarters, where a phase begins, and where λ comes to 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Course(pub Vec<Moment>);

impl Course {
    /// The course of `config`.
    ///
    /// # Errors
    /// Its schedule contradicts itself.
    pub fn of(config: &RunConfig) -> Result<Self, ConfigError> {
        let schedule = config.schedule()?;
        let tokens_per_step = config.train.tokens_per_step();
        let moment = |step: u64| Moment {
            point: schedule.at(step),
            tokens: step * tokens_per_step,
            note: note(config, &schedule, step),
        };
        Ok(Self(schedule.boundaries_until(config.train.last()).into_iter().map(moment).collect()))
    }
}

/// What begins at a boundary.
fn note(config: &RunConfig, schedule: &Schedule, step: u64) -> String {
    if step == config.train.last() {
        return "the end".into();
    }
    let mut notes = Vec::new();
    let phase = schedule.phase(step);
    if step == 0 || schedule.phase(step - 1) != phase {
        notes.push(phase.to_string());
    }
    let lambda = |step: u64| schedule.at(step).lambda;
    if config.model.linear == LinearKind::Ternary {
        match step {
            0 if lambda(0) < 1.0 => notes.push(order(config)),
            0 => {}
            _ if lambda(step) == 1.0 && lambda(step - 1) < 1.0 => {
                notes.push("all is ternary from here on".into())
            }
            _ => {}
        }
    }
    notes.join("; ")
}

/// How λ goes through the layers.
fn order(config: &RunConfig) -> String {
    let layers = config.model.layers;
    match config.lambda.order {
        Order::Together => format!("λ grows ({}) in all {layers} layers together", config.lambda.kind.name()),
        Order::LastFirst => {
            format!("λ grows ({}) through {layers} layers, the last first", config.lambda.kind.name())
        }
        Order::LeastSensitiveFirst => {
            format!(
                "λ grows ({}) through {layers} layers, the least sensitive first",
                config.lambda.kind.name()
            )
        }
    }
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10} {:>16} {:>10} {:>7} {:>6}", "step", "tokens", "rate", "decay", "λ")?;
        for Moment { point, tokens, note } in &self.0 {
            let Point { step, lr, weight_decay, lambda } = point;
            let (step, tokens) = (grouped(*step), grouped(*tokens));
            write!(f, "\n{step:>10} {tokens:>16} {lr:>10.2e} {weight_decay:>7} {lambda:>6.3}  {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(sets: &[&str]) -> Course {
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        Course::of(&RunConfig::resolve(Some("tiny"), None, &sets).unwrap()).unwrap()
    }

    #[test]
    fn it_says_when_everything_is_ternary_and_where_phases_begin() {
        let sets = [
            "train.steps=100",
            "schedule.kind=wsd",
            "lambda.kind=fixed-n",
            "lambda.n=60",
            "lambda.order=last-first",
        ];
        let text = course(&sets).to_string();
        let line = |note: &str| {
            text.lines().find(|line| line.contains(note)).unwrap_or_else(|| panic!("{note}: {text}"))
        };
        assert!(line("all is ternary").trim_start().starts_with("60 "), "{text}");
        assert!(line("decay").contains("λ"), "the heading: {text}");
        assert!(line("the last first").trim_start().starts_with("0 "), "{text}");
        assert!(line("the end").contains("1.000"), "{text}");
    }

    #[test]
    fn it_ends_where_the_run_stops_early() {
        let sets = ["train.steps=100", "train.stop_after=30", "lambda.kind=linear"];
        let moments = course(&sets).0;
        assert_eq!(moments.iter().map(|moment| moment.point.step).collect::<Vec<_>>(), [0, 25, 30]);
        assert_eq!((moments[2].point.lambda, moments[2].note.as_str()), (0.3, "the end"));
    }

    #[test]
    fn a_run_that_is_ternary_from_the_first_step_speaks_of_its_phases_only() {
        let text = course(&["train.steps=100"]).to_string();
        assert!(!text.contains("ternary") && text.contains("stage-2"), "{text}");
    }
}
