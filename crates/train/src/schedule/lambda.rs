//! λ, the share of quantisation: 0 is exactly full precision, 1 exactly BitLinear. x = t / T.

use super::{ScheduleError, check_number, error};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How λ grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LambdaKind {
    /// 1 from the first step on: training from scratch
    #[default]
    One,
    /// x
    Linear,
    /// min(2x, 1)
    Accelerated,
    /// min(t / n, 1)
    FixedN,
    /// 1 − (1 − x)^k, a fast start
    Exponential,
    /// 1 / (1 + e^(−k(x − ½)))
    Sigmoid,
    /// (1 − cos πx) / 2
    Cosine,
}

impl LambdaKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::One,
        Self::Linear,
        Self::Accelerated,
        Self::FixedN,
        Self::Exponential,
        Self::Sigmoid,
        Self::Cosine,
    ];

    /// The name as it is written in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Linear => "linear",
            Self::Accelerated => "accelerated",
            Self::FixedN => "fixed-n",
            Self::Exponential => "exponential",
            Self::Sigmoid => "sigmoid",
            Self::Cosine => "cosine",
        }
    }

    /// The gentlest value of the published range, `None` for kinds without a k.
    fn default_k(self) -> Option<f64> {
        match self {
            Self::Exponential => Some(4.0),
            Self::Sigmoid => Some(15.0),
            _ => None,
        }
    }
}

/// Which layers are quantised first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// all at the same λ
    #[default]
    Together,
    /// one after the other, from the last to the first
    LastFirst,
    /// one after the other; first those whose rounding alone adds least to the loss
    LeastSensitiveFirst,
}

impl Order {
    /// λ of the layer that is number `rank` of `layers` to be quantised, where λ is the share of the network that is.
    pub fn of_layer(lambda: f32, rank: usize, layers: usize) -> f32 {
        (lambda * layers as f32 - rank as f32).clamp(0.0, 1.0)
    }
}

/// The `[lambda]` table. What is left out takes the kind's own value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LambdaConfig {
    /// how λ grows; one where left out
    pub kind: LambdaKind,
    /// exponential (published 4 to 10; 4) and sigmoid (15 to 100; 15): steepness
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k: Option<f64>,
    /// fixed-n: the step at which λ reaches 1; a fifth of the run, as published (1000 of 5000)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// together, last-first or least-sensitive-first
    #[serde(skip_serializing_if = "is_together")]
    pub order: Order,
}

fn is_together(order: &Order) -> bool {
    *order == Order::Together
}

impl LambdaConfig {
    /// Whether any step has λ < 1, so that blends of latent and quantised values are needed.
    pub fn blends(&self) -> bool {
        self.kind != LambdaKind::One
    }
}

/// λ with all its numbers known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lambda {
    kind: LambdaKind,
    k: f64,
    n: u64,
    total: u64,
}

impl Lambda {
    pub(super) fn new(config: &LambdaConfig, total: u64) -> Result<Self, ScheduleError> {
        let kind = config.kind;
        if config.k.is_some() && kind.default_k().is_none() {
            let reason = format!("the kind {} has none; leave it out", kind.name());
            return Err(error("lambda.k", reason));
        }
        if config.order != Order::Together && !config.blends() {
            let reason =
                "λ is 1 from the first step, so no layer comes before another; set lambda.kind".into();
            return Err(error("lambda.order", reason));
        }
        if config.n.is_some() && kind != LambdaKind::FixedN {
            let reason = format!("the kind {} has none; leave it out", kind.name());
            return Err(error("lambda.n", reason));
        }
        let k = config.k.or(kind.default_k()).unwrap_or(1.0);
        check_number("lambda.k", k)?;
        if k == 0.0 {
            let reason = "0 would never change λ; set it above 0".into();
            return Err(error("lambda.k", reason));
        }
        let n = config.n.unwrap_or((total / 5).max(1));
        if n == 0 || n > total {
            let reason =
                format!("λ reaches 1 at step {n}, which must lie within 1..={total}, the steps of the run");
            return Err(error("lambda.n", reason));
        }
        Ok(Self { kind, k, n, total })
    }

    /// The first step whose λ is 1 after steps below it; `None` where λ is always 1, or never.
    pub(super) fn arrival(&self) -> Option<u64> {
        match self.kind {
            LambdaKind::One | LambdaKind::Sigmoid => None,
            LambdaKind::FixedN => Some(self.n),
            LambdaKind::Accelerated => Some(self.total.div_ceil(2)),
            LambdaKind::Linear | LambdaKind::Exponential | LambdaKind::Cosine => Some(self.total),
        }
    }

    /// λ of a step that is at most the total.
    pub(super) fn at(&self, step: u64) -> f64 {
        let x = step as f64 / self.total as f64;
        match self.kind {
            LambdaKind::One => 1.0,
            LambdaKind::Linear => x,
            LambdaKind::Accelerated => (2.0 * x).min(1.0),
            LambdaKind::FixedN => (step as f64 / self.n as f64).min(1.0),
            LambdaKind::Exponential => 1.0 - (1.0 - x).powf(self.k),
            LambdaKind::Sigmoid => 1.0 / (1.0 + (-self.k * (x - 0.5)).exp()),
            LambdaKind::Cosine => (1.0 - (PI * x).cos()) / 2.0,
        }
    }
}
