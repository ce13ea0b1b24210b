//! The learning rate does not follow the official schedule.
//!
//! The published schedule is two lines towards 3e-5 with a drop by a third of the peak's share at half-way; it is this
//! drop, together with the end of weight decay, at which the loss of a ternary model falls. The rule computes it for
//! the run's own length, warm-up and peak and names the first step that differs by more than 2 % of the peak, and by
//! how much.
//!
//! A run whose configuration names another curve gets a note: that is a choice. A run that names none, or a two-stage
//! one, gets a warning.
//!
//! Remedy: use `schedule.kind = "microsoft"` with the peak of the model's size, or say in the configuration which
//! curve is meant.
//!
//! Source: "The Era of 1-bit LLMs: Training Tips, Code and FAQ", Table 2 and Figure 1c (decoded).

use crate::finding::{number, percent};
use crate::rules::Rule;
use crate::{Sign, Subject};
use train::schedule::Schedule;

/// See the module.
pub struct ScheduleDiffers;

impl Rule for ScheduleDiffers {
    fn code(&self) -> &'static str {
        "T102"
    }

    fn name(&self) -> &'static str {
        "schedule-differs"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        if !subject.is_ternary() {
            return None;
        }
        let official = subject.recipe.official()?;
        let own = subject.recipe.own.as_ref().and_then(|own| own.schedule().ok());
        let mut rates = subject.column(|point| point.lr);
        if rates.is_empty() {
            rates = sampled(&own?);
        }
        let peak = subject.recipe.peak?;
        let differs = |(step, rate): &(u64, f64)| {
            // trainers number a step before or after it is done
            let near = (step.saturating_sub(1)..=step + 1).map(|step| (official.at(step).lr - rate).abs());
            near.fold(f64::INFINITY, f64::min) > 0.02 * peak
        };
        let count = rates.iter().filter(|point| differs(point)).count();
        let (step, rate) = *rates.iter().find(|point| differs(point))?;
        if count * 50 < rates.len() {
            return None;
        }
        let wanted = official.at(step).lr;
        let times = if wanted > 0.0 { format!(" ({} times)", number(rate / wanted)) } else { String::new() };
        let text = format!(
            "from step {step} on: {} where the official schedule for this length and peak has {}{times}; it differs at {} of the steps",
            number(rate),
            number(wanted),
            percent(count as f64 / rates.len() as f64)
        );
        let sign = if subject.recipe.names_another_curve() { Sign::note(text) } else { Sign::warning(text) };
        Some(sign.at(format!("step {step}")))
    }
}

/// At most 2000 points of a curve.
fn sampled(curve: &Schedule) -> Vec<(u64, f64)> {
    let total = curve.total_steps();
    let every = total.div_ceil(2000).max(1) as usize;
    (0..total).step_by(every).map(|step| (step, curve.at(step).lr)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        // the collapse study's curve has no drop at half-way
        let found = fires(&ScheduleDiffers, |s| {
            for point in &mut s.series {
                let t = point.step as f64;
                let rate = if t < 500.0 {
                    1.5e-3 - 0.5e-3 * (t - 50.0).max(0.0) / 450.0
                } else {
                    1e-3 * (1000.0 - t) / 500.0
                };
                point.lr = Some(if t < 50.0 { 1.5e-3 * t / 50.0 } else { rate });
            }
        });
        assert_eq!(found.severity, Severity::Warning);
        assert!(found.evidence.contains(" times)"), "{}", found.evidence);
        let cosine = fires(&ScheduleDiffers, |s| {
            s.recipe.schedule = Some("cosine".into());
            s.series.iter_mut().for_each(|point| point.lr = Some(3e-4));
        });
        assert_eq!(cosine.severity, Severity::Note);
        assert!(cosine.evidence.contains("has 0; it differs"), "{}", cosine.evidence);
    }

    #[test]
    fn it_is_silent() {
        silent(&ScheduleDiffers, |s| s.series.iter_mut().for_each(|point| point.step += 1));
        silent(&ScheduleDiffers, |s| s.recipe.steps = None);
    }
}
