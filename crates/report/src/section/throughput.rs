//! Tokens per second, and the memory of the process.

use super::{Section, chart_of};
use crate::chart::{Chart, Style};
use crate::run::RunData;
use maud::{Markup, html};

/// See the module.
pub struct Throughput;

impl Section for Throughput {
    fn id(&self) -> &'static str {
        "throughput"
    }

    fn title(&self) -> &'static str {
        "Throughput and memory"
    }

    fn draw(&self, runs: &[RunData]) -> Markup {
        let speed = chart_of(runs, "tokens_per_s", "Speed", Style::Line);
        let memory = chart_of(runs, "memory_bytes", "Resident memory", Style::Dots);
        html! {
            div.charts {
                (Chart { unit: "tokens/s", ..speed }.draw())
                (Chart { unit: "bytes", ..memory }.draw())
            }
        }
    }
}
