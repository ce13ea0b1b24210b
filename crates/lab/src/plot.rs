//! Plots of an experiment: a measure over the steps, a curve for each point.

use crate::experiment::Plot;
use crate::measure::Measured;
use crate::points::Point;
use journal::collapse::State;
use report::chart::{Chart, Mark, Series, Style};

/// How an SVG file of its own is drawn; on the report's page its style sheet says so.
const STYLE: &str = "<style>svg{background:#fff}text{font:13px system-ui,sans-serif;fill:#444}.ticks-y text{text-anchor:end}\
.ticks-x text{text-anchor:middle}.mark-label{text-anchor:end}.grid{stroke:#ddd}.border{fill:none;stroke:#bbb}.band{fill:#00000008}\
.mark{stroke:#666;stroke-dasharray:6 4;vector-effect:non-scaling-stroke}.series{fill:none;stroke-width:1.8}\
polyline,.dot{vector-effect:non-scaling-stroke}.dot{stroke-width:6;stroke-linecap:round}.c0{stroke:#2456c7}.c1{stroke:#b8480f}\
.c2{stroke:#17795a}.c3{stroke:#8a2f9b}.c4{stroke:#8a6a00}.c5{stroke:#0f7590}.c6{stroke:#b0245c}.c7{stroke:#57606a}\
.legend{font-size:11px}</style>";

/// The SVG of a plot, with a legend in it.
pub fn svg(plot: &Plot, measured: &[(Point, Option<Measured>)]) -> String {
    let runs = measured.iter().filter_map(|(point, measured)| Some((point, measured.as_ref()?)));
    let series: Vec<Series> =
        runs.enumerate().map(|(index, (point, run))| curve(plot, index, point, run)).collect();
    let legend: String = series
        .iter()
        .enumerate()
        .map(|(row, series)| {
            let (x, y) = (if row % 2 == 0 { 62 } else { 310 }, 296 + 15 * (row / 2));
            let colour = series.colour % report::chart::COLOURS;
            let name = series.name.replace('&', "&amp;").replace('<', "&lt;");
            format!("<path class=\"series c{colour}\" d=\"M{x} {}h16\"/><text class=\"legend\" x=\"{}\" y=\"{y}\">{name}</text>", y - 4, x + 22)
        })
        .collect();
    let height = 296 + 15 * series.len().div_ceil(2);
    let marks = match plot.measure.as_str() {
        "state" => State::ALL
            .iter()
            .enumerate()
            .map(|(rank, state)| Mark { value: rank as f64, label: state.name().into() })
            .collect(),
        "loss" | "validation_loss" => marks(measured),
        _ => Vec::new(),
    };
    let chart = Chart { title: plot.title.clone(), series, marks, ..Chart::default() };
    let drawn = chart.svg().into_string();
    let opened = drawn.replacen("viewBox=\"0 0 560 280\"", &format!("viewBox=\"0 0 560 {height}\""), 1);
    match opened.rsplit_once("</svg>") {
        Some((body, _)) => {
            let (head, rest) = body.split_once('>').unwrap_or((body, ""));
            format!("{head}>{STYLE}{rest}{legend}</svg>\n")
        }
        None => opened,
    }
}

fn curve(plot: &Plot, index: usize, point: &Point, run: &Measured) -> Series {
    let is_dense = matches!(plot.measure.as_str(), "loss" | "grad_norm" | "lr" | "weight_decay" | "lambda");
    Series {
        name: point.label.clone(),
        colour: index,
        style: if is_dense { Style::Line } else { Style::Dots },
        points: run.curve(&plot.measure),
        source: None,
    }
}

/// ln V and the unigram entropy of the first run that knows them.
fn marks(measured: &[(Point, Option<Measured>)]) -> Vec<Mark> {
    let known = measured.iter().find_map(|(_, measured)| measured.as_ref()?.run.marks());
    known.map_or(Vec::new(), |marks| {
        vec![
            Mark { value: marks.ln_vocabulary, label: "ln V".into() },
            Mark { value: marks.unigram_entropy, label: "unigram entropy".into() },
        ]
    })
}
