//! The page for a terminal: a verdict and lines of blocks.

use crate::columns;
use crate::number::short;
use crate::run::RunData;
use crate::verdict;
use std::fmt::Write;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const WIDTH: usize = 60;
const NAME_WIDTH: usize = 16;
const SHOWN: [&str; 8] = [
    "loss",
    "validation_loss",
    "unique_tokens",
    "output_entropy",
    "grad_norm",
    "lr",
    "lambda",
    "tokens_per_s",
];

/// The verdict on each run and a sparkline of each quantity, with its first, lowest, highest and last value.
pub fn summary(runs: &[RunData]) -> String {
    let mut text = String::new();
    for run in runs {
        let _ = writeln!(text, "{}: {}", printable(&run.name), verdict::judge(run).text);
        for key in SHOWN {
            let values: Vec<f64> =
                columns::points(&run.steps, key).into_iter().map(|point| point.1).collect();
            let (Some(first), Some(last)) = (values.first(), values.last()) else { continue };
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (name, line) = (columns::column(key).title, sparkline(&values, WIDTH));
            let _ =
                write!(text, "  {name:<NAME_WIDTH$} {line:<WIDTH$}  {} → {}", short(*first), short(*last));
            let _ = match low < high {
                true => writeln!(text, "  ({} to {})", short(low), short(high)),
                false => writeln!(text),
            };
        }
        for finding in run.findings.iter().flatten() {
            let _ = writeln!(
                text,
                "  {} {} ({})",
                printable(&finding.code),
                printable(&finding.name),
                printable(&finding.severity)
            );
        }
        for note in &run.notes {
            let _ = writeln!(text, "  note: {}", printable(note));
        }
    }
    text
}

/// `values` as at most `width` blocks, each the mean of its stretch.
pub fn sparkline(values: &[f64], width: usize) -> String {
    let count = values.len().min(width);
    let stretch = |index: usize| index * values.len() / count.max(1);
    let mean = |index: usize| {
        let part = &values[stretch(index)..stretch(index + 1)];
        // From the first value on, so that equal values have exactly their mean.
        part[0] + part.iter().map(|value| (value - part[0]) / part.len() as f64).sum::<f64>()
    };
    let means: Vec<f64> = (0..count).map(mean).collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let block = |mean: &f64| {
        let place = (mean - low) / (high - low) * (BLOCKS.len() - 1) as f64;
        BLOCKS[if place.is_finite() { place.round() as usize } else { 0 }]
    };
    means.iter().map(block).collect()
}

/// Without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::metrics::Step;

    #[test]
    fn a_sparkline_rises_where_the_values_do() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0, 7.0], 60), "▁▂▃█");
        assert_eq!(sparkline(&[3.0, 3.0], 60), "▁▁");
        assert_eq!(sparkline(&[], 60), "");
        assert_eq!(sparkline(&[1.0; 1000], 60), "▁".repeat(60), "no rounding of means");
        assert_eq!(sparkline(&vec![1.0; 1000], 60).chars().count(), 60);
        assert_eq!(sparkline(&[f64::MAX, -f64::MAX], 60).chars().count(), 2);
    }

    #[test]
    fn a_summary_has_a_line_for_what_is_recorded_and_obeys_no_name() {
        let steps =
            (0..100).map(|step| Step { step, loss: 9.0 - step as f64 / 50.0, ..Step::default() }).collect();
        let text = summary(&[RunData { name: "a\u{1b}[31m".into(), steps, ..RunData::default() }]);
        assert!(text.contains("training loss") && text.contains("9 → 7.02"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains("unique tokens "), "{text}");
    }
}
