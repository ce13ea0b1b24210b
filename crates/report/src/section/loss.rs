//! Training and validation loss over the steps, with phases, ln V and the unigram entropy.

use super::{Section, bands, label};
use crate::chart::{Chart, Mark, Series, Style, smooth};
use crate::columns;
use crate::run::RunData;
use journal::collapse::LOSS_WINDOW;
use maud::{Markup, html};

/// See the module.
pub struct Loss;

impl Section for Loss {
    fn id(&self) -> &'static str {
        "loss"
    }

    fn title(&self) -> &'static str {
        "Loss"
    }

    fn draw(&self, runs: &[RunData]) -> Markup {
        let chart = Chart {
            id: "chart-loss".into(),
            title: "Training and validation loss".into(),
            unit: "nats a token",
            series: all_series(runs),
            marks: marks(runs),
            bands: bands(runs),
            ..Chart::default()
        };
        let bits = Chart {
            id: "chart-bits-per-byte".into(),
            title: "Bits per byte of text".into(),
            series: runs.iter().enumerate().map(|(index, run)| bits(runs, index, run)).collect(),
            bands: bands(runs),
            ..Chart::default()
        };
        html! {
            div.charts { (chart.draw()) (bits.draw()) }
            (changes(runs))
        }
    }
}

const VALIDATIONS: [(&str, &str); 2] =
    [("validation_loss", "validation"), ("ternary_validation_loss", "validation at λ = 1")];

/// Of each run the losses, pale where there are enough of them for a mean, their mean, and the validation.
fn all_series(runs: &[RunData]) -> Vec<Series> {
    let mut all = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let raw = columns::points(&run.steps, "loss");
        let window = (raw.len() / 20).clamp(1, LOSS_WINDOW);
        let colour = if runs.len() == 1 { 0 } else { index };
        let series = |name: &str, style, points, source| Series {
            name: label(runs, run, name),
            colour,
            style,
            points,
            source,
        };
        let mean = smooth(&raw, window);
        all.push(series("training", Style::Faint, raw, Some((index, "loss"))));
        all.push(series(&format!("training, mean of {window}"), Style::Line, mean, None));
        for (place, (key, name)) in VALIDATIONS.into_iter().enumerate() {
            let points = columns::points(&run.steps, key);
            if !points.is_empty() {
                let dots = series(name, Style::Dots, points, Some((index, key)));
                all.push(Series { colour: if runs.len() == 1 { 1 + place } else { index }, ..dots });
            }
        }
    }
    all
}

fn bits(runs: &[RunData], index: usize, run: &RunData) -> Series {
    Series {
        name: label(runs, run, "validation"),
        colour: index,
        style: Style::Dots,
        points: columns::points(&run.steps, "validation_bits_per_byte"),
        source: Some((index, "validation_bits_per_byte")),
    }
}

/// ln V and the unigram entropy, each once where the runs agree.
fn marks(runs: &[RunData]) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    for run in runs {
        let fact =
            |name: &str| run.facts.get(name).and_then(|value| value.as_f64()).filter(|v| v.is_finite());
        let known =
            [("ln V: uniform output", fact("ln_vocabulary")), ("unigram entropy", fact("unigram_entropy"))];
        for (text, value) in known {
            let Some(value) = value else { continue };
            if !marks.iter().any(|mark| mark.value == value) {
                marks.push(Mark { value, label: text.into() });
            }
        }
    }
    marks
}

/// What the loss did where a phase begins.
fn changes(runs: &[RunData]) -> Markup {
    let rows: Vec<_> =
        runs.iter().flat_map(|run| run.phases().into_iter().skip(1).map(move |p| (run, p))).collect();
    let mean = |run: &RunData, from: u64, to: u64| {
        let losses = run.steps.iter().filter(|step| (from..to).contains(&step.step)).map(|step| step.loss);
        let (sum, count) = losses.filter(|l| l.is_finite()).fold((0.0, 0u32), |(s, n), l| (s + l, n + 1));
        (count > 0).then(|| sum / f64::from(count))
    };
    let window = LOSS_WINDOW as u64;
    html! {
        @if !rows.is_empty() {
            div.wide { table {
                caption { "Mean training loss of the " (window) " steps before and after a phase begins" }
                thead { tr {
                    th scope="col" { "run" } th scope="col" { "phase" } th scope="col" { "from step" }
                    th scope="col" { "before" } th scope="col" { "after" } th scope="col" { "change" }
                } }
                tbody { @for (run, phase) in rows {
                    @let before = mean(run, phase.from.saturating_sub(window), phase.from);
                    @let after = mean(run, phase.from, phase.from.saturating_add(window));
                    tr {
                        th scope="row" { (run.name) }
                        td { (phase.name) } td { (phase.from) }
                        td { (crate::number::short(before.unwrap_or(f64::NAN))) }
                        td { (crate::number::short(after.unwrap_or(f64::NAN))) }
                        td { (crate::number::percent(before.zip(after).map_or(f64::NAN, |(b, a)| a / b - 1.0))) }
                    }
                } }
            } }
        }
    }
}
