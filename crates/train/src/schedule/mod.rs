//! Learning rate, weight decay and λ of every step: one file per kind of learning-rate curve.
//!
//! Step `t` counts from 0: `at(t)` is what the update from `t` to `t + 1` uses. A curve ends at
//! `t = total_steps`; later steps keep its last value.

mod constant;
mod cosine;
mod lambda;
mod linear;
mod microsoft;
mod two_stage;
mod wsd;

#[cfg(test)]
mod tests;

pub use lambda::{LambdaConfig, LambdaKind, Order};

use lambda::Lambda;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Debug};

/// The kinds of learning-rate curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Microsoft's two-stage recipe: two lines towards a floor, with a drop at half-way
    #[default]
    Microsoft,
    /// two lines that meet at half-way at ⅔ of the peak
    TwoStage,
    /// warm-up, then half a cosine to a tenth of the peak
    Cosine,
    /// warm-up, then the peak for ever
    Constant,
    /// warm-up, then a line to 0
    Linear,
    /// warm-up, stable, decay: a line to 0 over the last fifth
    Wsd,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Microsoft, Self::TwoStage, Self::Cosine, Self::Constant, Self::Linear, Self::Wsd];

    /// The name as it is written in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Microsoft => "microsoft",
            Self::TwoStage => "two-stage",
            Self::Cosine => "cosine",
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::Wsd => "wsd",
        }
    }

    fn is_two_stage(self) -> bool {
        matches!(self, Self::Microsoft | Self::TwoStage)
    }

    /// The first step of the second half: `t < T/2` is real division in Microsoft's formula and
    /// `⌊T/2⌋` in the continuous one, which differ by a step where T is odd.
    fn half(self, total: u64) -> u64 {
        match self {
            Self::TwoStage => total / 2,
            _ => total.div_ceil(2),
        }
    }
}

/// The `[schedule]` table. What is left out takes the kind's own value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// shape of the learning-rate curve; microsoft where left out
    pub kind: Kind,
    /// highest learning rate; microsoft 1.5e-3 (700M), two-stage 5e-4 (the study), others 3e-4 (125M)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<f64>,
    /// microsoft only: the rate that stage 2 aims from; ⅔ of the peak, as for every size of the recipe
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak2: Option<f64>,
    /// steps of linear warm-up; 375 for the two-stage kinds (a tenth of the steps where stage 1 cannot
    /// hold 375), 0 for the others
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<u64>,
    /// last learning rate; microsoft 3e-5, two-stage a thousandth of the peak, cosine a tenth, others 0
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// wsd only: share of the steps that the final decay takes; 0.2
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<f64>,
    /// weight decay from half-way on, or once λ has grown to 1; 0 for the two-stage kinds and a growing λ, unchanged for the others
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay2: Option<f64>,
}

/// A schedule that contradicts itself; the sentence says which key and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct ScheduleError {
    /// the key with its table, for example `schedule.warmup`
    pub key: &'static str,
    /// what is wrong and what would be right
    pub reason: String,
}

fn error(key: &'static str, reason: String) -> ScheduleError {
    ScheduleError { key, reason }
}

/// Where in its schedule a step lies; every figure of a run is labelled with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// the learning rate rises to its peak
    Warmup,
    /// first half of a two-stage kind
    Stage1,
    /// second half of a two-stage kind
    Stage2,
    /// the learning rate stays at its peak
    Stable,
    /// the learning rate falls to its floor
    Decay,
}

impl Phase {
    /// The label in records and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warmup => "warmup",
            Self::Stage1 => "stage-1",
            Self::Stage2 => "stage-2",
            Self::Stable => "stable",
            Self::Decay => "decay",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a step trains with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// t, counted from 0
    pub step: u64,
    /// learning rate
    pub lr: f64,
    /// weight decay
    pub weight_decay: f64,
    /// share of quantisation: 0 full precision, 1 BitLinear
    pub lambda: f64,
}

/// One kind's curve with all its numbers known. Steps are at most the total.
trait Curve: Debug + Send + Sync {
    fn rate(&self, step: u64) -> f64;
    fn phase(&self, step: u64) -> Phase;
    /// First steps of the phases after the warm-up's and the first.
    fn switches(&self) -> Vec<u64>;
}

/// The numbers of a `[schedule]` table with the kind's own values filled in.
#[derive(Clone, Copy, Debug)]
struct Shape {
    peak: f64,
    peak2: f64,
    warmup: u64,
    floor: f64,
    decay: f64,
    half: u64,
    total: u64,
}

impl Shape {
    /// Rate of a warm-up step: `peak · t / W`.
    fn warming(&self, step: u64) -> Option<f64> {
        (step < self.warmup).then(|| self.peak * step as f64 / self.warmup as f64)
    }

    /// Share of the way from the end of the warm-up that is still ahead: `(T − t)/(T − W)`.
    fn ahead(&self, step: u64) -> f64 {
        (self.total - step) as f64 / (self.total - self.warmup) as f64
    }

    fn fill(config: &ScheduleConfig, total: u64) -> Self {
        let kind = config.kind;
        let half = kind.half(total);
        let peak = config.peak.unwrap_or(match kind {
            Kind::Microsoft => microsoft::PEAK,
            Kind::TwoStage => two_stage::PEAK,
            _ => cosine::PEAK,
        });
        let warmup = match kind.is_two_stage() {
            true if microsoft::WARMUP < half => microsoft::WARMUP,
            true => total / 10,
            false => 0,
        };
        let floor = match kind {
            Kind::Microsoft => microsoft::FLOOR,
            Kind::TwoStage => two_stage::FLOOR_SHARE * peak,
            Kind::Cosine => cosine::FLOOR_SHARE * peak,
            Kind::Constant | Kind::Linear | Kind::Wsd => 0.0,
        };
        Self {
            peak,
            peak2: config.peak2.unwrap_or(peak * 2.0 / 3.0),
            warmup: config.warmup.unwrap_or(warmup),
            floor: config.floor.unwrap_or(floor),
            decay: config.decay.unwrap_or(wsd::DECAY),
            half,
            total,
        }
    }

    fn check(&self, kind: Kind) -> Result<(), ScheduleError> {
        let Self { peak, floor, .. } = *self;
        if peak <= 0.0 {
            let reason = format!("{peak} is not above 0, so nothing would be learned");
            return Err(error("schedule.peak", reason));
        }
        let lowest_peak = match kind {
            Kind::Microsoft => peak.min(self.peak2),
            _ => peak,
        };
        if floor > lowest_peak {
            let reason =
                format!("the last rate {floor} is above the peak {lowest_peak}; set schedule.floor below it");
            return Err(error("schedule.floor", reason));
        }
        self.check_warmup(kind)
    }

    fn check_warmup(&self, kind: Kind) -> Result<(), ScheduleError> {
        let Self { warmup, total, .. } = *self;
        if warmup >= total {
            let reason = format!(
                "a warm-up of {warmup} steps is not shorter than the run's {total}; set it below {total} or train longer"
            );
            return Err(error("schedule.warmup", reason));
        }
        if kind.is_two_stage() && warmup > 0 && warmup >= self.half {
            let reason = format!(
                "a warm-up of {warmup} steps leaves no stage 1, which ends at step {}; set it below that",
                self.half
            );
            return Err(error("schedule.warmup", reason));
        }
        Ok(())
    }
}

/// Refuses keys that the kind does not have and numbers that are none.
fn check_keys(config: &ScheduleConfig) -> Result<(), ScheduleError> {
    let kind = config.kind;
    let numbers = [
        ("schedule.peak", config.peak, true),
        ("schedule.peak2", config.peak2, kind == Kind::Microsoft),
        ("schedule.floor", config.floor, kind != Kind::Constant),
        ("schedule.decay", config.decay, kind == Kind::Wsd),
        ("schedule.weight_decay2", config.weight_decay2, true),
    ];
    for (key, value, belongs) in numbers {
        let Some(value) = value else { continue };
        if !belongs {
            let reason = format!("the kind {} has none; leave it out", kind.name());
            return Err(error(key, reason));
        }
        check_number(key, value)?;
    }
    Ok(())
}

fn check_number(key: &'static str, value: f64) -> Result<(), ScheduleError> {
    match value.is_finite() && value >= 0.0 {
        true => Ok(()),
        false => Err(error(key, format!("{value} is not a number ≥ 0"))),
    }
}

/// Learning rate, weight decay and λ over the steps of one run.
#[derive(Debug)]
pub struct Schedule {
    curve: Box<dyn Curve>,
    lambda: Lambda,
    weight_decay: [f64; 2],
    half: u64,
    /// first step with the second weight decay
    relief: u64,
    total: u64,
}

impl Schedule {
    /// Fills in what the tables leave out and refuses what contradicts itself. `weight_decay` is
    /// `train.weight_decay`, `total_steps` is `train.steps`.
    pub fn new(
        config: &ScheduleConfig,
        lambda: &LambdaConfig,
        weight_decay: f64,
        total_steps: u64,
    ) -> Result<Self, ScheduleError> {
        if total_steps == 0 {
            let reason = "0 steps train nothing; set at least 1".into();
            return Err(error("train.steps", reason));
        }
        check_number("train.weight_decay", weight_decay)?;
        check_keys(config)?;
        let shape = Shape::fill(config, total_steps);
        shape.check(config.kind)?;
        let curve: Box<dyn Curve> = match config.kind {
            Kind::Microsoft => Box::new(microsoft::Microsoft(shape)),
            Kind::TwoStage => Box::new(two_stage::TwoStage(shape)),
            Kind::Cosine => Box::new(cosine::Cosine(shape)),
            Kind::Constant => Box::new(constant::Constant(shape)),
            Kind::Linear => Box::new(linear::Linear(shape)),
            Kind::Wsd => Box::new(wsd::Wsd::new(shape)?),
        };
        let lambda = Lambda::new(lambda, total_steps)?;
        let arrival = lambda.arrival().filter(|_| !config.kind.is_two_stage());
        let second = match config.kind.is_two_stage() || arrival.is_some() {
            true => 0.0,
            false => weight_decay,
        };
        Ok(Self {
            curve,
            lambda,
            weight_decay: [weight_decay, config.weight_decay2.unwrap_or(second)],
            half: shape.half,
            relief: arrival.unwrap_or(shape.half),
            total: total_steps,
        })
    }

    /// What step `step` trains with.
    pub fn at(&self, step: u64) -> Point {
        let within = step.min(self.total);
        Point {
            step,
            lr: self.curve.rate(within),
            weight_decay: self.weight_decay[usize::from(within >= self.relief)],
            lambda: self.lambda.at(within),
        }
    }

    /// The phase that `step` belongs to.
    pub fn phase(&self, step: u64) -> Phase {
        self.curve.phase(step.min(self.total))
    }

    /// Steps at 0, 25, 50, 75 and 100 %, where a stage begins and where λ has grown to 1, in order, each once. The 50 % is
    /// the step at which the two-stage kinds switch.
    pub fn boundaries(&self) -> Vec<u64> {
        let three_quarters = self.total - self.total / 4;
        let mut steps = vec![0, self.total / 4, self.half, three_quarters, self.total];
        steps.extend(self.curve.switches());
        steps.extend(self.lambda.arrival());
        steps.sort_unstable();
        steps.dedup();
        steps
    }

    /// Those of a run that ends after `last` steps, which is the last of them.
    pub fn boundaries_until(&self, last: u64) -> Vec<u64> {
        let mut steps = self.boundaries();
        steps.retain(|step| *step < last);
        steps.push(last);
        steps
    }

    /// T, the steps of the run.
    pub fn total_steps(&self) -> u64 {
        self.total
    }
}
