//! What a person sees of a training run: a bar on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use journal::events::{Event, Kind};
use journal::metrics::Step;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};
use train::Observer;

/// Time between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(15);
/// Weight of the newest loss and speed in what is shown.
const SMOOTHING: f64 = 0.1;

/// Shows a run on stderr.
pub struct Watch {
    bar: ProgressBar,
    is_terminal: bool,
    last_line: Option<Instant>,
    loss: Option<f64>,
    speed: Option<f64>,
}

impl Watch {
    /// For a run of `total` steps of which `done` are done.
    pub fn new(done: u64, total: u64) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target).with_position(done);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  {elapsed} of {duration}");
        bar.set_style(style.expect("the template is well-formed"));
        bar.reset_eta();
        Self { bar, is_terminal, last_line: None, loss: None, speed: None }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// A line that leaves the bar whole.
    pub fn say(&self, line: &str) {
        if self.is_terminal { self.bar.suspend(|| tell(line)) } else { tell(line) }
    }
}

/// Writes a line to stderr; where nobody reads it, or its disk is full, the training that it tells of goes on.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn smooth(shown: &mut Option<f64>, new: f64) -> f64 {
    let value = shown.map_or(new, |old| old + SMOOTHING * (new - old));
    if value.is_finite() {
        *shown = Some(value);
    }
    value
}

impl Observer for Watch {
    fn step(&mut self, step: &Step, total: u64) {
        let loss = smooth(&mut self.loss, step.loss);
        let speed = smooth(&mut self.speed, step.tokens_per_s);
        let done = step.step + 1;
        self.bar.set_position(done);
        self.bar.set_message(format!("loss {loss:.3}  {speed:.0} tokens/s"));
        let record = &step.record;
        if let (Some(loss), Some(bits)) = (record.validation_loss, record.validation_bits_per_byte) {
            let phase = record.phase.as_deref().unwrap_or_default();
            self.say(&format!("step {done}: validation {loss:.4}, {bits:.4} bits per byte ({phase})"));
        }
        if !self.is_terminal && self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            let tokens = (total - done) as f64 * step.tokens as f64 / done as f64;
            let left = Duration::from_secs_f64((tokens / speed).clamp(0.0, 1e9));
            let left = indicatif::HumanDuration(left);
            tell(&format!("step {done}/{total}  loss {loss:.3}  {speed:.0} tokens/s  {left} left"));
        }
    }

    fn event(&mut self, event: &Event) {
        match event.kind {
            Kind::Guard | Kind::Phase | Kind::Resume => {
                self.say(&format!("step {}: {}", event.step, event.message));
            }
            Kind::Start | Kind::Checkpoint | Kind::Interrupt | Kind::Finish => {}
        }
    }
}
