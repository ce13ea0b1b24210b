//! Codes flip as much at the end as at the switch.
//!
//! The flip rate is the share of ternary codes that changed since the record before. In the second stage it falls
//! steadily, to a tenth and less, as rate and weight decay go: the network settles. Where it does not fall, the last
//! checkpoint is as arbitrary as the one before it.
//!
//! Remedy: let the rate go down to the official floor, and weight decay to 0 (T101, T102).
//!
//! Source: "The Era of 1-bit LLMs: Training Tips, Code and FAQ", page 3, on confidence; runs here fall from 0.045 to
//! 0.004 within the stage.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct FlipRate;

impl Rule for FlipRate {
    fn code(&self) -> &'static str {
        "T308"
    }

    fn name(&self) -> &'static str {
        "flip-rate"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let switch = subject.switch()?;
        let records = subject.column(|point| point.flip_rate);
        // a share of each step, since records lie at unequal distances
        let mut rates: Vec<f64> = Vec::new();
        for pair in records.windows(2).filter(|pair| pair[0].0 >= switch && pair[1].0 > pair[0].0) {
            rates.push(pair[1].1 / (pair[1].0 - pair[0].0) as f64);
        }
        let quarter = rates.len() / 4;
        if quarter < 2 {
            return None;
        }
        let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len() as f64;
        let (first, last) = (mean(&rates[..quarter]), mean(&rates[rates.len() - quarter..]));
        let text = format!(
            "{} of all codes flip a step in the last quarter of stage 2, {} in its first",
            number(last),
            number(first)
        );
        (last > 0.8 * first && last > 1e-6).then(|| Sign::warning(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&FlipRate, |s| s.series.iter_mut().for_each(|p| p.flip_rate = p.flip_rate.map(|_| 0.05)));
    }

    #[test]
    fn it_is_silent() {
        silent(&FlipRate, |s| s.series.truncate(560));
    }
}
