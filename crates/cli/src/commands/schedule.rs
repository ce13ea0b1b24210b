//! `trilobit schedule`: learning rate, weight decay and λ of any step, as a table, a plot, JSON or SVG.

use anyhow::{Context, Result, anyhow, bail};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use train::config::{RunConfig, TrainConfig};
use train::schedule::{Kind, LambdaConfig, LambdaKind, Point, Schedule, ScheduleConfig};

/// Columns of a plot in the terminal.
const COLUMNS: usize = 72;
/// Rows of each of its panels.
const ROWS: usize = 6;
/// Points of each line in an SVG.
const SVG_POINTS: u64 = 1000;

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    /// Curve of the learning rate [default: the preset's, or microsoft]
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    /// Steps of the whole run
    #[arg(long, required_unless_present = "preset")]
    steps: Option<u64>,
    /// Highest learning rate [default: the kind's own]
    #[arg(long)]
    peak: Option<f64>,
    /// Peak that microsoft's second stage aims from [default: 2/3 of the peak]
    #[arg(long)]
    peak2: Option<f64>,
    /// Steps of linear warm-up [default: the kind's own]
    #[arg(long)]
    warmup: Option<u64>,
    /// Last learning rate [default: the kind's own]
    #[arg(long)]
    floor: Option<f64>,
    /// Share of the steps that the decay of wsd takes [default: 0.2]
    #[arg(long)]
    decay: Option<f64>,
    /// Weight decay [default: the preset's, or 0.1]
    #[arg(long, value_name = "DECAY")]
    weight_decay: Option<f64>,
    /// Weight decay from half-way on [default: 0 for the two-stage kinds, else unchanged]
    #[arg(long, value_name = "DECAY")]
    weight_decay2: Option<f64>,
    /// Growth of lambda [default: the preset's, or one]
    #[arg(long, value_name = "KIND", value_parser = lambda_kind)]
    lambda: Option<LambdaKind>,
    /// Steepness of lambda (exponential, sigmoid)
    #[arg(long, value_name = "K")]
    lambda_k: Option<f64>,
    /// Step at which lambda reaches 1 (fixed-n)
    #[arg(long, value_name = "N")]
    lambda_n: Option<u64>,
    /// Start from a preset's schedule
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Steps to print [default: the quarters of the run and the switches of stage]
    #[arg(long, value_delimiter = ',', value_name = "STEP,…")]
    at: Vec<u64>,
    /// Print one JSON object
    #[arg(long, conflicts_with = "plot")]
    json: bool,
    /// Draw the whole run in the terminal
    #[arg(long)]
    plot: bool,
    /// Draw the whole run into a file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn kind(text: &str) -> Result<Kind> {
    let named = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    named.ok_or_else(|| anyhow!("the kinds are {}", Kind::ALL.map(Kind::name).join(", ")))
}

fn lambda_kind(text: &str) -> Result<LambdaKind> {
    let named = LambdaKind::ALL.into_iter().find(|kind| kind.name() == text);
    named.ok_or_else(|| anyhow!("the kinds are {}", LambdaKind::ALL.map(LambdaKind::name).join(", ")))
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let schedule = resolve(&args)?;
    let points = points(&args, &schedule)?;
    let mut out = String::new();
    if args.json {
        writeln!(out, "{}", serde_json::json!({ "points": points }))?;
    } else {
        write_table(&mut out, &schedule, &points)?;
    }
    if args.plot {
        write_plot(&mut out, &schedule)?;
    }
    if let Some(path) = &args.svg {
        formats::atomic::write_bytes(path, svg(&schedule)?.as_bytes())?;
        eprintln!("written: {}", path.display());
    }
    std::io::stdout().write_all(out.as_bytes()).context("cannot write to the standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// The preset's schedule, or the kind's own, with everything that was typed over it.
fn resolve(args: &Args) -> Result<Schedule> {
    let (train, mut schedule, mut lambda) = match &args.preset {
        Some(name) => {
            let config = RunConfig::resolve(Some(name), None, &[])?;
            (config.train, config.schedule, config.lambda)
        }
        None => Default::default(),
    };
    if let Some(kind) = args.kind
        && kind != schedule.kind
    {
        schedule = ScheduleConfig { kind, ..Default::default() };
    }
    if let Some(kind) = args.lambda
        && kind != lambda.kind
    {
        lambda = LambdaConfig { kind, ..Default::default() };
    }
    let schedule = ScheduleConfig {
        kind: schedule.kind,
        peak: args.peak.or(schedule.peak),
        peak2: args.peak2.or(schedule.peak2),
        warmup: args.warmup.or(schedule.warmup),
        floor: args.floor.or(schedule.floor),
        decay: args.decay.or(schedule.decay),
        weight_decay2: args.weight_decay2.or(schedule.weight_decay2),
    };
    let lambda = LambdaConfig {
        kind: lambda.kind,
        k: args.lambda_k.or(lambda.k),
        n: args.lambda_n.or(lambda.n),
        order: lambda.order,
    };
    let TrainConfig { steps, weight_decay, .. } = train;
    let (steps, weight_decay) = (args.steps.unwrap_or(steps), args.weight_decay.unwrap_or(weight_decay));
    Ok(Schedule::new(&schedule, &lambda, weight_decay, steps)?)
}

fn points(args: &Args, schedule: &Schedule) -> Result<Vec<Point>> {
    let total = schedule.total_steps();
    if let Some(step) = args.at.iter().find(|step| **step > total) {
        bail!("--at {step}: the run ends at step {total}; give steps within 0..={total}");
    }
    let steps = match args.at.is_empty() {
        true => schedule.boundaries(),
        false => args.at.clone(),
    };
    Ok(steps.into_iter().map(|step| schedule.at(step)).collect())
}

fn write_table(out: &mut String, schedule: &Schedule, points: &[Point]) -> Result<()> {
    writeln!(out, "{:>12}  {:<8}  {:>12}  {:>12}  {:>8}", "step", "phase", "lr", "weight decay", "lambda")?;
    for Point { step, lr, weight_decay, lambda } in points {
        let phase = schedule.phase(*step).name();
        writeln!(out, "{step:>12}  {phase:<8}  {lr:>12.4e}  {weight_decay:>12}  {lambda:>8.5}")?;
    }
    Ok(())
}

/// Title, unit-free value of a point, and how a value is labelled.
type Panel = (&'static str, fn(&Point) -> f64, fn(f64) -> String);

const PANELS: [Panel; 3] = [
    ("learning rate", |point| point.lr, |value| format!("{value:.2e}")),
    ("weight decay", |point| point.weight_decay, |value| format!("{value:.3}")),
    ("lambda", |point| point.lambda, |value| format!("{value:.3}")),
];

/// `count` points from step 0 to the last, both included.
fn sample(schedule: &Schedule, count: u64) -> Vec<Point> {
    let last = (count - 1).max(1);
    let step =
        |index: u64| (u128::from(schedule.total_steps()) * u128::from(index) / u128::from(last)) as u64;
    (0..count).map(|index| schedule.at(step(index))).collect()
}

fn largest(points: &[Point], value: fn(&Point) -> f64) -> f64 {
    points.iter().map(value).fold(0.0, f64::max)
}

/// Three panels of bars; every bar is a step's value in eighths of a row.
fn write_plot(out: &mut String, schedule: &Schedule) -> Result<()> {
    const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let points = sample(schedule, COLUMNS as u64);
    for (title, value, label) in PANELS {
        let top = largest(&points, value);
        writeln!(out, "\n{:>10}  {title}", "")?;
        for row in (0..ROWS).rev() {
            let mark = if row + 1 == ROWS { label(top) } else { String::new() };
            let bars: String = points
                .iter()
                .map(|point| {
                    let share = if top > 0.0 { value(point) / top } else { 0.0 };
                    let filled = (share * (ROWS * 8) as f64).round() as usize;
                    EIGHTHS[filled.saturating_sub(row * 8).min(8)]
                })
                .collect();
            writeln!(out, "{mark:>10} ┤{}", bars.trim_end())?;
        }
        writeln!(out, "{:>10} └{}", "0", "─".repeat(COLUMNS))?;
    }
    let total = schedule.total_steps();
    let half = COLUMNS / 2;
    writeln!(
        out,
        "{:>12}{:<half$}{:>half$}",
        "",
        format!("0{:>width$}", total / 2, width = half - 1),
        total
    )?;
    Ok(())
}

/// Three panels of lines, one above the other.
fn svg(schedule: &Schedule) -> Result<String> {
    const WIDTH: f64 = 800.0;
    const HEIGHT: f64 = 160.0;
    const LEFT: f64 = 90.0;
    const GAP: f64 = 50.0;
    let points = sample(schedule, SVG_POINTS);
    let total = schedule.total_steps();
    let (width, height) = (LEFT + WIDTH + 20.0, 3.0 * (HEIGHT + GAP) + 20.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, (title, value, label)) in PANELS.into_iter().enumerate() {
        let bottom = (index + 1) as f64 * (HEIGHT + GAP) - 10.0;
        let (top, largest) = (bottom - HEIGHT, largest(&points, value));
        let scale = if largest > 0.0 { HEIGHT / largest } else { 0.0 };
        let line = points.iter().map(|point| {
            let x = LEFT + WIDTH * point.step as f64 / total as f64;
            format!("{x:.2},{:.2}", bottom - scale * value(point))
        });
        let line = line.collect::<Vec<_>>().join(" ");
        writeln!(out, "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{title}</text>", top - 8.0)?;
        writeln!(out, "<path d=\"M{LEFT},{top}V{bottom}H{}\" fill=\"none\" stroke=\"#888\"/>", LEFT + WIDTH)?;
        let labels = [(LEFT - 8.0, top + 5.0, label(largest)), (LEFT - 8.0, bottom + 5.0, "0".into())];
        for (x, y, text) in labels {
            writeln!(out, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{text}</text>")?;
        }
        writeln!(out, "<polyline points=\"{line}\" fill=\"none\" stroke=\"#1663a6\" stroke-width=\"2\"/>")?;
    }
    let y = height - 12.0;
    for (share, anchor) in [(0.0, "start"), (0.5, "middle"), (1.0, "end")] {
        let step = (total as f64 * share) as u64;
        writeln!(
            out,
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"{anchor}\">{step}</text>",
            LEFT + WIDTH * share
        )?;
    }
    out.push_str("</svg>\n");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args> {
        Ok(Line::try_parse_from(std::iter::once("schedule").chain(line.split_whitespace()))?.args)
    }

    fn rates(line: &str) -> Result<Vec<Point>> {
        let args = parse(line)?;
        points(&args, &resolve(&args)?)
    }

    #[test]
    fn the_contract_gives_the_published_figures() {
        let line =
            "--kind microsoft --steps 100000 --peak 1.5e-3 --peak2 1e-3 --warmup 375 --at 49999,50000 --json";
        let points = rates(line).unwrap();
        let json = serde_json::json!({ "points": points }).to_string();
        assert!(json.starts_with("{\"points\":[{\"step\":49999,\"lr\":0.00076778"), "{json}");
        assert!((points[1].lr - 5.1683e-4).abs() < 5e-9);
        assert_eq!([points[0].weight_decay, points[1].weight_decay], [0.1, 0.0]);
        assert_eq!(points[0].lambda, 1.0);
    }

    #[test]
    fn a_preset_is_the_base_of_what_is_typed() {
        let points = rates("--preset 700m --at 50000").unwrap();
        assert!((points[0].lr - 5.1683e-4).abs() < 5e-9);
        let points =
            rates("--preset 350m --kind constant --at 0 --lambda sigmoid --lambda-k 15 --weight-decay 0.2")
                .unwrap();
        assert_eq!((points[0].lr, points[0].weight_decay), (3e-4, 0.2));
        assert!(points[0].lambda < 1e-3);
        let steps: Vec<u64> = rates("--preset study256").unwrap().iter().map(|point| point.step).collect();
        assert_eq!(steps, [0, 2500, 5000, 7500, 10_000]);
    }

    #[test]
    fn contradictions_are_sentences() {
        let cases = [
            ("--kind cosine --steps 100 --peak 1e-3 --peak2 1e-4", "schedule.peak2"),
            ("--kind cosine --steps 100 --peak 1e-3 --warmup 100", "schedule.warmup"),
            ("--kind cosine --steps 100 --peak=-1e-3", "schedule.peak"),
            ("--kind cosine --steps 0 --peak 1e-3", "train.steps"),
            ("--kind cosine --steps 100 --at 101", "ends at step 100"),
            ("--kind cosin --steps 100", "the kinds are microsoft"),
            ("--preset tinny", "did you mean 'tiny'"),
            ("--kind linear", "--steps"),
        ];
        for (line, part) in cases {
            let sentence = format!("{:#}", rates(line).unwrap_err());
            assert!(sentence.contains(part), "{line}: {sentence}");
        }
    }

    #[test]
    fn plots_hold_three_panels_of_any_run() {
        for line in [
            "--preset 700m",
            "--kind wsd --steps 1 --weight-decay 0",
            "--kind linear --steps 18446744073709551615",
        ] {
            let schedule = resolve(&parse(line).unwrap()).unwrap();
            let mut plot = String::new();
            write_plot(&mut plot, &schedule).unwrap();
            assert_eq!(plot.matches('└').count(), 3, "{plot}");
            assert!(!svg(&schedule).unwrap().contains("NaN"));
        }
    }
}
