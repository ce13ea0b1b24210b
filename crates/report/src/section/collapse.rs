//! The signs of a collapse: unique tokens, entropy of the output, repetition, and the state they speak of at every record.

use super::{Section, bands, chart_of};
use crate::chart::{Chart, Mark, Series, Style};
use crate::run::RunData;
use journal::collapse::{self, State};
use maud::{Markup, html};

/// See the module.
pub struct Collapse;

impl Section for Collapse {
    fn id(&self) -> &'static str {
        "collapse"
    }

    fn title(&self) -> &'static str {
        "Unique tokens, output entropy and state"
    }

    fn draw(&self, runs: &[RunData]) -> Markup {
        let unique =
            chart_of(runs, "unique_tokens", "Distinct answers to 20 prompts of random tokens", Style::Dots);
        let mut entropy = chart_of(runs, "output_entropy", "Entropy of the answers", Style::Dots);
        entropy.unit = "nats";
        if let Some(marks) = runs.first().and_then(RunData::marks) {
            entropy.marks = vec![
                Mark { value: marks.ln_vocabulary, label: "ln V".into() },
                Mark { value: marks.unigram_entropy, label: "unigram entropy".into() },
            ];
        }
        let repetition = chart_of(runs, "repetition", "Share of the commonest answer", Style::Dots);
        let states = Chart {
            id: "chart-state".into(),
            title: "State".into(),
            marks: State::ALL
                .iter()
                .enumerate()
                .map(|(rank, state)| Mark { value: rank as f64, label: state.name().into() })
                .collect(),
            series: runs.iter().enumerate().map(|(index, run)| states(index, run)).collect(),
            bands: bands(runs),
            ..Chart::default()
        };
        html! {
            div.charts { (unique.draw()) (entropy.draw()) (repetition.draw()) (states.draw()) }
            p.note {
                "Uniform: every token about equally likely. Unigram: frequencies are known, context makes no difference. \
                 Degenerate: the same few answers to everything. Healthy: context changes the answer and lowers the loss."
            }
        }
    }
}

fn states(index: usize, run: &RunData) -> Series {
    let state = |line: usize| {
        let state = run.marks()?.state(collapse::seen(&run.steps, line)?)?;
        let rank = State::ALL.iter().position(|known| *known == state)?;
        Some((run.steps[line].step as f64, rank as f64))
    };
    Series {
        name: run.name.clone(),
        colour: index,
        style: Style::Dots,
        points: (0..run.steps.len()).filter_map(state).collect(),
        source: None,
    }
}
