//! The log does not follow its own configuration.
//!
//! Learning rate, weight decay and λ of every step are functions of the configuration. Where the log has other values,
//! the run was not the one that the configuration describes: it was resumed with other settings, or the configuration
//! was changed afterwards.
//!
//! Remedy: find out which of the two is true before comparing this run with others; train again where it matters.
//!
//! Source: the configuration in the run folder, evaluated step by step.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct ScheduleNotFollowed;

impl Rule for ScheduleNotFollowed {
    fn code(&self) -> &'static str {
        "T103"
    }

    fn name(&self) -> &'static str {
        "schedule-not-followed"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let schedule = subject.recipe.own.as_ref()?.schedule().ok()?;
        let differs = |point: &&crate::subject::Point| {
            let wanted = schedule.at(point.step);
            let apart = |found: Option<f64>, wanted: f64| {
                found.is_some_and(|found| (found - wanted).abs() > 1e-6 * wanted.abs().max(1e-6))
            };
            apart(point.lr, wanted.lr)
                || apart(point.weight_decay, wanted.weight_decay)
                || apart(point.lambda, wanted.lambda)
        };
        let point = subject.series.iter().find(differs)?;
        let wanted = schedule.at(point.step);
        let said = |value: Option<f64>| value.map_or("-".to_owned(), number);
        let text = format!(
            "step {}: rate {}, weight decay {}, λ {} in the log; {}, {}, {} by the configuration",
            point.step,
            said(point.lr),
            said(point.weight_decay),
            said(point.lambda),
            number(wanted.lr),
            number(wanted.weight_decay),
            number(wanted.lambda)
        );
        Some(Sign::warning(text).at(format!("step {}", point.step)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    fn ours(s: &mut Subject) {
        let own = train::RunConfig::resolve(Some("tiny"), None, &["train.steps=100".into()]).unwrap();
        s.recipe = Recipe::of_run(&own);
        let schedule = own.schedule().unwrap();
        s.series = (0..100).map(|step| schedule.at(step)).map(of_schedule).collect();
    }

    #[test]
    fn it_fires() {
        let found = fires(&ScheduleNotFollowed, |s| {
            ours(s);
            s.series[70].weight_decay = Some(0.07);
        });
        assert!(
            found.evidence.starts_with("step 70") && found.evidence.contains("0.07"),
            "{}",
            found.evidence
        );
    }

    #[test]
    fn it_is_silent() {
        silent(&ScheduleNotFollowed, ours);
    }
}
